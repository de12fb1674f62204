"""Runs with figures made up for a test."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import yaml

from pixpnet.evaluation import Curve, Evaluation, Measurement
from pixpnet.files import write_yaml
from pixpnet.metrics import Estimate
from pixpnet.runs import RunDirectory

LINE = Curve(np.array([0.0, 1.0]), np.array([1.0, 2.0]), np.array([0.0, 1.0]))


def estimate(value: float, width: float = 0.25) -> Estimate:
    return Estimate(value, value - width, value + width, 10, 1)


def agreement(
    metric: str, hard: float, *, method: str | None, protocol: str = "pixpnet-2023", seed: int = 0
) -> Measurement:
    settings = {"seed": seed, "protocol": protocol}
    return Measurement(metric, method, protocol, settings, {"hard": estimate(hard)}, {"hard": "%"})


def ordering(area: float, *, method: str, samples: int = 50, seed: int = 0) -> Measurement:
    """With a curve, and a quantity that no table knows."""
    settings = {"seed": seed, "samples": samples}
    values = {"area": estimate(area, 0.0), "novelty": estimate(area)}
    units = dict.fromkeys(values, "share")
    return Measurement("relevance_ordering", method, None, settings, values, units, LINE)


def copy_results(
    run: Path,
    path: Path,
    *measurements: Measurement,
    accuracy: float | None = 0.5,
    dataset: dict | None = None,
    checkpoint: str | None = None,
) -> Path:
    """A run's results in another folder, with other scores and an evaluation; its directory."""
    directory = RunDirectory(path / run.name)
    shutil.copytree(run / "results", directory.results)
    config = yaml.safe_load(directory.config_file.read_text())
    write_yaml(directory.config_file, {**config, "dataset": {**config["dataset"], **(dataset or {})}})
    if accuracy is None:
        (directory.results / "scores.yaml").unlink()
    else:
        write_yaml(directory.results / "scores.yaml", {"test_accuracy": accuracy})
    if measurements:
        file = checkpoint or Path(directory.best_model_file.read_text().strip()).name
        evaluation = Evaluation(file, "0", measurements)
        write_yaml(directory.results / "interpretability.yaml", evaluation.to_dict())
    return directory.path
