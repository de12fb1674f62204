"""What is measured is written at once, and is not measured again."""

from __future__ import annotations

import csv
import logging
import shutil
from collections.abc import Callable
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from pixpnet.data import ImageSet
from pixpnet.errors import ConfigError, DataError, PixPNetError, UnsupportedOperationError
from pixpnet.evaluation import (
    METRICS,
    Curve,
    Evaluation,
    EvaluationFiles,
    MetricResult,
    Settings,
    Subject,
    draw_curves,
    evaluate,
)
from pixpnet.figures import png_bytes
from pixpnet.metrics import Estimate
from pixpnet.runs import Run, load

CURVED = ("relevance_ordering", "deletion")


@pytest.fixture(scope="module")
def run(tiny_run: Path) -> Run:
    return load(tiny_run)


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, str | None]]:
    """Every metric measures nothing; what was asked for stands in the list."""
    asked: list[tuple[str, str | None]] = []

    def fake(name: str) -> Callable[[Subject, str | None, Settings], MetricResult]:
        def measure(subject: Subject, method: str | None, settings: Settings) -> MetricResult:
            asked.append((name, method))
            for _ in subject.track("ab"):
                pass
            value = Estimate(0.1 + settings.seed, -1 / 3, 2.0, 6, 1)
            shares = np.array([0.0, 1 / 3, 1.0])
            curve = Curve(shares, shares / 7, shares**2) if name in CURVED else None
            return MetricResult(dict.fromkeys(METRICS[name].quantities, value), curve)

        return measure

    for name in METRICS:
        monkeypatch.setitem(METRICS, name, replace(METRICS[name], measure=fake(name)))
    return asked


@pytest.fixture
def calls(asked: list, monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, str | None]]:
    """The same without figures, which would take most of the time."""
    monkeypatch.setattr("pixpnet.evaluation.run.write_curves", lambda *arguments, **options: None)
    return asked


def rows(path: Path) -> list[dict[str, str]]:
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def test_all_files(run: Run, asked: list, tmp_path: Path) -> None:
    told: list[tuple[int, int, str]] = []
    evaluation = evaluate(run, out=tmp_path, progress=lambda *step: told.append(step))
    assert {metric for metric, _ in asked} == set(METRICS)
    assert len(asked) == len(set(asked)) == len(evaluation.measurements)
    assert told[:2] == [(done, 2, f"1/{len(asked)} stability, receptive field") for done in (0, 1)]
    files = EvaluationFiles(tmp_path)
    read = files.read()
    assert read is not None
    assert read == replace(evaluation, measurements=tuple(map(rounded, evaluation.measurements)))
    for one, again in zip(evaluation.measurements, read.measurements, strict=True):
        assert (one.curve is None) == (one.metric not in CURVED)
        if one.curve is not None:
            assert again.curve is not None
            assert one.curve.checksum == again.curve.checksum
    table = rows(files.csv)
    assert len(table) == sum(len(one.values) for one in evaluation.measurements)
    first = evaluation.find("stability", "upsampling", "pixpnet-2023")
    assert first is not None
    (row,) = [
        row
        for row in table
        if (row["metric"], row["method"], row["quantity"]) == ("stability", "upsampling", "soft")
    ]
    assert (row["protocol"], row["unit"], row["count"], row["left_out"]) == ("pixpnet-2023", "%", "6", "1")
    assert (float(row["value"]), float(row["low"])) == first.values["soft"][:2]
    points = [row for row in rows(files.curves) if (row["metric"], row["method"]) == ("deletion", "prp")]
    assert [float(row["normalised"]) for row in points] == [0.0, (1 / 3) ** 2, 1.0]
    for name in CURVED:
        assert files.figure(name, "png").read_bytes()[:4] == b"\x89PNG"
        assert files.figure(name, "pdf").read_bytes()[:4] == b"%PDF"
    assert files.existing()[0] == tmp_path / "interpretability.yaml"


def rounded(measurement):
    return replace(measurement, seconds=round(measurement.seconds, 3))


