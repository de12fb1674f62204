"""How a prototype's similarity follows the pixels that a map ranks: relevance ordering, insertion, deletion.

Starting from an empty image, the true pixels are put back in descending order of a prototype's map (Gautam et
al. 2023; PixPNet). A map that tells where the prototype looks brings its similarity back early. Deletion and
insertion are those of RISE (Petsiuk et al. 2018), for the similarity of a prototype.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Bool, Float, Float64, Int, Int64
from torch import Tensor

from pixpnet.errors import ConfigError, DataError
from pixpnet.metrics.intervals import RESAMPLES, Estimate, bootstrap_mean
from pixpnet.metrics.running import Running

SimilarityOf = Callable[[Tensor], Tensor]
"""Images [b 3 H W] to the similarity [b] of one prototype, or to those [b p] of several."""


class CurveSums(NamedTuple):
    """Per prototype, the sum of its images' curves and their number; sums of batches are added up."""

    similarities: Float64[np.ndarray, "p n"]
    images: Int[np.ndarray, "p"]


class OrderingSummary(NamedTuple):
    """What the test says about a mapping."""

    area: Estimate
    """Area under (s - s₀)/(s_end - s₀) over the share of pixels."""
    share: Estimate
    """Smallest share of pixels at which s ≥ s_end."""
    shares: Float64[np.ndarray, "n"]
    """Share of pixels at each point of the curves."""
    curve: Float64[np.ndarray, "n"]
    """Mean similarity over the prototypes that count."""
    normalised: Float64[np.ndarray, "n"]
    """Mean of their normalised curves, from 0 to 1; its area is the estimate."""


def relevance_ranks(relevance: Float[Tensor, "H W"]) -> Int64[Tensor, "H W"]:
    """Each pixel's place in the descending order of the map; among equals the lower flat index comes first.

    Raises:
        DataError: The map holds NaN.
    """
    if relevance.isnan().any():
        raise DataError("a pixel-space map holds NaN, so its pixels have no order.")
    # Adding 0 makes -0 and 0 the same for sorts that look at bits.
    order = torch.sort(relevance.flatten() + 0.0, descending=True, stable=True).indices
    ranks = torch.empty_like(order)
    ranks[order] = torch.arange(len(order), device=order.device)
    return ranks.reshape(relevance.shape)


def pixel_counts(pixels: int, *, steps: int | None, share: float = 1.0) -> Int64[Tensor, "n"]:
    """How many pixels are put back at each point: steps + 1 evenly spaced counts, or (None) every count.

    >>> pixel_counts(10, steps=4).tolist()
    [0, 2, 5, 8, 10]

    Raises:
        ConfigError: steps < 1, or the share is not in (0, 1] or less than a pixel.
    """
    last = round(share * pixels)
    if not 0 < share <= 1 or last < 1:
        raise ConfigError(f"the share of pixels is {share}; give one above 0 and up to 1 ({pixels} pixels).")
    if steps is not None and steps < 1:
        raise ConfigError(f"steps is {steps}; give a positive number, or None for every pixel.")
    if steps is None or steps >= last:
        return torch.arange(last + 1)
    return torch.tensor([round(step * last / steps) for step in range(steps + 1)])


def perturbed_images(
    image: Float[Tensor, "3 H W"],
    start: Float[Tensor, "3 H W"],
    *,
    ranks: Int64[Tensor, "H W"],
    counts: Int64[Tensor, "b"],
) -> Float[Tensor, "b 3 H W"]:
    """For each count, the start with that many true pixels, those of the lowest ranks, put back."""
    return torch.where(ranks < counts[:, None, None, None], image, start)


@torch.no_grad()
def relevance_curve(
    similarity_of: SimilarityOf,
    image: Float[Tensor, "3 H W"],
    *,
    ranks: Int64[Tensor, "H W"],
    counts: Int64[Tensor, "n"],
    start: Float[Tensor, "3 H W"] | None = None,
    batch_size: int = 256,
) -> Float64[Tensor, "n *p"]:
    """The prototype's similarity at each number of pixels put back.

    Args:
        similarity_of: The prototype's similarity to each of a batch of images; several prototypes' where they
            share a map.
        image: The normalised image.
        ranks: `relevance_ranks` of the prototype's map.
        counts: `pixel_counts`.
        start: What pixels are before they are put back: zeros (None), or one image of noise for all.
        batch_size: Most images at a time; the curve depends on it by rounding only.
    """
    start = torch.zeros_like(image) if start is None else start
    batches = math.ceil(len(counts) / batch_size)
    size = math.ceil(len(counts) / batches)
    # Networks round differently for batches of another size, and s ≥ s_end must not depend on that: all
    # batches are equally large, the last one filled up with its last point.
    filled = torch.cat((counts, counts[-1:].expand(batches * size - len(counts)))).to(image.device)
    similarities = [
        similarity_of(perturbed_images(image, start, ranks=ranks, counts=some)).cpu().double()
        for some in filled.split(size)
    ]
    return torch.cat(similarities)[: len(counts)]


