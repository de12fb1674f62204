"""The terms of the loss beside cross-entropy (ProtoPNet, section 2.2), as pure functions of tensors.

``own`` says for each image which prototypes are of its class: ``own_class.T[labels]``. Images whose class
has no prototype (cluster), or for which there is no prototype of another class (separation: one class, or
class-agnostic prototypes), are left out of the mean; if that leaves none, the term is 0. No term is ever
infinite or NaN for finite distances.
"""

from __future__ import annotations

import torch
from jaxtyping import Bool, Float
from torch import Tensor


def cluster_loss(distances: Float[Tensor, "b p"], own: Bool[Tensor, "b p"]) -> Float[Tensor, ""]:
    """Mean distance to the nearest prototype of the true class (ProtoPNet, eq. 2)."""
    return _mean_over(distances.masked_fill(~own, torch.inf).amin(dim=1), own.any(dim=1))


def separation_loss(distances: Float[Tensor, "b p"], own: Bool[Tensor, "b p"]) -> Float[Tensor, ""]:
    """Minus the mean distance to the nearest prototype of another class (ProtoPNet, eq. 2)."""
    return -cluster_loss(distances, ~own)


def average_separation_loss(distances: Float[Tensor, "b p"], own: Bool[Tensor, "b p"]) -> Float[Tensor, ""]:
    """Minus the mean over images of the mean distance to the prototypes of other classes."""
    count = (~own).sum(dim=1)
    average = distances.masked_fill(own, 0.0).sum(dim=1) / count.clamp(min=1)
    return -_mean_over(average, count > 0)


def l1_loss(weights: Float[Tensor, "n"]) -> Float[Tensor, ""]:
    """Σ|w| over the weights that a head lets be penalised (`Head.penalised_weights`)."""
    return weights.abs().sum()


def forbidden_loss(similarities: Float[Tensor, "f p"]) -> Float[Tensor, ""]:
    """Mean over the prototypes of the similarity to that of f forbidden patches which is most similar.

    The forgetting loss of ProtoPDebug (Bontempelli et al., ICLR 2023), with patches that are forbidden to the
    prototypes of every class.
    """
    return similarities.amax(dim=0).mean()


def _mean_over(values: Float[Tensor, "b"], valid: Bool[Tensor, "b"]) -> Float[Tensor, ""]:
    return values.masked_fill(~valid, 0.0).sum() / valid.sum().clamp(min=1)
