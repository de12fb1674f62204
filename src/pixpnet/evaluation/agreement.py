"""Consistency and stability (Huang et al. 2022) of a network's prototypes, by a published protocol."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor
from torch.nn import functional

from pixpnet.data import Geometry, merge_sides
from pixpnet.evaluation.metric import CENTERS, MetricResult, Settings
from pixpnet.evaluation.subject import ClassBatch, ClassCenters, Noise, Subject
from pixpnet.metrics import (
    PROTOCOLS,
    Agreement,
    Consistency,
    Protocol,
    Stability,
    add_noise,
    argmax_centers,
    merge_parts,
    parts_in_boxes,
    square_regions,
)
from pixpnet.pixel_space import MAPPINGS

PROTOCOL_IMAGES: dict[str, Geometry | None] = {
    "test-transform": None,
    "box-224": Geometry(to_box=True, resize=(224, 224)),
}
"""`Protocol.image` -> what of each file is the image; None: as the network is tested."""


class Met(NamedTuple):
    """Which visible (merged) parts lie in the regions of one class's prototypes, in a batch of its images."""

    prototypes: Int64[Tensor, "n"]
    met: Bool[Tensor, "b n q"]
    visible: Bool[Tensor, "b q"]

    @property
    def own(self) -> Bool[Tensor, "b n"]:
        """All pairs: the images are of the prototypes' class."""
        return torch.ones(self.met.shape[:2], dtype=torch.bool, device=self.met.device)


def measure_consistency(subject: Subject, method: str | None, settings: Settings) -> MetricResult:
    """How often a prototype lies on the same part in the images of its class."""
    protocol = PROTOCOLS[settings.protocol]
    metric = Consistency(
        subject.num_prototypes,
        len(part_groups(subject, protocol)),
        threshold=protocol.threshold,
        seed=settings.seed,
    ).to(subject.device)
    (batches,) = _met(subject, method, settings, noises=(None,))
    for batch in batches:
        metric.update(batch.met, batch.visible, batch.own, batch.prototypes)
    return _result(metric.compute())


def measure_stability(subject: Subject, method: str | None, settings: Settings) -> MetricResult:
    """How often a prototype stays on its parts when the image is noisy."""
    protocol = PROTOCOLS[settings.protocol]
    metric = Stability(subject.num_prototypes, skip_hidden=protocol.skip_hidden, seed=settings.seed)
    metric.to(subject.device)
    noise = Noise(settings.seed, protocol.noise_sigma, protocol.noise_clip)
    before, after = _met(subject, method, settings, noises=(None, noise))
    for batch, noisy in zip(before, after, strict=True):
        metric.update(batch.met, noisy.met, batch.visible, batch.own, batch.prototypes)
    return _result(metric.compute())


def _result(agreement: Agreement) -> MetricResult:
    return MetricResult({"hard": agreement.hard, "soft": agreement.soft})


def agreement_methods(settings: Settings) -> tuple[str | None, ...]:
    """All mappings, or (None,) where regions are centred without one."""
    center = settings.resolved().center
    return tuple(MAPPINGS) if center is not None and CENTERS[center] else (None,)


def needs_boxes(subject: Subject, settings: Settings) -> str | None:
    """Boxes of objects, where the protocol crops images to them."""
    geometry = PROTOCOL_IMAGES[PROTOCOLS[settings.protocol].image]
    if geometry is None or not geometry.to_box or all(one.box is not None for one in subject.records):
        return None
    return (
        f"protocol {settings.protocol} crops images to the object's box, and {subject.image_set.name} "
        "has images without one"
    )


def part_groups(subject: Subject, protocol: Protocol) -> tuple[tuple[int, ...], ...]:
    """The parts that count as one."""
    names = subject.image_set.part_names
    return merge_sides(names).members if protocol.merge_sides else tuple((q,) for q in range(len(names)))


def _met(
    subject: Subject, method: str | None, settings: Settings, *, noises: Sequence[Noise | None]
) -> list[list[Met]]:
    """For each noise, what the prototypes meet in each batch of images of their class."""
    settings, protocol = settings.resolved(), PROTOCOLS[settings.protocol]
    geometry = PROTOCOL_IMAGES[protocol.image]
    seen = subject if geometry is None else subject.seen_as(geometry)
    assert settings.center is not None
    assert settings.half_size is not None
    groups, half_size = part_groups(subject, protocol), settings.half_size

    def met(batch: ClassCenters) -> Met:
        boxes = square_regions(batch.centers, half_size=half_size, image_size=seen.image_size)
        parts = parts_in_boxes(boxes, batch.points, batch.visible)
        prototypes = torch.tensor(batch.prototypes, device=subject.device)
        return Met(prototypes, merge_parts(parts, groups), merge_parts(batch.visible, groups))

    found = find_centers(seen, method, center=settings.center, seed=settings.seed, noises=noises)
    return [[met(batch) for batch in batches] for batches in found]


