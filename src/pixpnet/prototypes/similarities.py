"""From distances to similarities: any callable that falls as the distance grows."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from jaxtyping import Float
from torch import Tensor

Similarity = Callable[[Tensor], Tensor]


@dataclass(frozen=True)
class LogSimilarity:
    """ln(1 / (d + ε) + 1), which equals ln((d + 1 + ε) / (d + ε)) (ProtoPNet, section 2.1).

    >>> import torch
    >>> round(LogSimilarity(epsilon=1e-6)(torch.zeros(1)).item(), 3)
    13.816
    """

    epsilon: float

    def __call__(self, distances: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
        return (1 / (distances + self.epsilon)).log1p()


@dataclass(frozen=True)
class LinearSimilarity:
    """The similarity of distance 0, minus the distance."""

    at_zero: float

    def __call__(self, distances: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
        return self.at_zero - distances


def _log(distance: str, epsilon: float) -> Similarity:
    return LogSimilarity(epsilon)


def _linear(distance: str, epsilon: float) -> Similarity:
    """The cosine itself for the cosine distance, -d for every unbounded one."""
    return LinearSimilarity(1.0 if distance == "cosine" else 0.0)


SIMILARITIES: dict[str, Callable[[str, float], Similarity]] = {"log": _log, "linear": _linear}
"""Name of the similarity -> maker from the distance's name and ε."""
