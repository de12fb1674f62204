"""Which classes are taken for which others."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Int64

from pixpnet.report.predictions import Predictions

LARGEST_TABLE = 40
"""Classes up to which the whole matrix is shown; of more the pairs alone say anything."""
LEVELS = 6
"""Shades of a cell, from 0 (none) on."""


@dataclass(frozen=True)
class Pair:
    """Images of one class that are taken for another."""

    truth: int
    predicted: int
    count: int
    images: int
    """Test images of the true class."""
    example: int
    """Index of the image that is most confidently wrong."""


@dataclass(frozen=True)
class Confusion:
    """The matrix of true against predicted classes."""

    class_names: tuple[str, ...]
    counts: tuple[tuple[int, ...], ...]
    """One row per true class; empty if there are too many classes for a table."""
    shades: tuple[tuple[int, ...], ...]
    """Share of the row's images, as a level from 0 to LEVELS − 1."""
    pairs: tuple[Pair, ...]
    wrong: int
    images: int


def confusion(predictions: Predictions, class_names: Sequence[str], *, pairs: int) -> Confusion:
    """The matrix and its largest entries off the diagonal."""
    counts = predictions.confusion
    is_small = len(class_names) <= LARGEST_TABLE
    return Confusion(
        class_names=tuple(class_names),
        counts=_plain(counts) if is_small else (),
        shades=_plain(_shades(counts)) if is_small else (),
        pairs=most_confused(predictions)[:pairs],
        wrong=int((predictions.predicted != predictions.labels).sum()),
        images=len(predictions.labels),
    )


def most_confused(predictions: Predictions) -> tuple[Pair, ...]:
    """All pairs of classes with an error, the most frequent first, then in order of the classes."""
    counts = predictions.confusion
    errors = counts * (1 - np.eye(len(counts), dtype=np.int64))
    pairs = []
    for truth, predicted in zip(*np.nonzero(errors), strict=True):
        of_pair = np.flatnonzero((predictions.labels == truth) & (predictions.predicted == predicted))
        example = of_pair[predictions.confidence[of_pair].argmax()]
        pairs.append(
            Pair(
                int(truth),
                int(predicted),
                len(of_pair),
                int(counts[truth].sum()),
                int(example),
            )
        )
    return tuple(sorted(pairs, key=lambda pair: -pair.count))


def _shades(counts: Int64[np.ndarray, "c c"]) -> Int64[np.ndarray, "c c"]:
    shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    return np.ceil(shares * (LEVELS - 1)).astype(np.int64)


def _plain(matrix: Int64[np.ndarray, "c c"]) -> tuple[tuple[int, ...], ...]:
    return tuple(tuple(row) for row in matrix.tolist())
