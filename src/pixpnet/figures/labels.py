"""Places for the labels of points, so that no label lies on another."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from math import cos, pi, sin
from typing import NamedTuple

_DIRECTIONS = (0, 4, 2, 6, 1, 7, 3, 5)
"""Eighths of a turn, from the right: beside the point first, then above and below it."""


class Rectangle(NamedTuple):
    """A rectangle of a figure."""

    left: float
    bottom: float
    right: float
    top: float

    def overlaps(self, other: Rectangle) -> bool:
        return (
            self.left < other.right
            and other.left < self.right
            and self.bottom < other.top
            and other.bottom < self.top
        )

    def grown(self, by: float) -> Rectangle:
        """The rectangle with a border around it."""
        return Rectangle(self.left - by, self.bottom - by, self.right + by, self.top + by)

    def lies_in(self, other: Rectangle) -> bool:
        return (
            other.left <= self.left
            and self.right <= other.right
            and other.bottom <= self.bottom
            and self.top <= other.top
        )


class Label(NamedTuple):
    """What is to be placed: the point that it names, and its own size."""

    x: float
    y: float
    width: float
    height: float
    reach: float
    """How far from its point it may lie."""
    is_needed: bool = False
    """Whether it may lie on obstacles where there is no other place."""


def place_labels(
    labels: Sequence[Label], *, area: Rectangle, obstacles: Sequence[Rectangle], clearance: float
) -> list[Rectangle | None]:
    """A place for each label, the first ones first; None where there is no room.

    A place lies in the area, on no other label and on no obstacle. The nearest one is taken.

    Args:
        labels: What is to be placed, in any one unit.
        area: Where.
        obstacles: What shall stay visible.
        clearance: Least distance from the point and from other labels.
    """
    placed: list[Rectangle | None] = []
    for label in labels:
        taken = [place.grown(clearance / 2) for place in placed if place is not None]
        free = [
            place
            for place in _candidates(label, clearance)
            if place.lies_in(area) and not any(place.overlaps(other) for other in taken)
        ]
        clear = (place for place in free if not any(place.overlaps(one) for one in obstacles))
        placed.append(next(clear, free[0] if free and label.is_needed else None))
    return placed


def _candidates(label: Label, clearance: float) -> Iterator[Rectangle]:
    """Places around the point, from near to far."""
    steps = max(1, int(label.reach / clearance))
    for step in range(1, steps + 1):
        distance = clearance * (0.5 + step)
        for eighth in _DIRECTIONS:
            angle = eighth * pi / 4
            x = label.x + (distance + label.width / 2) * cos(angle)
            y = label.y + (distance + label.height / 2) * sin(angle)
            yield Rectangle(
                x - label.width / 2, y - label.height / 2, x + label.width / 2, y + label.height / 2
            )
