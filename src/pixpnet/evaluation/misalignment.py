"""Spatial misalignment (Sacha et al. 2024): can pixels that are not displayed change the similarity?

Sampled images are attacked once for each prototype of their class, outside the region that is displayed for
that prototype. Of the receptive field, this is the box of the best cell, and the similarity is that cell's;
of other mappings it is the box of the top 10 % of the map, grown by 10 pixels, and the similarity is the
largest.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import NamedTuple

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor

from pixpnet.data import turns_of
from pixpnet.errors import ConfigError, DataError
from pixpnet.evaluation.metric import MetricResult, Settings
from pixpnet.evaluation.subject import Subject
from pixpnet.metrics import (
    Observation,
    attack_outside,
    box_mask,
    exactly,
    require_positive_similarity,
    spatial_misalignment,
    top_region,
)
from pixpnet.pixel_space import MAPPINGS
from pixpnet.prototypes import PrototypeNetwork
from pixpnet.seeds import stable_seed
from pixpnet.types import Box


class Pairs(NamedTuple):
    """A batch of pairs of a test image and a prototype of its class."""

    indices: tuple[int, ...]
    """Which images of `Subject.records` they are."""
    prototypes: Int64[Tensor, "m"]


class SeenPairs(NamedTuple):
    """What the network makes of a batch of pairs."""

    features: Float[Tensor, "m d h w"]
    similarities: Float[Tensor, "m p"]
    predicted: Int64[Tensor, "m"]
    cells: Int64[Tensor, "m"]
    """Flat number of the nearest patch to each pair's prototype."""


@torch.no_grad()
def measure_misalignment(subject: Subject, method: str | None, settings: Settings) -> MetricResult:
    """Attack pairs of sampled images and their classes' prototypes; compare before and after.

    Pairs whose similarity is not positive before the attack are left out and counted.
    """
    assert method is not None
    batches = _batches(subject, settings)
    if not batches:
        raise DataError("no class of the sampled images has a prototype, so there is nothing to attack.")
    found = [_attack(subject, method, pairs, seed=settings.seed) for pairs in subject.track(batches)]
    before, after = (
        Observation(*map(torch.cat, zip(*side, strict=True))) for side in zip(*found, strict=True)
    )
    prototypes = torch.cat([pairs.prototypes for pairs in batches]).cpu()
    labels = torch.tensor([subject.labels[index] for pairs in batches for index in pairs.indices])
    kept = before.similarity > 0
    if not kept.any():
        raise DataError("no similarity is positive before the attack, so there is no change in percent.")
    own = subject.own_class
    measured = spatial_misalignment(
        Observation(*(part[kept] for part in before)),
        Observation(*(part[kept] for part in after)),
        prototypes=prototypes[kept],
        prototype_classes=torch.where(own.any(dim=1), own.int().argmax(dim=1), -1),
        labels=labels[kept],
        seed=settings.seed,
    )
    number, shown = int(kept.sum()), 100 * before.displayed[kept].double().mean().item()
    return MetricResult(
        {
            **measured._asdict(),
            "displayed": exactly(shown, count=number),
            "pairs": exactly(number, count=number, left_out=len(kept) - number),
        }
    )


def _batches(subject: Subject, settings: Settings) -> list[Pairs]:
    """The pairs, those of a prototype together; a batch has as many as the subject's batches have images.

    If there are too many, those that stay are drawn: as many of each prototype as of the others, or one less.
    """
    every = [
        (prototype, index)
        for index in subject.sample(settings.samples, seed=settings.seed)
        for prototype in subject.prototypes_of(subject.labels[index])
    ]
    generator = torch.Generator().manual_seed(stable_seed(settings.seed, "pairs"))
    drawn = [every[place] for place in torch.randperm(len(every), generator=generator).tolist()]
    turns = turns_of(prototype for prototype, _ in drawn)
    # A stable sort: within a turn, pairs stay in the order drawn.
    order = sorted(range(len(drawn)), key=lambda place: turns[place])
    pairs = sorted(drawn[place] for place in order[: settings.pairs])
    groups = [pairs[at : at + subject.batch_size] for at in range(0, len(pairs), subject.batch_size)]
    return [
        Pairs(
            tuple(index for _, index in group),
            torch.tensor([prototype for prototype, _ in group], device=subject.device),
        )
        for group in groups
    ]


