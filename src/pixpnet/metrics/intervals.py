"""A mean with its 95 % bootstrap interval: how every metric of this package is reported."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Float, Float64, Int, Int64
from torch import Tensor

from pixpnet.errors import DataError
from pixpnet.words import interval_in_words, number_in_words

RESAMPLES = 10_000
_CHUNK = 1 << 22  # values drawn at a time: 32 MB of indices


class Estimate(NamedTuple):
    """A mean and the interval in which 95 % of its bootstrap resamples lie."""

    value: float
    low: float
    high: float
    count: int
    """What the mean was taken over (prototypes; for accuracies, images)."""
    left_out: int
    """What could not be measured and is not in the mean."""

    def in_words(self, unit: str = "") -> tuple[str, str]:
        """The value with its unit, and the interval ("" where it has no width, as of what was counted).

        >>> Estimate(50.0, 40.04, 60.0, 100, 0).in_words("%"), Estimate(12.0, 12.0, 12.0, 12, 0).in_words()
        (('50.0 %', '40.0 to 60.0'), ('12.000', ''))
        """
        return number_in_words(self.value, unit), interval_in_words(self.low, self.high, unit)


def bootstrap_mean(
    values: Float[np.ndarray, "n"], *, left_out: int = 0, seed: int = 0, resamples: int = RESAMPLES
) -> Estimate:
    """The mean and its percentile bootstrap interval (Efron 1979), the same for any order of the values.

    Raises:
        DataError: There is no value, or one that is not finite.
    """
    if len(values) == 0:
        raise DataError(
            f"nothing to take a mean over: all {left_out} candidates were left out; "
            "check that the images are annotated and that prototypes and images share classes."
        )
    if not np.isfinite(values).all():
        raise DataError("values of a metric must be finite; got NaN or infinity from the model.")
    # Sorted, the resamples do not depend on the order in which batches or processes brought the values.
    ordered = np.sort(values.astype(np.float64))
    generator = np.random.default_rng(seed)
    rows = max(1, _CHUNK // len(ordered))
    means = np.concatenate(
        [
            ordered[generator.integers(len(ordered), size=(min(rows, resamples - start), len(ordered)))].mean(
                axis=1
            )
            for start in range(0, resamples, rows)
        ]
    )
    low, high = np.quantile(means, [0.025, 0.975])
    return Estimate(float(ordered.mean()), float(low), float(high), len(ordered), left_out)


def estimate_per_prototype(
    sums: Float[np.ndarray, "p"], counts: Int[np.ndarray, "p"], *, seed: int = 0, resamples: int = RESAMPLES
) -> Estimate:
    """Each prototype's mean, then the mean over prototypes; those with count 0 are left out.

    Raises:
        DataError: Every count is 0.
    """
    valid = counts > 0
    return bootstrap_mean(
        sums[valid] / counts[valid], left_out=int((~valid).sum()), seed=seed, resamples=resamples
    )


def sum_per_prototype(
    values: Float[Tensor, "m"], prototypes: Int64[Tensor, "m"], *, num_prototypes: int
) -> Float64[np.ndarray, "p"]:
    """Each prototype's sum over (image, prototype) pairs; 0 where it has none."""
    zeros = torch.zeros(num_prototypes, dtype=torch.float64)
    return zeros.index_add(0, prototypes.cpu(), values.cpu().double()).numpy()


def exactly(value: float, *, count: int, left_out: int = 0) -> Estimate:
    """What is counted, not estimated: its interval has no width."""
    return Estimate(float(value), float(value), float(value), count, left_out)
