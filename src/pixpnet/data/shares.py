"""Shares of images: for the test, for validation, and a few of every class.

What is drawn keeps images of one group (`ImageRecord.group`: a patient, a camera) on one side.
"""

from __future__ import annotations

import hashlib
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence

import torch

from pixpnet.errors import ConfigError
from pixpnet.seeds import stable_seed
from pixpnet.types import ImageRecord

_Records = tuple[ImageRecord, ...]


def set_aside(records: Sequence[ImageRecord], *, share: float, seed: int) -> tuple[_Records, _Records]:
    """What stays, and a share of every class to half an image; at least one of two images, never the last.

    Which images depends on the seed and the names of images (or of their groups), so a new one moves few
    others. Groups are not divided, so a class may give more or less where they are large.
    """

    def place(record: ImageRecord) -> bytes:
        name = record.image_id if record.group is None else record.group
        return hashlib.sha256(f"{seed} {name}".encode()).digest()

    counts = Counter(record.label for record in records)
    wanted = {label: min(max(1, round(share * count)), count - 1) for label, count in counts.items()}
    order = sorted(range(len(records)), key=lambda position: place(records[position]))
    return _parted(records, _drawn(records, order, wanted, is_some_needed=True))


def hold_out(records: _Records, *, share: float, seed: int) -> tuple[_Records, _Records]:
    """Split off a share of the images, the same share of every class as near as whole images allow.

    The share of all images is met to half an image; each class keeps at least one. Both parts stay in order.
    Groups are not divided, so where there are some, the share is met as near as they allow.
    """
    check_share(share)
    generator = torch.Generator().manual_seed(stable_seed(seed, "validation"))
    members = by_class(records)
    wanted = {label: share * len(positions) for label, positions in members.items()}
    counts = {label: int(number) for label, number in wanted.items()}
    shuffled = torch.randperm(len(wanted), generator=generator).tolist()
    by_rest = sorted(
        (list(wanted)[place] for place in shuffled), key=lambda label: counts[label] - wanted[label]
    )
    for label in by_rest[: round(share * len(records)) - sum(counts.values())]:
        counts[label] += 1
    order: list[int] = []
    for label, positions in members.items():
        counts[label] = min(counts[label], len(positions) - 1)
        order += (positions[turn] for turn in torch.randperm(len(positions), generator=generator).tolist())
    return _parted(records, _drawn(records, order, counts))


def evenly_over_classes(records: _Records, count: int) -> _Records:
    """The first image of every class, then the second, ... until there are `count`, in their old order."""
    turns = turns_of(record.label for record in records)
    order = sorted(range(len(records)), key=lambda position: turns[position])
    return tuple(records[position] for position in sorted(order[:count]))


def turns_of(values: Iterable[object]) -> list[int]:
    """How many of its like come before each.

    >>> turns_of(["wren", "owl", "wren", "wren"])
    [0, 0, 1, 2]
    """
    seen: Counter[object] = Counter()
    turns = []
    for value in values:
        turns.append(seen[value])
        seen[value] += 1
    return turns


def by_class(records: Sequence[ImageRecord]) -> dict[int, list[int]]:
    """Positions of the images of each class."""
    members: defaultdict[int, list[int]] = defaultdict(list)
    for position, record in enumerate(records):
        members[record.label].append(position)
    return dict(sorted(members.items()))


def check_share(share: float) -> None:
    """Raises a ConfigError where no such share of the training images can be held out."""
    if not 0 <= share < 1:
        raise ConfigError(
            f"dataset.val-size is {share:g}; give a share of the training images, from 0 to below 1."
        )


def _drawn(
    records: Sequence[ImageRecord],
    order: Iterable[int],
    wanted: Mapping[int, int],
    *,
    is_some_needed: bool = False,
) -> set[int]:
    """Positions of whole groups in this order, each taken if that brings classes nearer to what is wanted.

    An image without a group is one of its own. No class gives its last image. If some of each class is
    needed, one that would give none gives its smallest group.
    """
    groups: defaultdict[object, list[int]] = defaultdict(list)
    for position in order:
        group = records[position].group
        groups[position if group is None else group].append(position)
    left = Counter(record.label for record in records)
    missing = Counter(wanted)
    drawn: set[int] = set()

    def take(positions: list[int], members: Counter[int]) -> None:
        if all(left[label] > count for label, count in members.items()):
            drawn.update(positions)
            left.subtract(members)
            missing.subtract(members)

    waiting = []
    for positions in groups.values():
        members = Counter(records[position].label for position in positions)
        gain = sum(abs(missing[label]) - abs(missing[label] - count) for label, count in members.items())
        if gain > 0:
            take(positions, members)
        else:
            waiting.append((positions, members))
    for positions, members in sorted(waiting, key=lambda group: len(group[0])) if is_some_needed else ():
        if any(missing[label] == wanted[label] > 0 for label in members):
            take(positions, members)
    return drawn


def _parted(records: Sequence[ImageRecord], drawn: set[int]) -> tuple[_Records, _Records]:
    """What was not drawn and what was, both in order."""
    return (
        tuple(record for position, record in enumerate(records) if position not in drawn),
        tuple(records[position] for position in sorted(drawn)),
    )
