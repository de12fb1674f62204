"""The loss of a model family, its terms by name, and what an epoch logs of them."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import NamedTuple

import torch
from accelerate import Accelerator
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn import functional

from pixpnet.config import LossConfig
from pixpnet.modes import evaluating
from pixpnet.prototypes import (
    PrototypeNetwork,
    PrototypeOutput,
    average_separation_loss,
    cluster_loss,
    forbidden_loss,
    l1_loss,
    separation_loss,
)


class Batch(NamedTuple):
    """Images on the device, ready to be learned from."""

    images: Float[Tensor, "b *views _ H W"]
    """Normalised; most families take one view of each. With a frozen backbone: its features."""
    labels: Int[Tensor, "b"]
    indices: Int[Tensor, "b"]
    """Positions in `ClassificationImages.records`."""


class Forbidden(NamedTuple):
    """Patches that prototypes are kept away from."""

    inputs: Float[Tensor, "f _ H W"]
    """What a batch would hold of their images."""
    cells: Int[Tensor, "f"]
    """The patch of each, flat."""
    prototypes: tuple[int, ...] = ()
    """Those that are such patches when training begins, and start anew."""


FORBIDDEN_AT_ONCE = 8
"""So many of the forbidden patches, drawn anew in each step, are looked at."""

Judgement = tuple[dict[str, Float[Tensor, ""]], Float[Tensor, "b c"]]
"""The terms of a batch, before their weights, and the logits."""


class Loss(NamedTuple):
    """The loss of one batch, and what it is made of."""

    terms: Mapping[str, Float[Tensor, ""]]
    """Before their weights."""
    total: Float[Tensor, ""]
    logits: Float[Tensor, "b c"]


class Objective(ABC):
    """What a model family minimises; the loop, the logs and the columns of metrics.csv follow from it.

    Only `judge` looks into a batch: its images may be several views of each, say.
    """

    weights: Mapping[str, float | None]
    """The terms, in the order of their sum and of the logs. None: a term that is looked at only."""

    @abstractmethod
    def judge(self, model: nn.Module, batch: Batch) -> Judgement:
        """What the model, or one that wraps it, gives for a batch."""

    def __call__(self, model: nn.Module, batch: Batch) -> Loss:
        """The loss of a batch: the weighted sum of its terms."""
        terms, logits = self.judge(model, batch)
        weighted = [weight * terms[name] for name, weight in self.weights.items() if weight is not None]
        total = weighted[0]
        for term in weighted[1:]:
            total = total + term
        return Loss(terms, total, logits)

    @property
    def measures(self) -> tuple[str, ...]:
        """What is logged of each split, in order."""
        names = ["accuracy", "weighted_accuracy"]
        for name, weight in self.weights.items():
            names += [name] if weight is None else [name, f"{name}_weighted"]
        return (*names, "total_loss")


class PrototypeObjective(Objective):
    """Cross-entropy, cluster, separation and L1 terms (ProtoPNet, eq. 1), and that of forbidden patches."""

    def __init__(
        self, network: PrototypeNetwork, config: LossConfig, forbidden: Forbidden | None = None
    ) -> None:
        self.network = network
        self.forbidden = forbidden
        self.label_smoothing = config.label_smoothing
        self.weights = {
            "xent": config.xent,
            "cluster_loss": config.cluster,
            "separation_loss": config.separation,
            "avg_separation_loss": None,
            "l1_loss": config.l1,
        }
        if forbidden is not None:
            self.weights["forbidden_loss"] = config.forbidden

    def judge(self, model: nn.Module, batch: Batch) -> Judgement:
        output: PrototypeOutput = model(batch.images)
        own = self.network.own_class.T[batch.labels]
        terms = {
            "xent": cross_entropy(output.logits, batch, label_smoothing=self.label_smoothing),
            "cluster_loss": cluster_loss(output.min_distances, own),
            "separation_loss": separation_loss(output.min_distances, own),
            "avg_separation_loss": average_separation_loss(output.min_distances, own),
            "l1_loss": l1_loss(self.network.head.penalised_weights()),
        }
        if self.forbidden is not None:
            terms["forbidden_loss"] = self._forbidden(self.forbidden)
        return terms, output.logits

    def _forbidden(self, forbidden: Forbidden) -> Float[Tensor, ""]:
        some = torch.randperm(len(forbidden.cells))[:FORBIDDEN_AT_ONCE].to(forbidden.cells.device)
        with evaluating(self.network.backbone):
            patches = see_patches(self.network, forbidden.inputs[some], forbidden.cells[some])
        similarities = self.network.from_features(patches).similarities
        return forbidden_loss(similarities / self.network.largest_similarity)


def see_patches(
    network: PrototypeNetwork, inputs: Float[Tensor, "f _ H W"], cells: Int[Tensor, "f"]
) -> Float[Tensor, "f d k k"]:
    """What the network sees there."""
    z = network.features(inputs)
    return network.patches_at(z, cells).unflatten(1, (z.shape[1], network.kernel_size, network.kernel_size))


class ClassifierObjective(Objective):
    """Cross-entropy alone, as in the backbone stage."""

    weights = {"xent": 1.0}  # noqa: RUF012

    def judge(self, model: nn.Module, batch: Batch) -> Judgement:
        logits = model(batch.images)
        return {"xent": cross_entropy(logits, batch)}, logits


def cross_entropy(
    logits: Float[Tensor, "b c"], batch: Batch, *, label_smoothing: float = 0.0
) -> Float[Tensor, ""]:
    """The mean over the batch, in float32; label smoothing after Szegedy et al. (2016, section 7)."""
    return functional.cross_entropy(logits.float(), batch.labels, label_smoothing=label_smoothing)


class EpochMeter:
    """Running sums of an epoch, on the device: reading them is the only synchronisation."""

    def __init__(self, objective: Objective, num_classes: int, device: torch.device) -> None:
        self.objective = objective
        self.sums = torch.zeros(len(objective.weights) + 1, dtype=torch.float64, device=device)
        """Each term's, then the loss's."""
        self.correct = torch.zeros(num_classes, dtype=torch.float64, device=device)
        self.count = torch.zeros(num_classes, dtype=torch.float64, device=device)

    @torch.no_grad()
    def update(self, loss: Loss, labels: Int[Tensor, "b"]) -> None:
        """Add one batch."""
        terms = [loss.terms[name] for name in self.objective.weights]
        self.sums += torch.stack([*terms, loss.total]).double() * len(labels)
        self.correct.index_add_(0, labels, (loss.logits.argmax(dim=1) == labels).double())
        self.count.index_add_(0, labels, torch.ones_like(labels, dtype=torch.float64))

    @property
    def accuracy(self) -> float:
        return float(self.correct.sum() / self.count.sum())

    @property
    def total_loss(self) -> float:
        return float(self.sums[-1] / self.count.sum())

    def gather(self, accelerator: Accelerator) -> None:
        """Add up the sums of all processes."""
        for name in ("sums", "correct", "count"):
            setattr(self, name, accelerator.reduce(getattr(self, name), reduction="sum"))

    def values(self, split: str) -> dict[str, float]:
        """The epoch's averages, under the names of the objective's `measures` behind that of the split."""
        *terms, total = (self.sums / self.count.sum()).tolist()
        seen = self.count > 0
        values = [self.accuracy, float((self.correct[seen] / self.count[seen]).mean())]
        for weight, term in zip(self.objective.weights.values(), terms, strict=True):
            values += [term] if weight is None else [term, weight * term]
        names = (f"{split}_{name}" for name in self.objective.measures)
        return dict(zip(names, [*values, total], strict=True))
