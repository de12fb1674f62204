"""Running sums over batches and processes, as torchmetrics; the functions of the other files do the rest."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor
from torchmetrics import Metric

from pixpnet.metrics.intervals import RESAMPLES, Estimate, estimate_per_prototype


class Running(Metric):
    """Sums of each prototype, added up over batches and processes."""

    full_state_update = False

    def __init__(self, *, seed: int, resamples: int) -> None:
        super().__init__()
        self.seed, self.resamples = seed, resamples

    def _add_sum(self, name: str, *shape: int, dtype: torch.dtype = torch.int64) -> None:
        self.add_state(name, torch.zeros(shape, dtype=dtype), dist_reduce_fx="sum")

    def _add(self, values: Mapping[str, Tensor], prototypes: Int64[Tensor, "m"] | None) -> None:
        """Add a row for each of these prototypes (each any number of times), or for all of them in order."""
        for name, value in values.items():
            total = getattr(self, name)
            setattr(
                self, name, total + value if prototypes is None else total.index_add(0, prototypes, value)
            )


class PrototypeMean(Running):
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
        found = prototypes[defined]
        self._add({"sums": values[defined].double(), "counts": torch.ones_like(found)}, found)

    @property
    def is_empty(self) -> bool:
        """Whether no prototype has a value (in this process), so that there is no mean."""
        return not bool(self.counts.any())

    def compute(self) -> Estimate:
        return estimate_per_prototype(
            self.sums.cpu().numpy(), self.counts.cpu().numpy(), seed=self.seed, resamples=self.resamples
        )
