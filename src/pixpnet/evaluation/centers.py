"""Where a prototype's region is centred in test images of its class, and in noisy ones."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
from jaxtyping import Bool, Float
from torch import Tensor
from torch.nn import functional

from pixpnet.evaluation.subject import ClassBatch, Subject
from pixpnet.metrics import add_noise, argmax_centers, cell_centers


class Noise(NamedTuple):
    """What is added to an image; see `pixpnet.metrics.add_noise`."""

    seed: int
    sigma: float
    clip: float | None


class ClassCenters(NamedTuple):
    """The prototypes of one class in the test images of that class."""

    prototypes: tuple[int, ...]
    centers: Float[Tensor, "b n 2"]
    """(x, y) in pixels of the images."""
    points: Float[Tensor, "b q 2"]
    visible: Bool[Tensor, "b q"]


class View(NamedTuple):
    """A batch as it is, or with noise."""

    batch: ClassBatch
    images: Float[Tensor, "b 3 H W"]
    seed: int
    """Of random maps."""
    purpose: str
    """So that the random maps of an image and of its noisy copy are two draws."""


Finder = Callable[[Subject, View], Tensor]
"""Centres [b n 2] of the batch's prototypes, or what centres are made of."""


def _cells(subject: Subject, view: View) -> Tensor:
    return subject.best_cells(view.images, view.batch.prototypes)[1]


def _map_argmax(method: str) -> Finder:
    def find(subject: Subject, view: View) -> Tensor:
        images, prototypes = view.images, view.batch.prototypes
        if method == "random":  # needs no similarities, but their shape
            grid = subject.receptive_field.grid_size
            similarities = images.new_zeros(len(images), len(prototypes), *grid)
        else:
            similarities = subject.similarities(images, prototypes)
        seeds = subject.draw_seeds(view.batch.indices, seed=view.seed, purpose=view.purpose)
        return argmax_centers(subject.maps(method, images, similarities, prototypes, seeds=seeds))

    return find


def _upsampled_argmax(subject: Subject, view: View) -> Tensor:
    similarities = subject.similarities(view.images, view.batch.prototypes)
    return upsampled_argmax(similarities, image_size=subject.image_size)


def _image_center(subject: Subject, view: View) -> Tensor:
    height, width = subject.image_size
    center = view.images.new_tensor((width / 2, height / 2))
    return center.expand(len(view.images), len(view.batch.prototypes), 2)


def _as_found(subject: Subject, found: Tensor) -> Float[Tensor, "b n 2"]:
    return found


def _box_centers(subject: Subject, cells: Tensor) -> Float[Tensor, "b n 2"]:
    """The middle of the box of each cell."""
    boxes = torch.from_numpy(subject.receptive_field.boxes).to(cells.device)
    found = boxes[cells[..., 0], cells[..., 1]].float()
    return (found[..., :2] + found[..., 2:]) / 2


def _upsampled_cells(subject: Subject, cells: Tensor) -> Float[Tensor, "b n 2"]:
    """The middle of each cell's share of the image."""
    return cell_centers(
        cells, grid_size=subject.receptive_field.grid_size, image_size=subject.image_size
    ).float()


class Rule(NamedTuple):
    """A way to a centre: what is looked for in images, once for all rules of its name, and the rest."""

    name: str
    find: Finder
    place: Callable[[Subject, Tensor], Tensor]


def _rule(center: str, method: str | None) -> Rule:
    if center == "upsampled-argmax":
        return Rule("upsampled argmax", _upsampled_argmax, _as_found)
    if center == "image":
        return Rule("image center", _image_center, _as_found)
    assert method is not None
    if center == "mapping" and method == "receptive_field":
        return Rule("cells", _cells, _box_centers)
    if center == "mapping" and method == "upsampling":
        return Rule("cells", _cells, _upsampled_cells)
    return Rule(f"argmax of {method}", _map_argmax(method), _as_found)


def needs_mapping(center: str) -> bool:
    """Whether the centres depend on the mapping."""
    return center in ("mapping", "argmax")


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


@torch.inference_mode()
def find_centers(
    subject: Subject, method: str | None, *, center: str, seed: int, noises: Sequence[Noise | None]
) -> list[list[ClassCenters]]:
    """For each noise (none: the images as they are), the centres in each batch of test images.

    What has been found before is not looked for again, and all noises share one pass over the images.
    """
    rule = _rule(center, method)
    keys = {noise: (rule.name, seed, noise) for noise in noises}
    missing = [noise for noise in keys if keys[noise] not in subject.memo]
    if missing:
        found: dict[Noise | None, list[ClassCenters]] = {noise: [] for noise in missing}
        for batch in subject.class_batches():
            for noise in missing:
                places = rule.find(subject, _view(subject, batch, noise=noise, seed=seed))
                found[noise].append(ClassCenters(batch.prototypes, places, batch.points, batch.visible))
        subject.memo |= {keys[noise]: batches for noise, batches in found.items()}
    return [
        [one._replace(centers=rule.place(subject, one.centers)) for one in subject.memo[keys[noise]]]
        for noise in noises
    ]


def _view(subject: Subject, batch: ClassBatch, *, noise: Noise | None, seed: int) -> View:
    if noise is None:
        return View(batch, batch.images, seed, "map")
    seeds = subject.draw_seeds(batch.indices, seed=noise.seed, purpose="noise")
    noisy = [
        add_noise(
            image[None], generator=torch.Generator().manual_seed(one), sigma=noise.sigma, clip=noise.clip
        )
        for image, one in zip(batch.images, seeds, strict=True)
    ]
    images = torch.cat(noisy).contiguous(memory_format=torch.channels_last)
    return View(batch, images, seed, "map of the noisy image")
