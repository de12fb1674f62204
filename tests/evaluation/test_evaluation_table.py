"""What holds for every metric of the table, and so for one of yours: `check_metric`."""

from __future__ import annotations

import math
import re
import shutil
from collections.abc import Callable, Iterator
from dataclasses import fields, replace
from pathlib import Path

import numpy as np
import pytest
import test_evaluation_agreement as agreement
import test_evaluation_misalignment as misalignment
import test_evaluation_ordering as ordering
import test_evaluation_pointing as pointing
import test_evaluation_purity_and_sparsity as purity
import test_evaluation_telling_parts as telling

from pixpnet.evaluation import METRICS, Settings, Subject, evaluate, tabulate
from pixpnet.pixel_space import MAPPINGS
from pixpnet.report import compare, read_metrics, read_runs, to_markdown
from pixpnet.runs import load

Oracle = Callable[[Subject, str], dict[str, float]]
"""Some of a metric's values, restated plainly for one mapping."""

DOCS = Path(__file__).parents[2] / "docs" / "howto" / "evaluate.md"
SMALL = Settings(samples=2, pairs=3, steps=4, half_size=9.0)
OTHER = {
    "seed": 8,
    "protocol": "eval-2023",
    "center": "argmax",
    "half_size": 12.0,
    "samples": 3,
    "pairs": 2,
    "steps": 5,
    "start": "noise",
    "prototypes": "all",
}
"""Another value of each setting."""


def agreement_oracle(name: str) -> Oracle:
    def oracle(subject: Subject, method: str) -> dict[str, float]:
        found = agreement.oracle(subject, rule=method, protocol="pixpnet-2023", half=agreement.HALF)
        return {quantity: found[f"{name} {quantity}"] for quantity in ("hard", "soft")}

    return oracle


def ordering_oracle(name: str) -> Oracle:
    settings = Settings(seed=ordering.SEED, samples=2, steps=ordering.STEPS)
    return lambda subject, method: ordering.oracle(subject, method, settings, delete=name == "deletion")[0]


def purity_oracle(subject: Subject, method: str) -> dict[str, float]:
    values = purity.plain_purity(subject, method)
    return {"mean": values.mean(), "deviation": values.std(), "above_half": (values > 0.5).mean()}


def telling_oracle(subject: Subject, method: str) -> dict[str, float]:
    rows = telling.plainly(subject, method)
    return {name: telling.mean_over_prototypes(rows, name) for name in ("auc", "auc_on_object")}


ORACLES: dict[str, tuple[Settings, Oracle]] = {
    "stability": (Settings(seed=agreement.SEED, half_size=agreement.HALF), agreement_oracle("stability")),
    "consistency": (
        Settings(seed=agreement.SEED, half_size=agreement.HALF),
        agreement_oracle("consistency"),
    ),
    "relevance_ordering": (
        Settings(seed=ordering.SEED, samples=2, steps=ordering.STEPS),
        ordering_oracle("relevance_ordering"),
    ),
    "deletion": (
        Settings(seed=ordering.SEED, samples=2, steps=ordering.STEPS),
        ordering_oracle("deletion"),
    ),
    "purity": (purity.SETTINGS, purity_oracle),
    "pointing": (
        pointing.SETTINGS,
        lambda subject, method: dict(
            zip(("energy", "top"), pointing.plainly(subject, method)[0], strict=True)
        ),
    ),
    "telling_parts": (telling.SETTINGS, telling_oracle),
    "sparsity": (
        purity.SETTINGS,
        lambda subject, method: {"deciding": float(np.mean(purity.plain_deciding(subject)))},
    ),
    "misalignment": (misalignment.SETTINGS, lambda subject, method: misalignment.plainly(subject)),
}
"""Name of a metric -> settings, and what it must find with them for the mapping upsampling."""