def mean_curves(sums: CurveSums) -> Float64[np.ndarray, "p n"]:
    """Each prototype's curve, the mean over its images; 0 where it has none.

    Raises:
        DataError: A similarity is not finite.
    """
    if not np.isfinite(sums.similarities).all():
        raise DataError("a similarity along a relevance curve is NaN or infinite.")
    return sums.similarities / np.maximum(sums.images, 1)[:, None]


def normalised_curves(
    curves: Float64[np.ndarray, "p n"],
) -> tuple[Float64[np.ndarray, "p n"], Bool[np.ndarray, "p"]]:
    """(s - s₀)/(s_end - s₀), and where it is defined; 0 for curves that end no higher than they start."""
    rise = curves[:, -1:] - curves[:, :1]
    valid = rise[:, 0] > 0
    return np.where(rise > 0, (curves - curves[:, :1]) / np.where(rise > 0, rise, 1.0), 0.0), valid


def trapezoid(
    curves: Float64[np.ndarray, "p n"], shares: Float64[np.ndarray, "n"]
) -> Float64[np.ndarray, "p"]:
    """Area under each curve."""
    return ((curves[:, 1:] + curves[:, :-1]) / 2) @ np.diff(shares)


def summarise_curves(
    sums: CurveSums, shares: Float64[np.ndarray, "n"], *, seed: int = 0, resamples: int = RESAMPLES
) -> OrderingSummary:
    """Summarise each prototype's mean curve, then take the mean over prototypes.

    Left out are prototypes without an image, and those whose similarity ends no higher than it starts.

    Raises:
        DataError: That leaves no prototype, or a similarity is not finite.
    """
    curves = mean_curves(sums)
    normalised, rising = normalised_curves(curves)
    valid = rising & (sums.images > 0)
    left_out = int((~valid).sum())
    if not valid.any():
        raise DataError(
            f"no curve to summarise: of {len(valid)} prototypes {int((sums.images == 0).sum())} have no "
            "image, and the others are no more similar to their images than to the empty one."
        )
    curves, normalised = curves[valid], normalised[valid]
    reached = shares[(curves >= curves[:, -1:]).argmax(axis=1)]
    area, share = (
        bootstrap_mean(values, left_out=left_out, seed=seed, resamples=resamples)
        for values in (trapezoid(normalised, shares), reached)
    )
    return OrderingSummary(area, share, shares, curves.mean(axis=0), normalised.mean(axis=0))


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


def summarise_deletion(
    sums: CurveSums, shares: Float64[np.ndarray, "n"], *, seed: int = 0, resamples: int = RESAMPLES
) -> OrderingSummary:
    """`summarise_curves` of deletions (the smaller the area the better).

    Its share is the smallest share of pixels left at which s ≥ s_image.

    Raises:
        DataError: As `summarise_curves`.
    """
    # Backwards in time a deletion is an insertion: from the empty image to the whole one.
    backwards = CurveSums(np.ascontiguousarray(sums.similarities[:, ::-1]), sums.images)
    summary = summarise_curves(backwards, shares[-1] - shares[::-1], seed=seed, resamples=resamples)
    return summary._replace(
        shares=shares, curve=summary.curve[::-1].copy(), normalised=summary.normalised[::-1].copy()
    )


class RelevanceOrdering(Running):
    """Running `summarise_curves` of the curves of (image, prototype) pairs."""

    similarities: Tensor
    images: Tensor

    def __init__(
        self,
        num_prototypes: int,
        shares: Float64[np.ndarray, "n"],
        *,
        seed: int = 0,
        resamples: int = RESAMPLES,
    ) -> None:
        super().__init__(seed=seed, resamples=resamples)
        self.shares = shares
        self._add_sum("similarities", num_prototypes, len(shares), dtype=torch.float64)
        self._add_sum("images", num_prototypes)

    def update(self, curves: Float64[Tensor, "m n"], prototypes: Int64[Tensor, "m"]) -> None:
        self._add({"similarities": curves, "images": torch.ones_like(prototypes)}, prototypes)

    def compute(self) -> OrderingSummary:
        sums = CurveSums(self.similarities.cpu().numpy(), self.images.cpu().numpy())
        return self.summarise(sums, self.shares, seed=self.seed, resamples=self.resamples)

    summarise = staticmethod(summarise_curves)


class Deletion(RelevanceOrdering):
    """Running `summarise_deletion`."""

    summarise = staticmethod(summarise_deletion)
