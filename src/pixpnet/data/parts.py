"""Left and right of an object's parts: merging the two, and telling them apart in a mirror.

Sides are read off the names: "left eye" and "right eye", "wing_left" and "wing_right", and FunnyBirds'
"foot01" (right) and "foot02". CUB-200-2011's 15 parts become 12.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Int

__all__ = ["PartGroups", "merge_sides", "met", "mirror_order"]

_WORD = re.compile(r"(?<![a-z])(left|right)(?![a-z])", re.IGNORECASE)
_NUMBER = re.compile(r"(?<=[a-z])0([12])$", re.IGNORECASE)
_SIDES = {"left": "left", "right": "right", "1": "right", "2": "left"}


class PartGroups(NamedTuple):
    """Parts that count as one."""

    names: tuple[str, ...]
    members: tuple[tuple[int, ...], ...]
    """Of each group, the positions of its parts."""


def merge_sides(part_names: Sequence[str]) -> PartGroups:
    """Left and right of each part together, in the order in which the first of them comes.

    >>> merge_sides(("beak", "left eye", "tail", "right eye"))
    PartGroups(names=('beak', 'eye', 'tail'), members=((0,), (1, 3), (2,)))
    """
    other = mirror_order(part_names)
    pairs = [(part, int(twin)) for part, twin in enumerate(other) if part <= twin]
    return PartGroups(
        names=tuple(part_names[part] if part == twin else _side(part_names[part])[0] for part, twin in pairs),
        members=tuple((part,) if part == twin else (part, twin) for part, twin in pairs),
    )


def met(parts: Bool[np.ndarray, "*n q"], groups: PartGroups) -> Bool[np.ndarray, "*n g"]:
    """Of each group, whether any of its parts is met (or visible)."""
    return np.stack([parts[..., list(members)].any(axis=-1) for members in groups.members], axis=-1)


def mirror_order(part_names: Sequence[str]) -> Int[np.ndarray, " q"]:
    """What each part looks like in a mirrored image: the position of its other side, else its own.

    `points[mirror_order(names)]` are a mirrored image's points under the names that a person would give them.

    >>> mirror_order(("beak", "left eye", "tail", "right eye")).tolist()
    [0, 3, 2, 1]
    """
    place = {_side(name): index for index, name in enumerate(part_names)}
    opposite = {"left": "right", "right": "left", "": ""}
    order = []
    for index, name in enumerate(part_names):
        base, side = _side(name)
        order.append(place.get((base, opposite[side]), index))
    return np.array(order, dtype=np.int64)


def _side(name: str) -> tuple[str, str]:
    """A part's name without its side, and the side: "left", "right" or ""."""
    for pattern in (_WORD, _NUMBER):
        if found := pattern.search(name):
            base = " ".join((name[: found.start()] + name[found.end() :]).strip(" _-").split())
            return (base, _SIDES[found[1].lower()]) if base else (name, "")
    return name, ""
