"""Consistency and stability (Huang et al. 2022) of a network's prototypes, by a published protocol."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
from jaxtyping import Bool
from torch import Tensor

from pixpnet.data import Geometry, merge_sides
from pixpnet.evaluation.centers import ClassCenters, Noise, find_centers, needs_mapping
from pixpnet.evaluation.metric import Metric, Outcome, Quantity, Settings, needs_parts
from pixpnet.evaluation.subject import Subject
from pixpnet.metrics import (
    PROTOCOLS,
    Agreement,
    PartCounts,
    Protocol,
    StabilityCounts,
    consistency,
    count_parts,
    count_stable,
    merge_parts,
    parts_in_boxes,
    square_regions,
    stability,
)
from pixpnet.pixel_space import MAPPINGS

IMAGES: dict[str, Geometry | None] = {
    "test-transform": None,
    "box-224": Geometry(to_box=True, resize=(224, 224)),
}
"""`Protocol.image` -> what of each file is the image; none: as the network is tested."""


class Met(NamedTuple):
    """Of one batch, the visible (merged) parts in each prototype's region."""

    prototypes: tuple[int, ...]
    met: Bool[Tensor, "b n q"]
    visible: Bool[Tensor, "b q"]

    @property
    def own(self) -> Bool[Tensor, "b n"]:
        """All pairs: the images are of the prototypes' class."""
        return torch.ones(self.met.shape[:2], dtype=torch.bool, device=self.met.device)


def measure_consistency(subject: Subject, method: str | None, settings: Settings) -> Outcome:
    """How often a prototype lies on the same part in the images of its class."""
    protocol = PROTOCOLS[settings.protocol]
    (batches,) = _met(subject, method, settings, noises=(None,))
    size = (len(subject.own_class), len(part_groups(subject, protocol)))
    counts = PartCounts(*(torch.zeros(size, dtype=torch.int64, device=subject.device) for _ in range(2)))
    for batch in batches:
        found = count_parts(batch.met, batch.visible, batch.own)
        for total, part in zip(counts, found, strict=True):
            total[list(batch.prototypes)] += part
    return _outcome(consistency(counts, threshold=protocol.threshold, seed=settings.seed))


def measure_stability(subject: Subject, method: str | None, settings: Settings) -> Outcome:
    """How often a prototype stays on its parts when the image is noisy."""
    protocol = PROTOCOLS[settings.protocol]
    noise = Noise(settings.seed, protocol.noise_sigma, protocol.noise_clip)
    before, after = _met(subject, method, settings, noises=(None, noise))
    numbers = torch.zeros(4, len(subject.own_class), dtype=torch.float64, device=subject.device)
    for batch, noisy in zip(before, after, strict=True):
        found = count_stable(
            batch.met,
            noisy.met,
            visible=batch.visible,
            own_class=batch.own,
            skip_hidden=protocol.skip_hidden,
        )
        numbers[:, list(batch.prototypes)] += torch.stack([part.double() for part in found])
    equal, overlap, images, with_parts = numbers
    counts = StabilityCounts(equal.long(), overlap, images.long(), with_parts.long())
    return _outcome(stability(counts, seed=settings.seed))


def part_groups(subject: Subject, protocol: Protocol) -> tuple[tuple[int, ...], ...]:
    """The parts that count as one."""
    names = subject.image_set.part_names
    return merge_sides(names).members if protocol.merge_sides else tuple((q,) for q in range(len(names)))


def _met(
    subject: Subject, method: str | None, settings: Settings, *, noises: Sequence[Noise | None]
) -> list[list[Met]]:
    """For each noise, what the prototypes meet in each batch of images of their class."""
    settings, protocol = settings.resolved(), PROTOCOLS[settings.protocol]
    geometry = IMAGES[protocol.image]
    seen = subject if geometry is None else subject.seen_as(geometry)
    assert settings.center is not None
    assert settings.half_size is not None
    groups, half_size = part_groups(subject, protocol), settings.half_size

    def met(batch: ClassCenters) -> Met:
        boxes = square_regions(batch.centers, half_size=half_size, image_size=seen.image_size)
        parts = parts_in_boxes(boxes, batch.points, batch.visible)
        return Met(batch.prototypes, merge_parts(parts, groups), merge_parts(batch.visible, groups))

    found = find_centers(seen, method, center=settings.center, seed=settings.seed, noises=noises)
    return [[met(batch) for batch in batches] for batches in found]


def _outcome(agreement: Agreement) -> Outcome:
    return Outcome({"hard": agreement.hard, "soft": agreement.soft})


def _methods(settings: Settings) -> tuple[str | None, ...]:
    center = settings.resolved().center
    return tuple(MAPPINGS) if center is not None and needs_mapping(center) else (None,)


def _needs_boxes(subject: Subject, settings: Settings) -> str | None:
    geometry = IMAGES[PROTOCOLS[settings.protocol].image]
    if geometry is None or not geometry.to_box or all(one.box is not None for one in subject.records):
        return None
    return (
        f"protocol {settings.protocol} crops images to the object's box, and {subject.image_set.name} "
        "has images without one"
    )


def _agreement(
    title: str, measure: Callable[[Subject, str | None, Settings], Outcome], *, hard: str, soft: str
) -> Metric:
    return Metric(
        title=title,
        measure=measure,
        quantities={"hard": Quantity(hard, "%", better="high"), "soft": Quantity(soft, "%", better="high")},
        settings=("seed", "protocol", "center", "half_size"),
        methods=_methods,
        needs=(needs_parts, _needs_boxes),
    )


CONSISTENCY = _agreement(
    "Consistency",
    measure_consistency,
    hard="same part in ≥ 80 % of images",
    soft="presence of the best part",
)

STABILITY = _agreement(
    "Stability", measure_stability, hard="same parts under noise", soft="overlap of parts under noise"
)
