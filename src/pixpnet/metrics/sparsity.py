"""How many prototypes a decision takes, and how many different patches the prototypes are."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from typing import NamedTuple

from jaxtyping import Bool, Float, Int64
from torch import Tensor

from pixpnet.errors import DataError
from pixpnet.metrics.intervals import RESAMPLES, Estimate, bootstrap_mean


class UniqueSources(NamedTuple):
    """How many different training images and patches the prototypes come from."""

    images: int
    patches: int


def deciding_prototypes(
    contributions: Float[Tensor, "b p"], *, share: float = 0.95
) -> tuple[Int64[Tensor, "b"], Bool[Tensor, "b"]]:
    """The fewest prototypes whose contributions make this share of the logit, and where that is defined.

    Args:
        contributions: Each prototype's similarity times its weight for the winning class; their sum is the
            logit. Where that is not positive, there is no share of it: 0 and False.
        share: Share of the logit.
    """
    largest = contributions.double().sort(dim=1, descending=True).values
    running = largest.cumsum(dim=1)
    logit = running[:, -1:]
    return ((running < share * logit).sum(dim=1) + 1).where(logit[:, 0] > 0, 0), logit[:, 0] > 0


def sparsity(
    numbers: Int64[Tensor, "b"],
    defined: Bool[Tensor, "b"],
    *,
    seed: int = 0,
    resamples: int = RESAMPLES,
) -> Estimate:
    """Mean number of deciding prototypes over images.

    Raises:
        DataError: The winning logit of no image is positive.
    """
    if not defined.any():
        raise DataError(
            f"the winning logit is positive in none of {len(defined)} images, so there is no share of it."
        )
    values = numbers[defined].double().cpu().numpy()
    return bootstrap_mean(values, left_out=int((~defined).sum()), seed=seed, resamples=resamples)


def unique_sources(images: Sequence[Hashable], cells: Sequence[tuple[int, int]]) -> UniqueSources:
    """Count the different source images, and the different (image, cell) patches.

    >>> unique_sources(["a", "a", "b"], [(0, 0), (0, 0), (0, 0)])
    UniqueSources(images=2, patches=2)
    """
    return UniqueSources(len(set(images)), len(set(zip(images, cells, strict=True))))
