"""Layers in order: Pareto ranks of accuracy against receptive field."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import replace
from statistics import fmean

import numpy as np
from jaxtyping import Float, Int64

from pixpnet.goldilocks.table import Row

TOLERATED_FALL = 0.1
"""Loss of accuracy from a backbone's best stage to its deepest."""


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
        groups[(*group_of(row), row.readout)].append(position)
    ranks = [0] * len(rows)
    for positions in groups.values():
        accuracy = np.array([rows[position].test_accuracy for position in positions])
        mean_rf = np.array([rows[position].mean_rf for position in positions])
        for position, rank in zip(positions, pareto_ranks(accuracy, mean_rf).tolist(), strict=True):
            ranks[position] = rank
    return ranks


def group_of(row: Row) -> tuple[object, ...]:
    """What rows must share to be compared: data set, size and mode."""
    return row.dataset, row.height, row.width, row.mode


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
