"""Prototypes and object parts: consistency and stability, by a published protocol, and purity.

Consistency and stability (Huang et al. 2022, sections 3.2 and 3.3): does a prototype lie on the same part in
every image, and does it stay on its parts when the image is noisy? Purity (PIP-Net; Nauta et al. 2023): do a
prototype's most similar patches show one and the same part? Points and boxes are those of `pixpnet.types`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Bool, Float, Float64, Int, Int64
from torch import Tensor

from pixpnet.errors import DataError
from pixpnet.metrics.intervals import RESAMPLES, Estimate, bootstrap_mean, estimate_per_prototype
from pixpnet.metrics.running import Running


@dataclass(frozen=True)
class Protocol:
    """What a number of consistency or stability depends on beside the model."""

    image: str
    """`box-224`: cropped to the object's box and squashed to 224 × 224; `test-transform`: the data set's."""
    center: str
    """`upsampled-argmax`: the first maximum of the upsampled similarities; `mapping`: the mapping's own."""
    merge_sides: bool
    """Whether left and right of a part count as one."""
    noise_clip: float | None
    """Largest absolute value of the noise; None: as drawn."""
    skip_hidden: bool
    """Whether images without any visible part are left out of stability; else they count as stable."""
    half_size: float = 36.0
    """Half the side of a prototype's region, in pixels."""
    noise_sigma: float = 0.2
    """Standard deviation of the noise on the normalised image."""
    threshold: float = 0.8
    """Presence of a part from which a prototype is consistent."""


PROTOCOLS = {
    "eval-2023": Protocol(
        image="box-224", center="upsampled-argmax", merge_sides=False, noise_clip=0.25, skip_hidden=False
    ),
    "pixpnet-2023": Protocol(
        image="test-transform", center="mapping", merge_sides=True, noise_clip=None, skip_hidden=True
    ),
}
"""`eval-2023`: Huang et al. 2022 (arXiv 2212.05946); `pixpnet-2023`: Carmichael et al. (PixPNet)."""


def square_regions(
    centers: Float[Tensor, "b p 2"], *, half_size: float, image_size: tuple[int, int]
) -> Float[Tensor, "b p 4"]:
    """The boxes [c - half, c + half) around centres (x, y), clipped to the image (height, width)."""
    height, width = image_size
    limits = torch.tensor((width, height), device=centers.device, dtype=centers.dtype)
    low = (centers - half_size).clamp(min=0)
    return torch.cat((low, torch.minimum(centers + half_size, limits)), dim=-1)


def parts_in_boxes(
    boxes: Float[Tensor, "b p 4"], points: Float[Tensor, "b q 2"], visible: Bool[Tensor, "b q"]
) -> Bool[Tensor, "b p q"]:
    """Of each prototype's box, which visible parts lie in it; hidden parts never do."""
    at = points[:, None]
    inside = (at >= boxes[:, :, None, :2]) & (at < boxes[:, :, None, 2:])
    return inside.all(dim=-1) & visible[:, None]


def merge_parts(parts: Bool[Tensor, "*n q"], groups: Sequence[Sequence[int]]) -> Bool[Tensor, "*n g"]:
    """Of each group of parts, whether any is met (or visible); `groups` names parts by position.

    >>> merge_parts(torch.tensor([True, False, False]), ((0, 2), (1,))).tolist()
    [True, False]
    """
    return torch.stack([parts[..., list(group)].any(dim=-1) for group in groups], dim=-1)


