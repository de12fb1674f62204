"""The metrics as torchmetrics: running sums over batches and processes; the functions do the rest."""

from __future__ import annotations

import numpy as np
import torch
from jaxtyping import Bool, Float, Float64, Int64
from torch import Tensor
from torchmetrics import Metric

from pixpnet.metrics.consistency import Agreement, PartCounts, consistency, count_parts
from pixpnet.metrics.intervals import RESAMPLES, Estimate, estimate_per_prototype
from pixpnet.metrics.relevance_ordering import CurveSums, OrderingSummary, summarise_curves
from pixpnet.metrics.stability import StabilityCounts, count_stable, stability


class _Running(Metric):
    """Sums, added up over batches and processes."""

    full_state_update = False

    def __init__(self, *, seed: int, resamples: int) -> None:
        super().__init__()
        self.seed, self.resamples = seed, resamples

    def _add_sum(self, name: str, *shape: int, dtype: torch.dtype = torch.int64) -> None:
        self.add_state(name, torch.zeros(shape, dtype=dtype), dist_reduce_fx="sum")


class Consistency(_Running):
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
        self._add_sum("met", num_prototypes, num_parts)
        self._add_sum("seen", num_prototypes, num_parts)

    def update(
        self, met: Bool[Tensor, "b p q"], visible: Bool[Tensor, "b q"], own_class: Bool[Tensor, "b p"]
    ) -> None:
        counts = count_parts(met, visible, own_class)
        self.met, self.seen = self.met + counts.met, self.seen + counts.seen

    def compute(self) -> Agreement:
        counts = PartCounts(self.met, self.seen)
        return consistency(counts, threshold=self.threshold, seed=self.seed, resamples=self.resamples)


class Stability(_Running):
    """Running `stability`; `update` takes what `count_stable` does."""

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
    ) -> None:
        counts = count_stable(
            before, after, visible=visible, own_class=own_class, skip_hidden=self.skip_hidden
        )
        for name, value in counts._asdict().items():
            setattr(self, name, getattr(self, name) + value)

    def compute(self) -> Agreement:
        counts = StabilityCounts(*(getattr(self, name) for name in StabilityCounts._fields))
        return stability(counts, seed=self.seed, resamples=self.resamples)


class RelevanceOrdering(_Running):
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
        self.similarities = self.similarities.index_add(0, prototypes, curves)
        self.images = self.images + torch.bincount(prototypes, minlength=len(self.images))

    def compute(self) -> OrderingSummary:
        sums = CurveSums(self.similarities.cpu().numpy(), self.images.cpu().numpy())
        return summarise_curves(sums, self.shares, seed=self.seed, resamples=self.resamples)


class PrototypeMean(_Running):
    """Mean of any value of (image, prototype) pairs: per prototype, then over prototypes.

    Prototypes without a value are left out of the mean.
    """

    sums: Tensor
    counts: Tensor

    def __init__(self, num_prototypes: int, *, seed: int = 0, resamples: int = RESAMPLES) -> None:
        super().__init__(seed=seed, resamples=resamples)
        self._add_sum("sums", num_prototypes, dtype=torch.float64)
        self._add_sum("counts", num_prototypes)

    def update(
        self, values: Float[Tensor, "m"], defined: Bool[Tensor, "m"], prototypes: Int64[Tensor, "m"]
    ) -> None:
        """Add values; where not defined (as `energy_share` says) they are not looked at."""
        self.sums = self.sums.index_add(0, prototypes[defined], values[defined].double())
        self.counts = self.counts + torch.bincount(prototypes[defined], minlength=len(self.counts))

    @property
    def is_empty(self) -> bool:
        """Whether no prototype has a value (in this process), so that there is no mean."""
        return not bool(self.counts.any())

    def compute(self) -> Estimate:
        return estimate_per_prototype(
            self.sums.cpu().numpy(), self.counts.cpu().numpy(), seed=self.seed, resamples=self.resamples
        )
