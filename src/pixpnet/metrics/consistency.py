"""Consistency (Huang et al. 2022, section 3.2): does a prototype lie on the same part in every image?"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float64, Int
from torch import Tensor

from pixpnet.metrics.intervals import RESAMPLES, Estimate, bootstrap_mean


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