def argmax_centers(maps: Float[Tensor, "b p H W"]) -> Float[Tensor, "b p 2"]:
    """(x, y) of the middle of each map's largest pixel, the first in row-major order.

    Raises:
        DataError: A map holds NaN.
    """
    if maps.isnan().any():
        raise DataError("a pixel-space map holds NaN, so it has no largest pixel.")
    first = maps.flatten(2).argmax(dim=2)
    width = maps.shape[3]
    return torch.stack((first % width, first // width), dim=-1).to(maps.dtype) + 0.5


def cell_centers(
    cells: Int[Tensor, "b p 2"], *, grid_size: tuple[int, int], image_size: tuple[int, int]
) -> Float[Tensor, "b p 2"]:
    """(x, y) of the middle of cells (row, column) as upsampling places them: (i + ½)·H/h."""
    scale = torch.tensor([image_size[0] / grid_size[0], image_size[1] / grid_size[1]], device=cells.device)
    return ((cells + 0.5) * scale).flip(-1)


class PartCounts(NamedTuple):
    """Per prototype and part, over the images of the prototype's class; counts of batches are added up."""

    met: Int[Tensor, "p q"]
    """Images in which the visible part lies in the prototype's region."""
    seen: Int[Tensor, "p q"]
    """Images in which the part is visible."""


class Agreement(NamedTuple):
    """Consistency or stability in percent."""

    hard: Estimate
    soft: Estimate


def count_parts(
    met: Bool[Tensor, "b p q"], visible: Bool[Tensor, "b q"], own_class: Bool[Tensor, "b p"]
) -> PartCounts:
    """Count one batch.

    Args:
        met: Visible parts that lie in each prototype's region (`parts_in_boxes`, perhaps `merge_parts`).
        visible: Visible parts (merged in the same way).
        own_class: Whether the image is of the prototype's class; other pairs are not looked at.
    """
    own = own_class[:, :, None]
    return PartCounts((met & own).sum(dim=0), (visible[:, None] & own).sum(dim=0))


def part_presence(counts: PartCounts) -> tuple[Float64[np.ndarray, "p q"], Bool[np.ndarray, "p q"]]:
    """The presence a_p of every part, and where it is defined; 0 for parts that are never visible."""
    met, seen = counts.met.cpu().numpy(), counts.seen.cpu().numpy()
    return met / np.maximum(seen, 1), seen > 0


def consistency(
    counts: PartCounts, *, threshold: float = 0.8, seed: int = 0, resamples: int = RESAMPLES
) -> Agreement:
    """Hard: percentage of prototypes with a part of presence ≥ threshold; soft: mean largest presence.

    Left out are the prototypes in whose images no part is ever visible. A prototype beside the parts that
    are visible stays in, with presence 0.

    Raises:
        DataError: No prototype has an image with a visible part.
    """
    presence, defined = part_presence(counts)
    valid = defined.any(axis=1)
    best = presence[valid].max(axis=1, initial=0.0)
    left_out = int((~valid).sum())
    hard, soft = (
        bootstrap_mean(100.0 * values, left_out=left_out, seed=seed, resamples=resamples)
        for values in (best >= threshold, best)
    )
    return Agreement(hard, soft)


class Consistency(Running):
    """Running `consistency`; `update` takes what `count_parts` does."""

    met: Tensor
    seen: Tensor

    def __init__(
        self,
        num_prototypes: int,
        num_parts: int,
        *,
        threshold: float = 0.8,
        seed: int = 0,
        resamples: int = RESAMPLES,
    ) -> None:
        super().__init__(seed=seed, resamples=resamples)
        self.threshold = threshold
        for name in PartCounts._fields:
            self._add_sum(name, num_prototypes, num_parts)

    def update(
        self,
        met: Bool[Tensor, "b p q"],
        visible: Bool[Tensor, "b q"],
        own_class: Bool[Tensor, "b p"],
        prototypes: Int64[Tensor, "p"] | None = None,
    ) -> None:
        """Count a batch; of some prototypes only, if it says which they are."""
        self._add(count_parts(met, visible, own_class)._asdict(), prototypes)

    def compute(self) -> Agreement:
        counts = PartCounts(self.met, self.seen)
        return consistency(counts, threshold=self.threshold, seed=self.seed, resamples=self.resamples)


class StabilityCounts(NamedTuple):
    """Per prototype, over the images of its class; counts of batches are added up."""

    equal: Int[Tensor, "p"]
    """Images in which the same parts are met before and after."""
    overlap: Float64[Tensor, "p"]
    """Sum of the intersections over unions of the parts met before and after."""
    images: Int[Tensor, "p"]
    """Images that count."""
    with_parts: Int[Tensor, "p"]
    """Images with a visible part."""


def add_noise(
    images: Float[Tensor, "b 3 H W"], *, generator: torch.Generator, sigma: float, clip: float | None
) -> Float[Tensor, "b 3 H W"]:
    """Normalised images plus N(0, sigma²) noise, clipped to ± clip, drawn on the generator's device.

    Batches of any size get the same noise, as long as the images come in the same order.
    """
    noise = torch.stack(
        [
            torch.randn(images.shape[1:], generator=generator, device=generator.device) * sigma
            for _ in range(len(images))
        ]
    )
    if clip is not None:
        noise = noise.clamp(-clip, clip)
    return images + noise.to(images)


def count_stable(
    before: Bool[Tensor, "b p q"],
    after: Bool[Tensor, "b p q"],
    *,
    visible: Bool[Tensor, "b q"],
    own_class: Bool[Tensor, "b p"],
    skip_hidden: bool,
) -> StabilityCounts:
    """Count one batch.

    Args:
        before: Visible parts met in the image.
        after: The same in the noisy image.
        visible: Visible parts.
        own_class: Whether the image is of the prototype's class; other pairs are not looked at.
        skip_hidden: Leave out images without a visible part; else they count as stable.
    """
    has_parts = own_class & visible.any(dim=1, keepdim=True)
    counted = has_parts if skip_hidden else own_class
    union = (before | after).sum(dim=2)
    shared = (before & after).sum(dim=2)
    overlap = torch.where(union > 0, shared.double() / union.clamp(min=1), 1.0)
    return StabilityCounts(
        equal=((before == after).all(dim=2) & counted).sum(dim=0),
        overlap=overlap.where(counted, 0.0).sum(dim=0),
        images=counted.sum(dim=0),
        with_parts=has_parts.sum(dim=0),
    )


def stability(counts: StabilityCounts, *, seed: int = 0, resamples: int = RESAMPLES) -> Agreement:
    """Hard: percentage of images with the same parts; soft: mean overlap; per prototype, then their mean.

    Prototypes in whose images no part is ever visible are left out.

    Raises:
        DataError: No prototype has an image with a visible part.
    """
    images = counts.images.where(counts.with_parts > 0, 0).cpu().numpy()
    hard, soft = (
        estimate_per_prototype(100.0 * sums.double().cpu().numpy(), images, seed=seed, resamples=resamples)
        for sums in (counts.equal, counts.overlap)
    )
    return Agreement(hard, soft)


class Stability(Running):
    """Running `stability`; `update` takes what `count_stable` does."""

    equal: Tensor
    overlap: Tensor
    images: Tensor
    with_parts: Tensor

    def __init__(
        self, num_prototypes: int, *, skip_hidden: bool, seed: int = 0, resamples: int = RESAMPLES
    ) -> None:
        super().__init__(seed=seed, resamples=resamples)
        self.skip_hidden = skip_hidden
        for name in StabilityCounts._fields:
            dtype = torch.float64 if name == "overlap" else torch.int64
            self._add_sum(name, num_prototypes, dtype=dtype)

    def update(
        self,
        before: Bool[Tensor, "b p q"],
        after: Bool[Tensor, "b p q"],
        visible: Bool[Tensor, "b q"],
        own_class: Bool[Tensor, "b p"],
        prototypes: Int64[Tensor, "p"] | None = None,
    ) -> None:
        """Count a batch; of some prototypes only, if it says which they are."""
        counts = count_stable(
            before, after, visible=visible, own_class=own_class, skip_hidden=self.skip_hidden
        )
        self._add(counts._asdict(), prototypes)

    def compute(self) -> Agreement:
        counts = StabilityCounts(self.equal, self.overlap, self.images, self.with_parts)
        return stability(counts, seed=self.seed, resamples=self.resamples)


SMALLEST_WEIGHT = 1e-5
"""Prototypes without a class weight above this are not looked at."""


class Purity(NamedTuple):
    """Purity over prototypes, from 0 to 1."""

    mean: Estimate
    standard_deviation: float
    above_half: Estimate
    """Share of the prototypes whose purity is above 0.5."""


def most_similar_images(similarities: Float[Tensor, "n p"], *, count: int = 10) -> Int64[Tensor, "m p"]:
    """Each prototype's most similar images, the most similar first; among equals the lower index."""
    return torch.sort(similarities, dim=0, descending=True, stable=True).indices[:count]


def prototype_purity(
    met: Bool[Tensor, "m p q"], visible: Bool[Tensor, "m p q"]
) -> tuple[Float64[np.ndarray, "p"], Bool[np.ndarray, "p"]]:
    """Each prototype's purity, and where it is defined: where a part is visible in any of its images.

    Args:
        met: Of each prototype's most similar images, the visible (merged) parts in its patch's box. An image
            that doesn't show a part counts as one in which the box misses it.
        visible: The visible parts.
    """
    share = met.double().mean(dim=0).amax(dim=1)
    return share.cpu().numpy(), visible.any(dim=2).any(dim=0).cpu().numpy()


def purity(
    met: Bool[Tensor, "m p q"],
    visible: Bool[Tensor, "m p q"],
    *,
    largest_weight: Float[Tensor, "p"],
    seed: int = 0,
    resamples: int = RESAMPLES,
) -> Purity:
    """Purity of the prototypes that any class uses; those that never meet a visible part are left out.

    Args:
        met: As `prototype_purity`.
        visible: As `prototype_purity`.
        largest_weight: Each prototype's largest class weight.

    Raises:
        DataError: No prototype is used, or none has a visible part in its images.
    """
    used = (largest_weight > SMALLEST_WEIGHT).cpu().numpy()
    if not used.any():
        raise DataError(f"no prototype has a class weight above {SMALLEST_WEIGHT:g}; purity needs one.")
    values, defined = prototype_purity(met, visible)
    kept = values[used & defined]
    left_out = int((used & ~defined).sum())
    mean, above_half = (
        bootstrap_mean(some, left_out=left_out, seed=seed, resamples=resamples)
        for some in (kept, (kept > 0.5).astype(np.float64))
    )
    return Purity(mean, float(kept.std()), above_half)
