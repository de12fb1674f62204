"""What several metrics look at: all test images, a sample of them with its maps, and the boxes of cells."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import torch
from jaxtyping import Float, Float64, Int64
from torch import Tensor

from pixpnet.evaluation.metric import Settings
from pixpnet.evaluation.subject import Subject
from pixpnet.pixel_space import MAPPINGS, region_mappings

KEPT = 1 << 26
"""Most pixels of maps that are kept: 256 MB."""


class WholeSet(NamedTuple):
    """What the network says of every test image (on the CPU)."""

    similarities: Float[Tensor, "n p"]
    cells: Int64[Tensor, "n p"]
    """Flat number of each prototype's nearest patch."""
    predicted: Int64[Tensor, "n"]
    """Class."""


class SampledMaps(NamedTuple):
    """Some test images of one class, and maps of that class's prototypes."""

    label: int
    indices: tuple[int, ...]
    """Of the images, in `Subject.records`."""
    prototypes: Int64[Tensor, "n"]
    cells: Int64[Tensor, "b n"]
    """Flat number of each prototype's nearest patch (on the CPU, as the maps)."""
    maps: Float[Tensor, "b n H W"]


@torch.no_grad()
def see_all(subject: Subject) -> WholeSet:
    """All prototypes in all test images; kept for the next metric that asks."""
    if see_all not in subject.memo:
        size, number = subject.batch_size, len(subject.records)
        outputs = [
            subject.network(subject.load(range(start, min(start + size, number))))
            for start in subject.track(range(0, number, size))
        ]
        subject.memo[see_all] = WholeSet(
            torch.cat([output.similarities for output in outputs]).cpu(),
            torch.cat([output.cells for output in outputs]).cpu(),
            torch.cat([output.logits.argmax(dim=1) for output in outputs]).cpu(),
        )
    return subject.memo[see_all]


def class_samples(subject: Subject, settings: Settings) -> list[tuple[int, tuple[int, ...]]]:
    """The sampled test images, class by class, in groups of a batch; classes without prototypes left out."""
    drawn = subject.sample(settings.samples, seed=settings.seed)
    groups = []
    for label in sorted({subject.labels[index] for index in drawn}):
        own = tuple(index for index in drawn if subject.labels[index] == label)
        if subject.prototypes_of(label):
            size = subject.batch_size
            groups += [(label, own[start : start + size]) for start in range(0, len(own), size)]
    return groups


def sampled_maps(subject: Subject, method: str, settings: Settings) -> Iterator[SampledMaps]:
    """Maps of the sampled test images and the prototypes of their own class.

    Those that take long are kept for the next metric that asks, unless they are too large.
    """
    key = ("sampled maps", method, settings.samples, settings.seed)
    if key in subject.memo:
        yield from subject.memo[key]
        return
    made: list[SampledMaps] = []
    keeps = MAPPINGS[method].is_slow
    for batch in _make_maps(subject, method, settings):
        yield batch
        made += [batch] if keeps else []
        if sum(one.maps.numel() for one in made) > KEPT:
            keeps = False
            made.clear()
    if keeps:
        subject.memo[key] = made


def _make_maps(subject: Subject, method: str, settings: Settings) -> Iterator[SampledMaps]:
    for label, indices in subject.track(class_samples(subject, settings)):
        prototypes = subject.prototypes_of(label)
        network, images = subject.network_of(prototypes), subject.load(indices)
        features = network.features(images)
        seeds = subject.draw_seeds(indices, seed=settings.seed, purpose="map")
        maps = subject.maps(method, images, network.similarity_maps(features), prototypes, seeds=seeds)
        yield SampledMaps(
            label,
            indices,
            torch.tensor(prototypes),
            network.from_features(features).cells.cpu(),
            maps.detach().cpu(),
        )


def region_methods(settings: Settings) -> tuple[str | None, ...]:
    """The mappings that show regions of their own; the others show the receptive field's."""
    return tuple(region_mappings())


def displayed_boxes(subject: Subject, method: str) -> Float64[Tensor, "n 4"]:
    """The box that a mapping shows for each cell, in row-major order."""
    rows, columns = subject.receptive_field.grid_size
    region = MAPPINGS[method].region
    boxes = [region(subject.receptive_field, i, j) for i in range(rows) for j in range(columns)]
    return torch.tensor(boxes, dtype=torch.float64)
