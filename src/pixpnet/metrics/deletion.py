"""Deletion and insertion (Petsiuk et al. 2018, RISE) for the similarity of a prototype."""

from __future__ import annotations

import numpy as np
import torch
from jaxtyping import Float, Float64, Int64
from torch import Tensor

from pixpnet.metrics.intervals import RESAMPLES, Estimate
from pixpnet.metrics.relevance_ordering import (
    CurveSums,
    OrderingSummary,
    SimilarityOf,
    relevance_curve,
    summarise_curves,
)

insertion_curve = relevance_curve
"""Similarities while pixels are put in, the most relevant first."""


def deletion_curve(
    similarity_of: SimilarityOf,
    image: Float[Tensor, "3 H W"],
    *,
    ranks: Int64[Tensor, "H W"],
    counts: Int64[Tensor, "n"],
    start: Float[Tensor, "3 H W"] | None = None,
    batch_size: int = 256,
) -> Float64[Tensor, "n *p"]:
    """Similarities while pixels are replaced by `start` (None: zeros), the most relevant first."""
    empty = torch.zeros_like(image) if start is None else start
    return relevance_curve(
        similarity_of, empty, ranks=ranks, counts=counts, start=image, batch_size=batch_size
    )


def insertion_auc(
    sums: CurveSums, shares: Float64[np.ndarray, "n"], *, seed: int = 0, resamples: int = RESAMPLES
) -> Estimate:
    """Area under (s - s_empty)/(s_image - s_empty), per prototype, then the mean: the higher the better.

    Left out are prototypes without an image, and those that the image resembles no more than the empty one.

    Raises:
        DataError: That leaves no prototype.
    """
    return summarise_curves(sums, shares, seed=seed, resamples=resamples).area


def deletion_auc(
    sums: CurveSums, shares: Float64[np.ndarray, "n"], *, seed: int = 0, resamples: int = RESAMPLES
) -> Estimate:
    """The same area while pixels are deleted: the lower the better.

    Raises:
        DataError: As `insertion_auc`.
    """
    return summarise_deletion(sums, shares, seed=seed, resamples=resamples).area


def summarise_deletion(
    sums: CurveSums, shares: Float64[np.ndarray, "n"], *, seed: int = 0, resamples: int = RESAMPLES
) -> OrderingSummary:
    """`summarise_curves` of deletions; its share is the smallest share of pixels left at which s ≥ s_image.

    Raises:
        DataError: As `summarise_curves`.
    """
    # Backwards in time a deletion is an insertion: from the empty image to the whole one.
    backwards = CurveSums(np.ascontiguousarray(sums.similarities[:, ::-1]), sums.images)
    summary = summarise_curves(backwards, shares[-1] - shares[::-1], seed=seed, resamples=resamples)
    return summary._replace(
        shares=shares, curve=summary.curve[::-1].copy(), normalised=summary.normalised[::-1].copy()
    )
