"""Purity (PIP-Net; Nauta et al. 2023): do a prototype's most similar patches show one and the same part?"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Bool, Float, Float64, Int64
from torch import Tensor

from pixpnet.errors import DataError
from pixpnet.metrics.intervals import RESAMPLES, Estimate, bootstrap_mean

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
        seed: Seed of the intervals.
        resamples: Number of bootstrap resamples.

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
