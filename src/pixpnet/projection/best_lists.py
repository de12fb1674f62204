"""For each prototype the best patches seen so far: a flat, mergeable, picklable table."""

from __future__ import annotations

from dataclasses import dataclass, fields

import numpy as np
from jaxtyping import Bool, Float, Int

_FEWEST_WAITING = 4096


@dataclass(frozen=True)
class Candidates:
    """Rows (prototype, patch, distance), and the patches' vectors, each stored once."""

    prototype: Int[np.ndarray, "n"]
    image: Int[np.ndarray, "n"]
    cell: Int[np.ndarray, "n"]
    """Code of the patch's top-left cell that grows in row-major order."""
    distance: Float[np.ndarray, "n"]
    slot: Int[np.ndarray, "n"]
    """Row of ``vectors``."""
    vectors: Float[np.ndarray, "u D"]

    def __len__(self) -> int:
        return len(self.prototype)

    @classmethod
    def empty(cls, width: int) -> Candidates:
        none = np.zeros(0, np.int64)
        return cls(none, none, none, np.zeros(0, np.float32), none, np.zeros((0, width), np.float32))

    @classmethod
    def joined(cls, parts: list[Candidates]) -> Candidates:
        starts = np.cumsum([0, *(len(part.vectors) for part in parts)])
        slots = [part.slot + start for part, start in zip(parts, starts, strict=False)]
        columns = {
            field.name: np.concatenate([getattr(part, field.name) for part in parts])
            for field in fields(cls)
            if field.name != "slot"
        }
        return cls(slot=np.concatenate(slots), **columns)

    def take(self, rows: Int[np.ndarray, "m"] | Bool[np.ndarray, "n"]) -> Candidates:
        """These rows, with the vectors that they need."""
        used, slot = np.unique(self.slot[rows], return_inverse=True)
        return Candidates(
            self.prototype[rows],
            self.image[rows],
            self.cell[rows],
            self.distance[rows],
            slot.reshape(-1),
            self.vectors[used],
        )


class BestList:
    """Of each prototype p the best ``lengths[p]`` patches, or the best patch of each of its best images.

    Better is: smaller distance, then smaller image index, then earlier cell. What is kept depends on the set
    of patches seen, not on their order.
    """

    def __init__(self, lengths: Int[np.ndarray, "p"], *, width: int, one_per_image: bool) -> None:
        self.lengths = lengths
        self.one_per_image = one_per_image
        self.rows = Candidates.empty(width)
        self.waiting: list[Candidates] = []
        self.ceilings = np.full(len(lengths), np.inf, np.float32)
        """A patch farther than this can't enter the list of its prototype any more."""

    @property
    def is_full(self) -> Bool[np.ndarray, "p"]:
        return np.isfinite(self.ceilings)

    def add(self, rows: Candidates) -> None:
        """Take in more patches; sorting waits until there are half as many new ones as the lists hold."""
        self.waiting.append(rows)
        if sum(map(len, self.waiting)) > _FEWEST_WAITING + self.lengths.sum() // 2:
            self.compact()

    def drop(self, prototypes: Bool[np.ndarray, "p"]) -> None:
        """Forget these prototypes' lists, and keep them empty."""
        self.lengths = np.where(prototypes, 0, self.lengths)
        self.ceilings[prototypes] = -np.inf

    def compact(self) -> Candidates:
        """Sort by prototype and rank, keep the best, and return them."""
        rows = Candidates.joined([self.rows, *self.waiting])
        self.waiting = []
        within_unit = (rows.cell, rows.distance) if self.one_per_image else (rows.distance, rows.cell)
        order = np.lexsort((*within_unit, rows.image, rows.prototype))
        units = [rows.prototype[order], rows.image[order]]
        if not self.one_per_image:
            units.append(rows.cell[order])
        # One row per unit: an image that two processes saw counts once.
        order = order[_is_first(*units)]
        # The sort is stable, so that ties stay in the order of images and cells.
        order = order[np.lexsort((rows.distance[order], rows.prototype[order]))]
        prototype = rows.prototype[order]
        starts = np.searchsorted(prototype, np.arange(len(self.lengths)))
        rank = np.arange(len(order)) - starts[prototype]
        kept = rank < self.lengths[prototype]
        is_last = rank == self.lengths[prototype] - 1
        self.ceilings[prototype[is_last]] = rows.distance[order[is_last]]
        self.rows = rows.take(order[kept])
        return self.rows


def _is_first(*columns: Int[np.ndarray, "n"]) -> Bool[np.ndarray, "n"]:
    """Whether a row of sorted columns differs from the row before it."""
    first = np.ones(len(columns[0]), bool)
    first[1:] = np.any([column[1:] != column[:-1] for column in columns], axis=0)
    return first
