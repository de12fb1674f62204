"""Receptive fields along one axis of the image, how windows over indices move them, and their products.

An interval is a pair ``(start, stop)`` of pixel indices, half-open. The empty interval is ``EMPTY``, chosen
so that the hull of intervals is the minimum of the starts and the maximum of the stops.

The receptive field of a channel is a union of separable terms, kept as few as exactness allows. A term is
rows × columns: the cell (i, j) sees the box rows[i] × columns[j], and nothing if either is empty. The hull of
two terms is one term again only if they are empty at the same cells; otherwise both stay.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from jaxtyping import Bool, Int64

FAR = 2**40
"""Further away than any pixel."""
EMPTY = np.array([FAR, -FAR], dtype=np.int64)
NO_TAP = FAR
"""In patterns of taps: no index here."""
OUTSIDE = -1
"""In lists of taps: this tap lies outside the input."""


@dataclass(frozen=True, eq=False)
class Taps:
    """Which input indices each output index of an operation reads, along one axis.

    Attributes:
        indices: Input indices of every output index; ``OUTSIDE`` where a tap lies in the padding.
        pattern: The same on an endless axis: taps of the output indices 0 … period - 1; ``NO_TAP`` fills up.
        step: How far the taps move when the output index moves by one period.
    """

    indices: Int64[np.ndarray, "n k"]
    pattern: Int64[np.ndarray, "period k2"]
    step: int

    @staticmethod
    def periodic(pattern: Int64[np.ndarray, "period k"], step: int, *, inputs: int, outputs: int) -> Taps:
        """Taps on an axis of ``inputs`` indices that follow the pattern wherever they lie inside."""
        index = np.arange(outputs)
        shift = (index // len(pattern)) * step
        taps = pattern[index % len(pattern)] + shift[:, None]
        inside = (taps >= 0) & (taps < inputs)
        return Taps(np.where(inside, taps, OUTSIDE), pattern, step)


def empty_where(intervals: Int64[np.ndarray, "n 2"]) -> Bool[np.ndarray, "n"]:
    """Whether each interval is empty."""
    return intervals[:, 0] >= intervals[:, 1]


@dataclass(frozen=True, eq=False)
class Axis:
    """What each index of a feature map sees along one axis of the image.

    Attributes:
        clipped: Pixels of the image that each index sees.
        pattern: Pixels that the indices 0 … period - 1 would see if image and feature map had no border.
        step: How far that moves with every period.
        extent: Pixels of the image along this axis.
    """

    clipped: Int64[np.ndarray, "n 2"]
    pattern: Int64[np.ndarray, "period 2"]
    step: int
    extent: int

    @staticmethod
    def of_image(extent: int) -> Axis:
        """Every pixel sees itself."""
        start = np.arange(extent, dtype=np.int64)
        return Axis(np.stack([start, start + 1], axis=1), np.array([[0, 1]]), 1, extent)

    def __len__(self) -> int:
        return len(self.clipped)

    @cached_property
    def support(self) -> tuple[bytes, bytes]:
        """Which indices see anything at all, with and without the border."""
        return empty_where(self.clipped).tobytes(), empty_where(self.pattern).tobytes()

    def through(self, taps: Taps) -> Axis:
        """What an operation with these taps sees through this axis."""
        padded = np.concatenate([self.clipped, EMPTY[None]])
        clipped = np.stack(
            [padded[:, 0][taps.indices].min(axis=1), padded[:, 1][taps.indices].max(axis=1)], axis=1
        )
        return Axis(clipped, *self._pattern_through(taps), self.extent)

    def _pattern_through(self, taps: Taps) -> tuple[Int64[np.ndarray, "period 2"], int]:
        period = len(self.pattern)
        repeats = period // math.gcd(period, taps.step) if taps.step else 1
        moved = taps.pattern[None] + (np.arange(repeats) * taps.step)[:, None, None]
        moved = moved.reshape(repeats * len(taps.pattern), -1)
        present = np.broadcast_to(taps.pattern < NO_TAP, (repeats, *taps.pattern.shape)).reshape(moved.shape)
        moved = np.where(present, moved, 0)
        seen = self.pattern[moved % period] + ((moved // period) * self.step)[..., None]
        present = present & ~empty_where(self.pattern)[moved % period]
        start = np.where(present, seen[..., 0], EMPTY[0]).min(axis=1)
        stop = np.where(present, seen[..., 1], EMPTY[1]).max(axis=1)
        return np.stack([start, stop], axis=1), self.step * (repeats * taps.step) // period

    def whole(self, length: int | None = None) -> Axis:
        """Every one of ``length`` indices (default: as many as now) sees all that any index sees."""
        hull = np.array([[self.clipped[:, 0].min(), self.clipped[:, 1].max()]])
        sees = not empty_where(self.pattern).all()
        pattern = np.array([[0, self.extent]]) if sees else EMPTY[None]
        return Axis(np.repeat(hull, len(self) if length is None else length, axis=0), pattern, 0, self.extent)

    def repeated(self, length: int) -> Axis:
        """The only index of this axis, ``length`` times (broadcasting)."""
        return Axis(np.repeat(self.clipped, length, axis=0), self.pattern[:1], 0, self.extent)

    @cached_property
    def unclipped(self) -> Int64[np.ndarray, "n 2"]:
        """Intervals without the border, of the indices that exist."""
        index = np.arange(len(self))
        pattern = self.pattern[index % len(self.pattern)]
        moved = pattern + ((index // len(self.pattern)) * self.step)[:, None]
        return np.where(empty_where(pattern)[:, None], EMPTY, moved)

    def same_pace(self, other: Axis) -> bool:
        """Whether both move equally fast over an endless image, so that their hull is one axis again."""
        return self.step * len(other.pattern) == other.step * len(self.pattern)

    def with_period(self, period: int) -> Axis:
        """The same axis, written with a multiple of its period."""
        repeats = period // len(self.pattern)
        if repeats == 1:
            return self
        shifts = np.repeat(np.arange(repeats) * self.step, len(self.pattern))
        tiled = np.tile(self.pattern, (repeats, 1))
        pattern = np.where(empty_where(tiled)[:, None], EMPTY, tiled + shifts[:, None])
        return Axis(self.clipped, pattern, self.step * repeats, self.extent)


def hull(axes: Sequence[Axis]) -> Axis:
    """The smallest axis that holds them all; they must be equally long, of one period and one step."""
    first = axes[0]

    def widest(intervals: list[Int64[np.ndarray, "n 2"]]) -> Int64[np.ndarray, "n 2"]:
        stacked = np.stack(intervals)
        return np.stack([stacked[..., 0].min(axis=0), stacked[..., 1].max(axis=0)], axis=1)

    return Axis(
        widest([axis.clipped for axis in axes]),
        widest([axis.pattern for axis in axes]),
        first.step,
        first.extent,
    )


@dataclass(frozen=True, eq=False)
class Term:
    """A receptive field that is an interval of rows times an interval of columns, for every cell."""

    rows: Axis
    columns: Axis


Field = tuple[Term, ...]
"""A union of terms; the empty tuple sees nothing (padding, constants)."""


def through(field: Field, rows: Taps | None, columns: Taps | None) -> Field:
    """What an operation with these taps (None: pointwise) sees through a field."""

    def move(term: Term) -> Term:
        if term.rows is term.columns and rows is columns and rows is not None:
            both = term.rows.through(rows)
            return Term(both, both)
        return Term(
            term.rows if rows is None else term.rows.through(rows),
            term.columns if columns is None else term.columns.through(columns),
        )

    return change(field, move)


def change(field: Field, move: Callable[[Term], Term]) -> Field:
    """Apply to every term."""
    moved = tuple(move(term) for term in field)
    return moved if len(moved) == 1 else unite([moved])


def unite(fields: Iterable[Field]) -> Field:
    """The union, with as few terms as it takes."""
    terms = list({id(term): term for field in fields for term in field}.values())
    if len(terms) <= 1:
        return tuple(terms)
    alike: list[list[Term]] = []
    for term in terms:
        for group in alike:
            if _same_pace(group[0], term):
                group.append(term)
                break
        else:
            alike.append([term])
    return tuple(merged for group in alike for merged in _merge(group))


def _same_pace(a: Term, b: Term) -> bool:
    return a.rows.same_pace(b.rows) and a.columns.same_pace(b.columns)


def _merge(terms: list[Term]) -> list[Term]:
    """Hulls of those terms that are empty at the same cells."""
    if len(terms) == 1:
        return terms
    row_period = math.lcm(*(len(term.rows.pattern) for term in terms))
    column_period = math.lcm(*(len(term.columns.pattern) for term in terms))
    groups: dict[tuple, list[Term]] = {}
    for term in terms:
        even = Term(term.rows.with_period(row_period), term.columns.with_period(column_period))
        groups.setdefault((even.rows.support, even.columns.support), []).append(even)
    return [
        Term(hull([term.rows for term in group]), hull([term.columns for term in group]))
        for group in groups.values()
    ]