@torch.inference_mode()
def find_centers(
    subject: Subject, method: str | None, *, center: str, seed: int, noises: Sequence[Noise | None]
) -> list[list[ClassCenters]]:
    """For each noise (None: the images as they are), the centres in each batch of test images.

    What has been found before is not looked for again, and all noises share one pass over the images.
    """
    place = MAPPINGS[method].centers if method is not None and center == "mapping" else None
    name = "cells" if place is not None else "argmax" if CENTERS[center] else center
    kept, own = subject.kept.centers, method if name == "argmax" else None
    keys = {noise: (name, own, seed, noise) for noise in noises}
    missing = [noise for noise in keys if keys[noise] not in kept]
    if missing:
        found: dict[Noise | None, list[ClassCenters]] = {noise: [] for noise in missing}
        for batch in subject.class_batches():
            for noise in missing:
                places = FINDERS[name](subject, _view(subject, batch, method=own, noise=noise, seed=seed))
                found[noise].append(ClassCenters(batch.prototypes, places, batch.points, batch.visible))
        kept |= {keys[noise]: batches for noise, batches in found.items()}
    if place is None:
        return [kept[keys[noise]] for noise in noises]
    field = subject.receptive_field
    return [
        [one._replace(centers=place(field, one.centers)) for one in kept[keys[noise]]] for noise in noises
    ]


class View(NamedTuple):
    """A batch as it is, or with noise, and the mapping by which it is looked at."""

    batch: ClassBatch
    images: Float[Tensor, "b 3 H W"]
    method: str | None
    seed: int
    """Draws random maps."""
    purpose: str
    """So that the random maps of an image and of its noisy copy are two draws."""


def _view(subject: Subject, batch: ClassBatch, *, method: str | None, noise: Noise | None, seed: int) -> View:
    if noise is None:
        return View(batch, batch.images, method, seed, "map")
    seeds = subject.draw_seeds(batch.indices, seed=noise.seed, purpose="noise")
    noisy = [
        add_noise(
            image[None], generator=torch.Generator().manual_seed(one), sigma=noise.sigma, clip=noise.clip
        )
        for image, one in zip(batch.images, seeds, strict=True)
    ]
    images = torch.cat(noisy).contiguous(memory_format=torch.channels_last)
    return View(batch, images, method, seed, "map of the noisy image")


def _best_cells(subject: Subject, view: View) -> Int64[Tensor, "b n 2"]:
    return subject.best_cells(view.images, view.batch.prototypes)[1]


def _map_argmax(subject: Subject, view: View) -> Float[Tensor, "b n 2"]:
    images, prototypes = view.images, view.batch.prototypes
    assert view.method is not None
    if MAPPINGS[view.method].is_baseline:  # needs no similarities, but their shape
        grid = subject.receptive_field.grid_size
        similarities = images.new_zeros(len(images), len(prototypes), *grid)
    else:
        similarities = subject.similarities(images, prototypes)
    seeds = subject.draw_seeds(view.batch.indices, seed=view.seed, purpose=view.purpose)
    return argmax_centers(subject.maps(view.method, images, similarities, prototypes, seeds=seeds))


def _upsampled_argmax(subject: Subject, view: View) -> Float[Tensor, "b n 2"]:
    similarities = subject.similarities(view.images, view.batch.prototypes)
    return upsampled_argmax(similarities, image_size=subject.image_size)


def _image_center(subject: Subject, view: View) -> Float[Tensor, "b n 2"]:
    height, width = subject.image_size
    center = view.images.new_tensor((width / 2, height / 2))
    return center.expand(len(view.images), len(view.batch.prototypes), 2)


FINDERS: dict[str, Callable[[Subject, View], Tensor]] = {
    "cells": _best_cells,
    "argmax": _map_argmax,
    "upsampled-argmax": _upsampled_argmax,
    "image": _image_center,
}
"""Name -> what finds the centres of a batch's prototypes, or the cells that a mapping places them by."""


def upsampled_argmax(
    similarities: Float[Tensor, "b n h w"], *, image_size: tuple[int, int]
) -> Float[Tensor, "b n 2"]:
    """`argmax_centers` of the bicubic upsampling of the similarities, for less.

    The interpolation is linear in each axis, so its values are a product of three matrices, but for rounding.
    Maps with a second pixel within that rounding of the largest are interpolated as always.
    """
    height, width = similarities.shape[2:]
    rows, columns = (
        _bicubic(torch.eye(cells, device=similarities.device)[None, None], (size, cells))[0, 0]
        for cells, size in ((height, image_size[0]), (width, image_size[1]))
    )
    maps = similarities.flatten(0, 1)
    values = (rows @ maps @ columns.T).flatten(1)
    tolerance = 1e-5 * maps.abs().amax(dim=(1, 2))
    best, places = values.topk(2, dim=1)
    centers = torch.stack((places[:, 0] % image_size[1], places[:, 0] // image_size[1]), dim=-1) + 0.5
    close = ~(best[:, 0] - best[:, 1] > tolerance)  # NaN, too
    if close.any():
        centers[close] = argmax_centers(_bicubic(maps[close][None], image_size))[0]
    return centers.unflatten(0, similarities.shape[:2])


def _bicubic(maps: Float[Tensor, "b n h w"], size: tuple[int, int]) -> Float[Tensor, "b n H W"]:
    return functional.interpolate(maps, size=size, mode="bicubic", align_corners=False)
