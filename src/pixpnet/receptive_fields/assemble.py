"""From the fields of a layer's channels to the receptive field of its cells."""

from __future__ import annotations

import numpy as np
from jaxtyping import Int64

from pixpnet.receptive_fields.field import ReceptiveField
from pixpnet.receptive_fields.intervals import EMPTY, empty_where
from pixpnet.receptive_fields.tensor import FieldTensor
from pixpnet.receptive_fields.terms import Term, unite

Intervals = Int64[np.ndarray, "_ 2"]


def assemble(x: FieldTensor, image_size: tuple[int, int]) -> ReceptiveField:
    """The hull over channels; a tensor that is no feature map becomes one cell that sees all of it."""
    terms = unite(x.fields)
    grid = x.grid
    if not x.is_map:
        terms = tuple(Term(term.rows.whole(1), term.columns.whole(1)) for term in terms)
        grid = (1, 1)
    if not terms:
        return _seeing_nothing(grid, image_size)
    pairs = [(term.rows.clipped, term.columns.clipped) for term in terms]
    endless = [(term.rows.unclipped(), term.columns.unclipped()) for term in terms]
    return ReceptiveField(
        image_size,
        _hull([(rows, columns) for rows, columns in pairs]),
        _hull([(columns, rows) for rows, columns in pairs]),
        _hull([(rows, columns) for rows, columns in endless]),
        _hull([(columns, rows) for rows, columns in endless]),
        None if _separable(pairs) else _cells(pairs),
    )


def _seeing_nothing(grid: tuple[int, int], image_size: tuple[int, int]) -> ReceptiveField:
    rows, columns = np.zeros((grid[0], 2), dtype=np.int64), np.zeros((grid[1], 2), dtype=np.int64)
    return ReceptiveField(image_size, rows, columns, rows, columns)


def _hull(pairs: list[tuple[Intervals, Intervals]]) -> Intervals:
    """Hull of the first of each pair, over pairs whose second sees anything; (0, 0) if that is nothing."""
    if len(pairs) == 1 and not any(empty_where(intervals).any() for intervals in pairs[0]):
        return pairs[0][0]
    seeing = [first for first, second in pairs if not empty_where(second).all()]
    stacked = np.stack(seeing or [np.broadcast_to(EMPTY, pairs[0][0].shape)])
    merged = np.stack([stacked[..., 0].min(axis=0), stacked[..., 1].max(axis=0)], axis=1)
    return np.where(empty_where(merged)[:, None], 0, merged)


def _separable(pairs: list[tuple[Intervals, Intervals]]) -> bool:
    """Whether rows × columns says it all: one pair, or none with empty intervals."""
    return len(pairs) == 1 or not any(empty_where(intervals).any() for pair in pairs for intervals in pair)


def _cells(pairs: list[tuple[Intervals, Intervals]]) -> Int64[np.ndarray, "h w 4"]:
    """(left, top, right, bottom) of every cell, over the pairs that see anything there."""
    low = np.full((len(pairs[0][0]), len(pairs[0][1]), 2), EMPTY[0])
    high = np.full_like(low, EMPTY[1])
    for rows, columns in pairs:
        sees = ~(empty_where(rows)[:, None] | empty_where(columns))[..., None]
        starts = np.stack(np.broadcast_arrays(columns[None, :, 0], rows[:, None, 0]), axis=-1)
        stops = np.stack(np.broadcast_arrays(columns[None, :, 1], rows[:, None, 1]), axis=-1)
        low = np.where(sees, np.minimum(low, starts), low)
        high = np.where(sees, np.maximum(high, stops), high)
    boxes = np.concatenate([low, high], axis=-1)
    return np.where((low < high).all(axis=-1, keepdims=True), boxes, 0)
