"""Which layers are just right: Pareto ranks of accuracy against receptive field, and advice."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from statistics import fmean

import numpy as np
from jaxtyping import Float, Int64

from pixpnet.config import DatasetConfig
from pixpnet.errors import ConfigError
from pixpnet.goldilocks.recipe import recipe_yaml
from pixpnet.goldilocks.table import READOUT_TITLES, Readout, Row

RUNNERS_UP = 3

TOLERATED_FALL = 0.1
"""Of the accuracy, from a backbone's best stage to its deepest."""

WEIGHTS = {
    "pretrained": "pretrained weights",
    "trained": "weights trained on this data",
    "random": "random weights: this says little of the network once it is trained",
}
"""What a probe read -> in words."""


def pareto_ranks(accuracy: Float[np.ndarray, "n"], mean_rf: Float[np.ndarray, "n"]) -> Int64[np.ndarray, "n"]:
    """Pareto rank of each layer; 1: none that is not its equal is as accurate and sees as little (or better).

    Rank r are those that nothing dominates once the ranks below r are taken away. Equals share a rank.

    >>> pareto_ranks(np.array([0.9, 0.8, 0.7, 0.9]), np.array([50.0, 10.0, 20.0, 50.0])).tolist()
    [1, 1, 2, 1]
    """
    at_least = (accuracy[:, None] >= accuracy) & (mean_rf[:, None] <= mean_rf)
    dominates = at_least & ~at_least.T  # [i, j]: i dominates j
    ranks = np.zeros(len(accuracy), dtype=np.int64)
    rank = 0
    while (ranks == 0).any():
        rank += 1
        left = ranks == 0
        ranks[left & ~dominates[left].any(axis=0)] = rank
    return ranks


def rank_rows(rows: Sequence[Row]) -> list[int]:
    """Pareto rank of each row among those of the same data set, size, mode and readout."""
    groups: defaultdict[tuple[object, ...], list[int]] = defaultdict(list)
    for position, row in enumerate(rows):
        groups[(*_group(row), row.readout)].append(position)
    ranks = [0] * len(rows)
    for positions in groups.values():
        accuracy = np.array([rows[position].test_accuracy for position in positions])
        mean_rf = np.array([rows[position].mean_rf for position in positions])
        for position, rank in zip(positions, pareto_ranks(accuracy, mean_rf).tolist(), strict=True):
            ranks[position] = rank
    return ranks


@dataclass(frozen=True)
class Advice:
    """Where to cut, and the configuration that does it."""

    line: str
    """One line for people."""
    best: Row | None
    """None: no layer sees so little."""
    runners_up: tuple[Row, ...]
    config_yaml: str | None
    """Text of a file for ``pixpnet train -c``."""


def advise(
    rows: Sequence[Row],
    max_rf: float = 30.0,
    *,
    dataset: DatasetConfig | None = None,
    num_classes: int | None = None,
    weights: Callable[[Row], str | None] = lambda row: None,
) -> Advice:
    """The most accurate layer whose mean receptive field is at most max_rf percent of the image.

    Of equals, the one that sees less, then the earlier one. Looked at are the rows that can be compared with
    the last one (same data set, size and mode), with the prototypes' readout where it was measured, since
    that is what a PixPNet reads. Seeds are averaged.

    Args:
        rows: Of a results table.
        max_rf: In percent of the image's area.
        dataset: The data set that the configuration shall name; none: the rows', where it lies by default.
        num_classes: Of that data set; none: looked up.
        weights: File of the weights that a row was measured with, if it is to be named.

    Raises:
        ConfigError: There are no rows.
    """
    if not rows:
        raise ConfigError("there are no results to take advice from.")
    alike = _comparable(rows)
    layers = average_seeds(alike.get("prototypes") or alike[rows[-1].readout])
    fitting = sorted((row for row in layers if row.mean_rf <= max_rf), key=_preference)
    if not fitting:
        least = min(layers, key=lambda row: (row.mean_rf, *_preference(row)))
        line = f"no layer has a mean RF ≤ {max_rf:g} %; the smallest: {_described(least)}"
        return Advice(line, None, (), None)
    best, *others = fitting
    runners_up = tuple(others[:RUNNERS_UP])
    line = f"best layer with mean RF ≤ {max_rf:g} %: {_described(best)}"
    if runners_up:
        line += f"; next: {', '.join(f'{_place(row)} {_figures(row)}' for row in runners_up)}"
    config = recipe_yaml(best, line, dataset=dataset, num_classes=num_classes, weights=weights(best))
    return Advice(line, best, runners_up, config)


def _group(row: Row) -> tuple[object, ...]:
    return row.dataset, row.height, row.width, row.mode


def _comparable(rows: Sequence[Row]) -> dict[Readout, list[Row]]:
    """The rows of the last one's data set, size and mode, by readout."""
    by_readout: dict[Readout, list[Row]] = {}
    for row in rows:
        if _group(row) == _group(rows[-1]):
            by_readout.setdefault(row.readout, []).append(row)
    return by_readout


def undertrained(rows: Sequence[Row]) -> list[str]:
    """The backbones, trained on the data, whose deepest stage is far less accurate than an earlier one.

    It sees all that the earlier one sees, so it can only have learned too little, and so may others between.
    """
    trained = [row for row in rows if row.mode == "probe" and row.weights == "trained"]
    models: defaultdict[tuple[str, str], list[Row]] = defaultdict(list)
    for readout in sorted({row.readout for row in trained}):
        for row in average_seeds([row for row in trained if row.readout == readout]):
            models[row.model, readout].append(row)
    falling = [
        model
        for (model, _), stages in models.items()
        if max(stages, key=lambda row: row.stage_number).test_accuracy
        < max(row.test_accuracy for row in stages) - TOLERATED_FALL
    ]
    return sorted(set(falling))


def average_seeds(rows: Sequence[Row]) -> list[Row]:
    """One row for each layer and kind of weights: the first, with the mean accuracies over seeds."""
    same: defaultdict[tuple[str, str, str], list[Row]] = defaultdict(list)
    for row in rows:
        same[row.model, row.stage, row.weights].append(row)
    return [
        replace(
            group[0],
            test_accuracy=fmean(row.test_accuracy for row in group),
            test_accuracy_top5=fmean(row.test_accuracy_top5 for row in group),
        )
        for group in same.values()
    ]


def _preference(row: Row) -> tuple[float, float, int, str]:
    """Sorts better layers first."""
    return -row.test_accuracy, row.mean_rf, row.stage_number, row.model


def _described(row: Row) -> str:
    readout = READOUT_TITLES[row.readout]
    weights = WEIGHTS[row.weights] if row.mode == "probe" else f"from {row.weights} weights"
    return f"{_place(row)}, accuracy {_figures(row)} ({row.mode} with {readout}; {weights})"


def _place(row: Row) -> str:
    return f"{row.model}/{row.stage}"


def _figures(row: Row) -> str:
    return f"{row.test_accuracy:.3f} at {row.mean_rf:.3g} %"
