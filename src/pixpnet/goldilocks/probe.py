"""Linear heads on cached features: multinomial logistic regression with a ridge penalty."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from scipy.optimize import minimize
from torch import Tensor
from torch.nn import functional

__all__ = ["PENALTIES", "Accuracies", "LinearProbe", "accuracies", "fit_head", "probe"]

PENALTIES = (1.0, 1e-1, 1e-2, 1e-3, 1e-4)
"""λ that are tried, strongest first."""

USUAL_PENALTY = 1e-2

_LARGEST_DOUBLE = 2**27
"""Numbers in a table up to which float64 is cheap enough."""

_ITERATIONS = 500
_TOLERANCE = 1e-6


class LinearProbe(NamedTuple):
    """A linear head on standardised features."""

    weight: Float[Tensor, "d c"]
    bias: Float[Tensor, "c"]
    mean: Float[Tensor, "d"]
    std: Float[Tensor, "d"]
    penalty: float

    def logits(self, features: Float[Tensor, "n d"]) -> Float[Tensor, "n c"]:
        standardised = (features.to(self.weight.dtype) - self.mean) / self.std
        return standardised @ self.weight + self.bias


class Accuracies(NamedTuple):
    """Shares of images, 0 to 1."""

    top1: float
    top5: float


def probe(
    features: Float[Tensor, "n d"],
    labels: Int[Tensor, "n"],
    *,
    num_classes: int,
    is_validation: Bool[Tensor, "n"],
) -> LinearProbe:
    """The head of the λ that gives the least cross-entropy on the validation images, fitted to all images.

    Without validation images, λ is `USUAL_PENALTY`.
    """
    if not is_validation.any():
        return fit_head(features, labels, num_classes=num_classes, penalty=USUAL_PENALTY)
    fitted = None
    losses = {}
    for penalty in PENALTIES:  # each starts where the last one ended
        fitted = fit_head(
            features[~is_validation],
            labels[~is_validation],
            num_classes=num_classes,
            penalty=penalty,
            start=fitted,
        )
        logits = fitted.logits(features[is_validation])
        losses[penalty] = float(functional.cross_entropy(logits, labels[is_validation]))
    best = min(losses, key=lambda penalty: (losses[penalty], -penalty))
    return fit_head(features, labels, num_classes=num_classes, penalty=best)


def fit_head(
    features: Float[Tensor, "n d"],
    labels: Int[Tensor, "n"],
    *,
    num_classes: int,
    penalty: float,
    start: LinearProbe | None = None,
) -> LinearProbe:
    """Minimises mean cross-entropy + λ/2 · Σ weight², by L-BFGS. Biases are free.

    Features are standardised first; one that never changes is left out.
    """
    features = features.to(torch.float64 if features.numel() <= _LARGEST_DOUBLE else torch.float32)
    std, mean = torch.std_mean(features, dim=0, correction=0)
    std = torch.where(std > 1e-6 * (1 + mean.abs()), std, torch.inf)
    rows = (features - mean) / std
    shape = (rows.shape[1] + 1, num_classes)  # the biases are the last row

    def loss_and_gradient(flat: Float[np.ndarray, "m"]) -> tuple[float, Float[np.ndarray, "m"]]:
        head = torch.from_numpy(flat).to(rows).view(shape)
        logits = rows @ head[:-1] + head[-1]
        residual = logits.softmax(dim=1)
        loss = functional.cross_entropy(logits, labels) + penalty / 2 * head[:-1].square().sum()
        residual[torch.arange(len(labels)), labels] -= 1
        residual /= len(labels)
        gradient = torch.cat([rows.T @ residual + penalty * head[:-1], residual.sum(dim=0, keepdim=True)])
        return float(loss), gradient.flatten().double().cpu().numpy()

    begin = np.zeros(shape) if start is None else torch.cat([start.weight, start.bias[None]]).cpu().numpy()
    found = minimize(
        loss_and_gradient,
        begin.astype(np.float64).ravel(),
        method="L-BFGS-B",
        jac=True,
        options={"maxiter": _ITERATIONS, "gtol": _TOLERANCE, "ftol": 0},
    )
    head = torch.from_numpy(found.x).to(rows).view(shape)
    return LinearProbe(head[:-1], head[-1], mean, std, penalty)


def accuracies(logits: Float[Tensor, "n c"], labels: Int[Tensor, "n"]) -> Accuracies:
    """Share of images whose class has the largest logit, and one of the five largest."""
    largest = logits.topk(min(5, logits.shape[1]), dim=1).indices
    hits = largest == labels[:, None]
    return Accuracies(float(hits[:, 0].double().mean()), float(hits.any(dim=1).double().mean()))