def check_metric(name: str, subject: Subject, settings: Settings, oracle: Oracle) -> None:
    """Check the record of a metric, and what it measures.

    Args:
        name: Of METRICS.
        subject: It must have all that the metric needs.
        settings: What the oracle restates the values for.
        oracle: Restates the values of some quantities.
    """
    metric = METRICS[name]
    assert metric.title
    assert metric.quantities
    assert {one.better for one in metric.quantities.values()} <= {"high", "low", ""}
    assert set(metric.settings) <= {field.name for field in fields(Settings)}
    methods = metric.methods(SMALL)
    assert methods
    assert set(methods) <= {None, *MAPPINGS}
    assert [need(subject, SMALL) for need in metric.needs] == [None] * len(metric.needs)
    for method in methods:
        found = metric.measure(subject, method, SMALL)
        assert list(found.values) == [quantity for quantity in metric.quantities if quantity in found.values]
        for value in found.values.values():
            assert all(map(math.isfinite, value))
            # A mean of thousands of equal values is off by rounding.
            assert value.low - 1e-9 <= value.value <= value.high + 1e-9
        assert (found.curve is not None) == bool(metric.curve_axis)
    method = "upsampling" if "upsampling" in methods else methods[0]
    others = {key: value for key, value in OTHER.items() if key not in metric.settings}
    unread = metric.measure(subject, method, replace(SMALL, **others))
    assert unread.values == metric.measure(subject, method, SMALL).values, (
        "it reads a setting it doesn't name"
    )
    found = metric.measure(subject, method, settings)
    for quantity, value in oracle(subject, "upsampling").items():
        assert found.values[quantity].value == pytest.approx(value, rel=0.02, abs=0.1), quantity


@pytest.fixture(scope="module")
def subject(tiny_run: Path) -> Subject:
    return Subject(load(tiny_run), batch_size=5)


@pytest.mark.parametrize("name", METRICS)
def test_metric(name: str, subject: Subject) -> None:
    settings, oracle = ORACLES[name]
    check_metric(name, subject, settings, oracle)


@pytest.fixture
def spread() -> Iterator[str]:
    """The metric of the how-to, as an outsider adds it."""
    (code,) = re.findall(r"## A metric of your own.*?```python\n(.*?)```", DOCS.read_text(), re.DOTALL)
    exec(compile(code, str(DOCS), "exec"), {})
    yield "spread"
    del METRICS["spread"]


def plain_spread(subject: Subject, method: str) -> dict[str, float]:
    shares: dict[int, list[float]] = {}
    for index in subject.sample(SMALL.samples, seed=SMALL.seed):
        own = subject.prototypes_of(subject.labels[index])
        image = subject.load((index,))
        (maps,) = subject.maps(method, image, subject.similarities(image, own), own, seeds=(0,))
        for prototype, pixels in zip(own, maps, strict=True):
            values = pixels.flatten().tolist()
            above = sum(value > max(values) / 2 for value in values)
            shares.setdefault(prototype, []).append(100 * above / len(values))
    return {"spread": float(np.mean([np.mean(some) for some in shares.values()]))}


def test_a_metric_of_your_own(spread: str, subject: Subject, tiny_run: Path, tmp_path: Path) -> None:
    check_metric(spread, subject, SMALL, plain_spread)
    runs = [Path(shutil.copytree(tiny_run, tmp_path / name / tiny_run.name)) for name in ("a", "b")]
    evaluations = [
        evaluate(path, metrics=[spread], methods=["receptive_field", "random"], settings=SMALL)
        for path in runs
    ]
    assert tabulate(evaluations[0].measurements).columns.tolist() == ["image above half the maximum"]
    (table,) = read_metrics(runs[0] / "results", checkpoint=evaluations[0].checkpoint)
    assert (table.title, table.methods) == ("Spread", ("receptive field", "random"))
    text = to_markdown(compare(read_runs(runs)))
    assert "*Spread*" in text
    assert "image above half the maximum ↓: receptive field" in text