def _attack(subject: Subject, method: str, pairs: Pairs, *, seed: int) -> tuple[Observation, Observation]:
    """What is seen before and after, on the CPU; both are measured in batches of the same shape."""
    pixels = _pixels(subject, pairs.indices)
    before = _see(subject, pixels, pairs)
    fixed = before.cells if MAPPINGS[method].shows_box else None
    displayed = _displayed(subject, method, pairs, before, pixels, seed=seed, purpose="map")
    attacked = attack_outside(
        partial(_similarity, subject, pairs.prototypes, fixed), pixels, displayed=displayed
    )
    after = _see(subject, attacked, pairs)
    shown = _displayed(subject, method, pairs, after, attacked, seed=seed, purpose="map after the attack")
    return (
        _observation(subject.network, pairs, before, before.cells, displayed),
        _observation(subject.network, pairs, after, after.cells if fixed is None else fixed, shown),
    )


def _pixels(subject: Subject, indices: Sequence[int]) -> Float[Tensor, "m 3 H W"]:
    """The images in [0, 1], as whole 255ths: what their files hold."""
    distinct = sorted(set(indices))
    low, high = (limit[:, None, None] for limit in (subject.lowest, subject.highest))
    pixels = (255 * (subject.load(distinct) - low) / (high - low)).round() / 255
    return pixels[[distinct.index(index) for index in indices]].clamp(0, 1)


def _normalised(subject: Subject, pixels: Float[Tensor, "m 3 H W"]) -> Float[Tensor, "m 3 H W"]:
    low, high = (limit[:, None, None] for limit in (subject.lowest, subject.highest))
    return low + pixels * (high - low)


def _see(subject: Subject, pixels: Float[Tensor, "m 3 H W"], pairs: Pairs) -> SeenPairs:
    z = subject.network.features(_normalised(subject, pixels))
    output = subject.network.from_features(z)
    cells = output.cells.gather(1, pairs.prototypes[:, None]).squeeze(1)
    return SeenPairs(z, output.similarities, output.logits.argmax(dim=1), cells)


def _observation(
    network: PrototypeNetwork,
    pairs: Pairs,
    seen: SeenPairs,
    cells: Int64[Tensor, "m"],
    displayed: Bool[Tensor, "m H W"],
) -> Observation:
    similarity = network.pair_similarities(network.patches_at(seen.features, cells), pairs.prototypes)
    return Observation(similarity.cpu(), seen.similarities.cpu(), displayed.cpu(), seen.predicted.cpu())


def _similarity(
    subject: Subject,
    prototypes: Int64[Tensor, "m"],
    cells: Int64[Tensor, "m"] | None,
    pixels: Float[Tensor, "m 3 H W"],
) -> Float[Tensor, "m"]:
    """Of each image to its own prototype: at a cell, or (None) at the nearest; with gradient."""
    network = subject.network
    z = network.features(_normalised(subject, pixels))
    nearest = network.pair_cells(z.detach(), prototypes) if cells is None else cells
    return network.pair_similarities(network.patches_at(z, nearest), prototypes)


def _displayed(
    subject: Subject,
    method: str,
    pairs: Pairs,
    seen: SeenPairs,
    pixels: Float[Tensor, "m 3 H W"],
    *,
    seed: int,
    purpose: str,
) -> Bool[Tensor, "m H W"]:
    """The region that a mapping displays for each pair: the best cell's box, or the top of its map."""
    if MAPPINGS[method].shows_box:
        boxes = subject.receptive_field.boxes.reshape(-1, 4)[seen.cells.tolist()]
        masks = [box_mask(Box(*box), image_size=subject.image_size) for box in boxes.tolist()]
        return torch.stack(masks).to(subject.device)
    images, regions = _normalised(subject, pixels), torch.zeros_like(pixels[:, 0], dtype=torch.bool)
    for prototype in pairs.prototypes.unique().tolist():
        rows = (pairs.prototypes == prototype).nonzero().squeeze(1)
        similarities = subject.network_of((prototype,)).similarity_maps(seen.features[rows])
        indices = [pairs.indices[row] for row in rows.tolist()]
        seeds = subject.draw_seeds(indices, seed=seed, purpose=f"{purpose} of {prototype}")
        maps = subject.maps(method, images[rows], similarities, (prototype,), seeds=seeds)
        regions[rows] = top_region(maps[:, 0].detach())
    return regions


def needs_positive_similarity(subject: Subject, settings: Settings) -> str | None:
    """Similarities of which a percentage can be taken."""
    try:
        require_positive_similarity(subject.network.largest_similarity)
    except ConfigError as error:
        return str(error)
    return None
