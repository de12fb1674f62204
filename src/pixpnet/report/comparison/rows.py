"""The rows that no metric gives, and what no run is better at."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from pixpnet.report.comparison.runs import RunResults

BASELINES = {"random"}
"""Mappings that no run is better at."""


@dataclass(frozen=True)
class Fact:
    """A row with a number from a run's own files."""

    title: str
    unit: str
    better: str
    """high, low, or nothing where neither is."""
    value: Callable[[RunResults], float | None]
    of_data: bool = False
    """Whether it means nothing without the data that it was measured on."""


def _number(value: object) -> float | None:
    return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else None


def _accuracy(run: RunResults) -> float | None:
    share = _number(run.scores.get("test_accuracy"))
    return None if share is None else 100 * share


def _network(run: RunResults) -> str:
    model = run.config.model
    return "/".join(filter(None, (model.feature_extractor, model.feature_layer)))


DESCRIPTIONS: dict[str, Callable[[RunResults], str]] = {
    "Data": lambda run: run.data,
    "Network": _network,
    "Distance, head": lambda run: f"{run.config.model.distance}, {run.config.model.readout_type}",
    "Seed": lambda run: str(run.config.seed),
}
"""Title of a row -> what it says of a run."""

FACTS = (
    Fact("Test accuracy", "%", "high", _accuracy, of_data=True),
    Fact("Mean receptive field", "%", "low", lambda run: run.field.mean_percent if run.field else None),
    Fact("Largest receptive field", "%", "low", lambda run: run.field.max_percent if run.field else None),
    Fact("Prototypes", "prototypes", "", lambda run: _number(run.config.model.num_prototypes)),
    Fact("Parameters", "parameters", "low", lambda run: _number(run.info.get("total_parameters"))),
    Fact("Multiply-adds for one image", "multiply-adds", "low", lambda run: _number(run.info.get("macs"))),
    Fact("Training time", "s", "", lambda run: _number(run.info.get("train_time_total"))),
)
