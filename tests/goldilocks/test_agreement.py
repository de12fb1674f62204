"""Spearman's correlation against SciPy's, its interval, and which layers are compared."""

from __future__ import annotations

import runpy
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from goldilocks_rows import row
from scipy.stats import spearmanr

from pixpnet.errors import DataError
from pixpnet.goldilocks import Row, append_row

BENCHMARK = Path(__file__).parents[2] / "benchmarks" / "goldilocks.py"
FUNCTIONS = runpy.run_path(str(BENCHMARK))
matched_accuracies, spearman = FUNCTIONS["matched_accuracies"], FUNCTIONS["spearman"]
WAYS = {"first": ("probe", "average"), "second": ("finetune", "average")}


@pytest.mark.parametrize("seed", range(5))
def test_the_value_is_scipys(seed: int) -> None:
    drawn = np.random.default_rng(seed)
    x = drawn.integers(0, 6, size=12).astype(float)  # with ties
    y = x + drawn.normal(size=12)
    found = spearman(x, y, resamples=200)
    assert found.value == pytest.approx(spearmanr(x, y).statistic)
    assert -1 <= found.low <= found.value <= found.high <= 1
    assert found.count == 12


def test_the_interval_is_the_bootstraps() -> None:
    drawn = np.random.default_rng(0)
    x = drawn.normal(size=9)
    y = x + drawn.normal(size=9)
    found = spearman(x, y, seed=3, resamples=400)
    again = np.random.default_rng(3).integers(9, size=(400, 9))
    each = [spearmanr(x[chosen], y[chosen]).statistic for chosen in again]
    assert (found.low, found.high) == pytest.approx(tuple(np.quantile(each, [0.025, 0.975])))


def test_resamples_without_ranks_are_left_out() -> None:
    found = spearman(np.array([1.0, 2.0, 3.0]), np.array([3.0, 2.0, 1.0]), resamples=1000)
    assert found.value == pytest.approx(-1)
    assert (found.low, found.high) == pytest.approx((-1, -1))
    assert 50 < found.left_out < 180  # 3 of 27 draws repeat one layer


def test_nothing_to_rank() -> None:
    with pytest.raises(DataError, match=r"at least 3 layers .* not 2"):
        spearman(np.zeros(2), np.ones(2))
    with pytest.raises(DataError, match="equally accurate"):
        spearman(np.zeros(4), np.arange(4.0))


def _rows() -> list[Row]:
    rows = [
        row("resnet18", stage, accuracy, 5.0, seed=seed)
        for stage, accuracy in (("layer1", 0.4), ("layer2", 0.6), ("layer3", 0.8), ("layer4", 0.9))
        for seed in (0, 1)
    ]
    finetuned = (("layer1", 0.5), ("layer2", 0.7), ("layer3", 0.6), ("fc", 0.6))
    rows += [
        row("resnet18", stage, accuracy, 5.0, mode="finetune", weights="pretrained")
        for stage, accuracy in finetuned
    ]
    return [*rows, row("resnet18", "layer1", 0.6, 5.0, seed=2)]


def test_layers_that_both_ways_measured_are_matched() -> None:
    matched = matched_accuracies(_rows(), **WAYS)
    assert list(matched) == [("resnet18", "layer1"), ("resnet18", "layer2"), ("resnet18", "layer3")]
    assert matched["resnet18", "layer1"] == pytest.approx(((0.4 + 0.4 + 0.6) / 3, 0.5))
    assert matched["resnet18", "layer3"] == pytest.approx((0.8, 0.6))


def test_what_does_not_compare() -> None:
    with pytest.raises(DataError, match="CIFAR10 64×64, SYNTHBIRDS 64×64"):
        matched_accuracies([*_rows(), row("resnet18", "layer1", 0.5, 5.0, dataset="CIFAR10")], **WAYS)
    with pytest.raises(DataError, match="resnet18/layer1 is there with several kinds of weights"):
        matched_accuracies([*_rows(), row("resnet18", "layer1", 0.5, 5.0, weights="random")], **WAYS)


def test_the_benchmark_prints_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    tables = [tmp_path / "probe.csv", tmp_path / "finetune.csv"]
    for one in _rows():
        append_row(tables[one.mode == "finetune"], one)
        if one.mode == "probe":
            append_row(tables[0], replace(one, readout="prototypes"))
    monkeypatch.setattr("sys.argv", ["goldilocks.py", *map(str, tables)])
    runpy.run_path(str(BENCHMARK), run_name="__main__")
    printed = capsys.readouterr().out
    assert "resnet18/layer3              0.800  0.600" in printed
    assert printed.count("Spearman 0.50, 95 % interval -1.00 to 1.00 (3 layers") == 2
    monkeypatch.setattr("sys.argv", ["goldilocks.py", str(tmp_path / "no.csv")])
    with pytest.raises(SystemExit, match=r"there is no file .*no.csv"):
        runpy.run_path(str(BENCHMARK), run_name="__main__")