def test_a_run_that_ends_in_between_goes_on(
    run: Run, calls: list, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(subject: Subject, method: str | None, settings: Settings) -> MetricResult:
        if method == "random":
            raise RuntimeError("no power")
        return working(subject, method, settings)

    working = METRICS["deletion"].measure
    with monkeypatch.context() as patch:
        patch.setitem(METRICS, "deletion", replace(METRICS["deletion"], measure=broken))
        with pytest.raises(RuntimeError):
            evaluate(run, metrics=("consistency", *CURVED), out=tmp_path)
    done = list(calls)
    assert [one for one in done if one[0] == "deletion"] == [
        ("deletion", method) for method in ("receptive_field", "upsampling")
    ]
    calls.clear()
    evaluation = evaluate(run, metrics=("consistency", *CURVED), out=tmp_path)
    assert calls == [("deletion", "random"), ("deletion", "prp")]
    assert len(evaluation.measurements) == len(done) + 2
    calls.clear()
    assert evaluate(run, metrics=("consistency", *CURVED), out=tmp_path) == EvaluationFiles(tmp_path).read()
    assert calls == []


@pytest.mark.parametrize(
    ("changed", "again"),
    [
        ({"seed": 5}, ("consistency", "deletion", "sparsity")),
        ({"half_size": 20.0}, ("consistency",)),
        ({"center": "argmax"}, ("consistency",)),
        ({"steps": 9}, ("deletion",)),
        ({"steps": None}, ("deletion",)),
        ({"start": "noise"}, ("deletion",)),
        ({"prototypes": "all"}, ("deletion",)),
        ({"samples": 7}, ("deletion",)),
        ({"center": "mapping", "half_size": 36.0}, ()),
        ({"batch_size": 2}, ()),
    ],
    ids=str,
)
def test_other_settings_measure_anew(
    run: Run, calls: list, tmp_path: Path, changed: dict, again: tuple[str, ...]
) -> None:
    chosen = {"metrics": ("consistency", "deletion", "sparsity"), "methods": ("upsampling",), "out": tmp_path}
    first = evaluate(run, **chosen)
    calls.clear()
    batch_size = changed.pop("batch_size", None)
    second = evaluate(run, **chosen, settings=Settings(**changed), batch_size=batch_size)
    assert {metric for metric, _ in calls} == set(again)
    assert [one.key for one in second.measurements] == [one.key for one in first.measurements]


def test_protocols_stand_beside_each_other(run: Run, calls: list, tmp_path: Path) -> None:
    chosen = {"metrics": ("consistency",), "methods": ("upsampling",), "out": tmp_path}
    evaluate(run, **chosen)
    evaluation = evaluate(run, **chosen, settings=Settings(protocol="eval-2023"))
    assert [one.key[1:] for one in evaluation.measurements] == [
        (None, "eval-2023"),
        ("upsampling", "pixpnet-2023"),
    ]


def test_another_checkpoint_measures_anew(run: Run, calls: list, tmp_path: Path, tiny_run: Path) -> None:
    copy = tmp_path / "copy.ckpt"
    shutil.copy(run.checkpoint, copy)
    evaluate(copy, metrics=("sparsity",))
    file = tmp_path / "copy.interpretability.yaml"
    values = yaml.safe_load(file.read_text())
    assert values["checkpoint"] == "copy.ckpt"
    file.write_text(file.read_text().replace(values["checkpoint_sha256"], "f" * 64))
    evaluation = evaluate(copy, metrics=("purity",))
    assert {one.metric for one in evaluation.measurements} == {"purity"}
    assert not (tiny_run / "results" / "interpretability.yaml").exists()


def test_nothing_of_another_checkpoint_stays(run: Run, asked: list, tmp_path: Path, caplog) -> None:
    evaluate(run, metrics=("deletion",), methods=("random",), out=tmp_path)
    assert (tmp_path / "deletion.png").is_file()
    other = tmp_path / "other.ckpt"
    other.write_bytes(run.checkpoint.read_bytes() + b" ")
    with caplog.at_level(logging.INFO, logger="pixpnet"):
        evaluate(replace(run, checkpoint=other), metrics=("sparsity",), out=tmp_path)
    assert f"is of another checkpoint, {run.checkpoint.name}" in caplog.text
    left = {path.name for path in tmp_path.iterdir()}
    assert left == {"interpretability.yaml", "interpretability.csv", "other.ckpt"}


def test_figures_show_all_methods_and_are_drawn_when_they_are_missing(
    run: Run, asked: list, tmp_path: Path
) -> None:
    figure = tmp_path / "deletion.png"
    for method in ("random", "upsampling"):
        evaluation = evaluate(run, metrics=("deletion",), methods=(method,), out=tmp_path)
    measurements = evaluation.measurements
    assert [one.method for one in measurements] == ["upsampling", "random"]
    mean_percent = run.receptive_field().mean_percent
    assert figure.read_bytes() == png_bytes(draw_curves(measurements, mean_percent=mean_percent))
    drawn = figure.read_bytes()
    figure.unlink()  # as if the evaluation had been killed just before
    asked.clear()
    evaluate(run, metrics=("deletion",), methods=("random",), out=tmp_path)
    assert figure.read_bytes() == drawn
    assert asked == []


def test_an_evaluation_that_is_stopped_leaves_no_figure_of_less(
    run: Run, asked: list, tmp_path: Path
) -> None:
    chosen = {"metrics": ("deletion",), "out": tmp_path}
    evaluate(run, methods=("random",), **chosen)

    def stop(*_: object) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        evaluate(run, methods=("upsampling",), progress=stop, **chosen)
    assert len(asked) == 2
    assert not (tmp_path / "deletion.png").exists()


def test_a_lost_curve_is_measured_anew(run: Run, calls: list, tmp_path: Path) -> None:
    chosen = {"metrics": ("deletion",), "methods": ("prp", "random"), "out": tmp_path}
    evaluate(run, **chosen)
    file = tmp_path / "interpretability_curves.csv"
    kept = [line for line in file.read_text().splitlines() if "prp,1.0" not in line]
    file.write_text("\n".join(kept))
    calls.clear()
    evaluation = evaluate(run, **chosen)
    assert calls == [("deletion", "prp")]
    assert len(evaluation.measurements) == 2


class BareRun(Run):
    """A run whose data set has nothing but images."""

    def read_dataset(self) -> ImageSet:
        images = super().read_dataset()
        bare = (
            replace(record, box=None, mask=None, part_points=None, part_visible=None)
            for record in images.test
        )
        return replace(images, test=tuple(bare), part_names=())


def test_what_the_data_do_not_allow_is_left_out(
    run: Run, calls: list, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    bare = BareRun(**{one.name: getattr(run, one.name) for one in fields(run)})
    with caplog.at_level(logging.INFO, "pixpnet"):
        evaluate(bare, out=tmp_path)
    assert {"stability", "consistency", "purity", "pointing"}.isdisjoint(metric for metric, _ in calls)
    assert ("relevance_ordering", "prp") in calls
    assert "Left out: consistency: SYNTHBIRDS has no part points" in caplog.text
    with pytest.raises(DataError, match="pointing can't be measured: SYNTHBIRDS has neither masks nor"):
        evaluate(bare, metrics=("pointing",), out=tmp_path)


@pytest.mark.parametrize(
    ("error", "named"),
    [
        (DataError("nothing to take a mean over"), "metrics"),
        (UnsupportedOperationError("no rule"), "methods"),
    ],
)
def test_what_fails_is_left_out_unless_it_was_named(
    run: Run,
    calls: list,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    error: PixPNetError,
    named: str,
) -> None:
    def fail(subject: Subject, method: str | None, settings: Settings) -> MetricResult:
        raise error

    monkeypatch.setitem(METRICS, "deletion", replace(METRICS["deletion"], measure=fail))
    with caplog.at_level(logging.INFO, "pixpnet"):
        evaluation = evaluate(run, out=tmp_path)
    assert f"Left out: deletion, PRP: {error}" in caplog.text
    assert evaluation.find("relevance_ordering", "prp") is not None
    given: dict[str, Any] = {named: {"metrics": ("deletion",), "methods": ("prp",)}[named]}
    with pytest.raises(type(error), match=str(error)):
        evaluate(run, out=tmp_path, **given)


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ({"metrics": ("consistancy",)}, "metric='consistancy' is none of .*did you mean consistency"),
        ({"methods": ("upsample",)}, "method='upsample' is none of"),
        ({"batch_size": 2, "metrics": ("purity",), "methods": ("random",)}, "purity is measured for .* only"),
    ],
    ids=str,
)
def test_wrong_choices(run: Run, calls: list, tmp_path: Path, wrong: dict, words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        evaluate(run, out=tmp_path, **wrong)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ({"protocol": "eval-2024"}, "protocol='eval-2024' is none of eval-2023, pixpnet-2023"),
        ({"center": "middle"}, "center='middle' is none of mapping, argmax, image"),
        ({"start": "ones"}, "start='ones'"),
        ({"prototypes": "some"}, "prototypes='some'"),
        ({"samples": 0}, "samples=0"),
        ({"steps": 0}, "steps=0"),
        ({"pairs": 0}, "pairs=0"),
        ({"half_size": -1.0}, "half_size=-1"),
    ],
    ids=str,
)
def test_wrong_settings(wrong: dict, words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        Settings(**wrong)


def test_damaged_files_are_named(run: Run, calls: list, tmp_path: Path) -> None:
    file = tmp_path / "interpretability.yaml"
    evaluate(run, metrics=("sparsity",), out=tmp_path)
    good = file.read_text()
    for damaged in ("[1", "7", good.replace("version: 1", "version: 2"), good.replace("values:", "value:")):
        file.write_text(damaged)
        with pytest.raises(DataError, match=rf"(?s){file}:? .* Remove it to measure anew"):
            evaluate(run, metrics=("sparsity",), out=tmp_path)


def test_damaged_values_and_curves_are_named(run: Run, calls: list, tmp_path: Path) -> None:
    evaluate(run, metrics=("deletion",), methods=("random",), out=tmp_path)
    file, curves = tmp_path / "interpretability.yaml", tmp_path / "interpretability_curves.csv"
    good = file.read_text()
    for damaged in (
        good.replace("value: 0.1", "value: high"),
        good.replace("settings:", "settings: null\n  options:"),
    ):
        assert damaged != good
        file.write_text(damaged)
        with pytest.raises(DataError, match=f"{file}: the evaluation is damaged"):
            evaluate(run, metrics=("deletion",), methods=("random",), out=tmp_path)
    file.write_text(good)
    curves.write_text(curves.read_text().replace("share", "shore", 1))
    with pytest.raises(DataError, match=f"its curves in {curves} can't be read"):
        evaluate(run, metrics=("deletion",), methods=("random",), out=tmp_path)


def test_plain_values_and_back() -> None:
    evaluation = Evaluation("a.ckpt", "f" * 64)
    assert Evaluation.from_dict(evaluation.to_dict()) == evaluation
