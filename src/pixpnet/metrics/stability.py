"""Stability (Huang et al. 2022, section 3.3): does a prototype stay on its parts when the image is noisy?"""

from __future__ import annotations

from typing import NamedTuple

import torch
from jaxtyping import Bool, Float, Float64, Int
from torch import Tensor

from pixpnet.metrics.consistency import Agreement
from pixpnet.metrics.intervals import RESAMPLES, estimate_per_prototype


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
