"""Linear heads on cached features: multinomial logistic regression with a ridge penalty."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from scipy.optimize import minimize
from torch import Tensor
from torch.nn import functional

PENALTIES = (1.0, 1e-1, 1e-2, 1e-3, 1e-4)
"""λ that are tried, strongest first."""

USUAL_PENALTY = 1e-2

_LARGEST_DOUBLE = 2**27
"""Numbers in a table up to which float64 is cheap enough."""

_CHUNK = 4096
"""Rows that are made float64 at a time."""

_ITERATIONS = 500
_TOLERANCE = 1e-5


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
    training = _Table(features[~is_validation], labels[~is_validation], num_classes=num_classes)
    losses = {}
    for penalty in PENALTIES:
        logits = training.fit(penalty).logits(features[is_validation])
        losses[penalty] = float(functional.cross_entropy(logits, labels[is_validation]))
    best = min(losses, key=lambda penalty: (losses[penalty], -penalty))
    return fit_head(features, labels, num_classes=num_classes, penalty=best)


def fit_head(
    features: Float[Tensor, "n d"], labels: Int[Tensor, "n"], *, num_classes: int, penalty: float
) -> LinearProbe:
    """Minimises mean cross-entropy + λ/2 · Σ weight², by L-BFGS. Biases are free.

    Features are standardised first; one that never changes is left out.
    """
    return _Table(features, labels, num_classes=num_classes).fit(penalty)


class _Table:
    """Features that heads of several λ are fitted to; each fit starts where the last one ended.

    L-BFGS works in coordinates along the principal axes, of which there are no more than rows, scaled so that
    the curvature is at most about 1 in each: half the axis' variance, plus λ, bounds it (Böhning 1992). That
    changes the way, not the minimum.
    """

    def __init__(self, features: Float[Tensor, "n d"], labels: Int[Tensor, "n"], *, num_classes: int) -> None:
        features = features.to(torch.float64 if features.numel() <= _LARGEST_DOUBLE else torch.float32)
        std, self.mean = torch.std_mean(features, dim=0, correction=0)
        self.std = torch.where(std > 1e-6 * (1 + self.mean.abs()), std, torch.inf)
        rows = (features - self.mean) / self.std
        # In float64 whatever the rows: an axis with little variance may be the one that tells classes apart.
        covariance = rows.new_zeros(rows.shape[1], rows.shape[1], dtype=torch.float64)
        for some in rows.split(_CHUNK):
            covariance.addmm_(some.T.double(), some.double())
        variances, axes = torch.linalg.eigh(covariance / len(rows))
        is_kept = variances > torch.finfo(torch.float64).eps * len(variances) * variances[-1]
        variances, axes = variances.to(rows), axes.to(rows)
        self.axes = axes[:, is_kept]
        ones = rows.new_ones(len(rows), 1)  # of the biases: the last coordinate
        self.rows = torch.cat([rows @ self.axes, ones], dim=1)
        self.variances = torch.cat([variances[is_kept], rows.new_ones(1)])
        self.labels = labels
        self.head = rows.new_zeros(len(self.variances), num_classes)

    def fit(self, penalty: float) -> LinearProbe:
        penalties = torch.full_like(self.variances, penalty)
        penalties[-1] = 0
        scale = (self.variances / 2 + penalties).rsqrt()[:, None]
        rows = self.rows * scale.T
        penalties = penalties[:, None] * scale.square()

        def loss_and_gradient(flat: Float[np.ndarray, "m"]) -> tuple[float, Float[np.ndarray, "m"]]:
            head = torch.from_numpy(flat).to(rows).view_as(self.head)
            logits = rows @ head
            residual = logits.softmax(dim=1)
            loss = functional.cross_entropy(logits, self.labels) + (penalties * head.square()).sum() / 2
            residual[torch.arange(len(residual)), self.labels] -= 1
            gradient = rows.T @ residual / len(residual) + penalties * head
            return float(loss), gradient.flatten().double().cpu().numpy()

        found = minimize(
            loss_and_gradient,
            (self.head / scale).flatten().double().cpu().numpy(),
            method="L-BFGS-B",
            jac=True,
            options={"maxiter": _ITERATIONS, "gtol": _TOLERANCE, "ftol": 0},
        )
        self.head = torch.from_numpy(found.x).to(rows).view_as(self.head) * scale
        return LinearProbe(self.axes @ self.head[:-1], self.head[-1], self.mean, self.std, penalty)


def accuracies(logits: Float[Tensor, "n c"], labels: Int[Tensor, "n"]) -> Accuracies:
    """Share of images whose class has the largest logit, and one of the five largest."""
    largest = logits.topk(min(5, logits.shape[1]), dim=1).indices
    hits = largest == labels[:, None]
    return Accuracies(float(hits[:, 0].double().mean()), float(hits.any(dim=1).double().mean()))
