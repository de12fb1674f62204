"""What a run logs: the terms of the loss and the accuracies, averaged over an epoch and over processes."""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from accelerate import Accelerator
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn import functional

from pixpnet.config import LossConfig
from pixpnet.prototypes import (
    PrototypeNetwork,
    PrototypeOutput,
    average_separation_loss,
    cluster_loss,
    l1_loss,
    separation_loss,
)

SPLITS = ("train", "val", "test")
MEASURES = (
    "accuracy",
    "weighted_accuracy",
    "xent",
    "xent_weighted",
    "cluster_loss",
    "cluster_loss_weighted",
    "separation_loss",
    "separation_loss_weighted",
    "avg_separation_loss",
    "l1_loss",
    "l1_loss_weighted",
    "total_loss",
)
RATE_COLUMNS = tuple(f"hp/lr_group_{group}" for group in range(4))
COLUMNS = (*RATE_COLUMNS, *(f"{split}_{measure}" for split in SPLITS for measure in MEASURES))


class LossTerms(NamedTuple):
    """The loss of one batch and what it is made of, before their coefficients."""

    xent: Float[Tensor, ""]
    cluster: Float[Tensor, ""]
    separation: Float[Tensor, ""]
    average_separation: Float[Tensor, ""]
    l1: Float[Tensor, ""]
    total: Float[Tensor, ""]


def loss_terms(
    output: PrototypeOutput, labels: Int[Tensor, "b"], *, network: PrototypeNetwork, config: LossConfig
) -> LossTerms:
    """Cross-entropy, cluster, separation and L1 terms, and their weighted sum (ProtoPNet, eq. 1)."""
    own = network.own_class.T[labels]
    xent = functional.cross_entropy(output.logits.float(), labels)
    cluster = cluster_loss(output.min_distances, own)
    separation = separation_loss(output.min_distances, own)
    l1 = l1_loss(network.head.penalised_weights())
    total = config.xent * xent + config.cluster * cluster + config.separation * separation + config.l1 * l1
    average = average_separation_loss(output.min_distances, own)
    return LossTerms(xent, cluster, separation, average, l1, total)


def classifier_terms(logits: Float[Tensor, "b c"], labels: Int[Tensor, "b"]) -> LossTerms:
    """The backbone stage's loss, cross-entropy; the other terms don't exist there."""
    xent = functional.cross_entropy(logits.float(), labels)
    missing = xent.new_tensor(torch.nan)
    return LossTerms(xent, missing, missing, missing, missing, xent)


class EpochMeter:
    """Running sums of an epoch, on the device: reading them is the only synchronisation."""

    def __init__(self, num_classes: int, device: torch.device) -> None:
        self.terms = torch.zeros(len(LossTerms._fields), dtype=torch.float64, device=device)
        self.correct = torch.zeros(num_classes, dtype=torch.float64, device=device)
        self.count = torch.zeros(num_classes, dtype=torch.float64, device=device)

    @torch.no_grad()
    def update(self, terms: LossTerms, logits: Float[Tensor, "b c"], labels: Int[Tensor, "b"]) -> None:
        """Add one batch."""
        self.terms += torch.stack(terms).double() * len(labels)
        self.correct.index_add_(0, labels, (logits.argmax(dim=1) == labels).double())
        self.count.index_add_(0, labels, torch.ones_like(labels, dtype=torch.float64))

    @property
    def accuracy(self) -> float:
        return float(self.correct.sum() / self.count.sum())

    @property
    def total_loss(self) -> float:
        return float(self.terms[-1] / self.count.sum())

    def gather(self, accelerator: Accelerator) -> None:
        """Add up the sums of all processes."""
        for name in ("terms", "correct", "count"):
            setattr(self, name, accelerator.reduce(getattr(self, name), reduction="sum"))

    def values(self, split: str, config: LossConfig) -> dict[str, float]:
        """The epoch's averages under their logged names, without the terms that this stage doesn't have."""
        terms = LossTerms(*(self.terms / self.count.sum()).tolist())
        seen = self.count > 0
        values = {
            "accuracy": self.accuracy,
            "weighted_accuracy": float((self.correct[seen] / self.count[seen]).mean()),
            "xent": terms.xent,
            "xent_weighted": config.xent * terms.xent,
            "cluster_loss": terms.cluster,
            "cluster_loss_weighted": config.cluster * terms.cluster,
            "separation_loss": terms.separation,
            "separation_loss_weighted": config.separation * terms.separation,
            "avg_separation_loss": terms.average_separation,
            "l1_loss": terms.l1,
            "l1_loss_weighted": config.l1 * terms.l1,
            "total_loss": terms.total,
        }
        return {f"{split}_{name}": value for name, value in values.items() if not math.isnan(value)}
