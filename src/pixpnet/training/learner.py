"""What learns in the stage at hand: the module, its objective, its optimizer and learning rates."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from accelerate import Accelerator
from torch import Tensor, nn

from pixpnet.config import Config, OptimizerConfig, resolve_optimizer
from pixpnet.prototypes import PrototypeNetwork
from pixpnet.training.loop import Learning, distributed
from pixpnet.training.objective import ClassifierObjective, Forbidden, Objective, PrototypeObjective
from pixpnet.training.plan import EpochPlan


@dataclass(frozen=True)
class ParameterGroup:
    """Parameters, their learning rate before the schedule, and their weight decay."""

    parameters: list[nn.Parameter]
    lr: float
    weight_decay: float


RATE_COLUMNS = tuple(f"hp/lr_group_{group}" for group in range(4))
"""Names of the groups' learning rates in the logs; no stage has more groups."""


def prototype_groups(network: PrototypeNetwork, config: OptimizerConfig) -> list[ParameterGroup]:
    """Backbone, add-on layers, prototypes and head, in this order; the head only if it has parameters."""
    groups = [
        ParameterGroup(list(network.backbone.parameters()), config.fine_tune_lr, config.weight_decay),
        ParameterGroup(list(network.add_on.parameters()), config.lr, config.weight_decay),
        ParameterGroup([network.prototypes], config.lr, 0.0),
    ]
    head = list(network.head.parameters())
    return [*groups, ParameterGroup(head, config.readout_lr, 0.0)] if head else groups


def classifier_groups(backbone: nn.Module, head: nn.Module, config: OptimizerConfig) -> list[ParameterGroup]:
    """The groups of the backbone stage: backbone and its passing linear head, both at the full rate."""
    return [
        ParameterGroup(list(backbone.parameters()), config.lr, config.weight_decay),
        ParameterGroup(list(head.parameters()), config.lr, config.weight_decay),
    ]


def build_optimizer(
    kind: Callable[..., torch.optim.Optimizer], groups: list[ParameterGroup], config: OptimizerConfig
) -> torch.optim.Optimizer:
    """An optimizer over the groups; momentum and weight decay go only to classes that take them."""
    # torch.optim has no other way to tell which options a class takes.
    takes = inspect.signature(kind).parameters
    entries = []
    for group in groups:
        entry = {"params": group.parameters, "lr": group.lr}
        if "weight_decay" in takes:
            entry["weight_decay"] = group.weight_decay
        if "momentum" in takes:
            entry["momentum"] = config.momentum
        entries.append(entry)
    return kind(entries, lr=groups[0].lr)


def set_learning_rates(
    optimizer: torch.optim.Optimizer, groups: list[ParameterGroup], plan: EpochPlan
) -> None:
    """Give every group its rate of this epoch."""
    for entry, group in zip(optimizer.param_groups, groups, strict=True):
        entry["lr"] = group.lr * plan.factor


class PooledClassifier(nn.Module):
    """The backbone stage's network: cut backbone, average pooling, linear head."""

    def __init__(self, backbone: nn.Module, *, channels: int, num_classes: int) -> None:
        super().__init__()
        self.backbone = backbone
        self.head = nn.Linear(channels, num_classes)

    def forward(self, images: Tensor) -> Tensor:
        return self.head(self.backbone(images).mean(dim=(2, 3)))


class Learner:
    """The network, or in stage ``backbone`` a classifier over its backbone, ready for an epoch."""

    def __init__(self, network: PrototypeNetwork, *, config: Config, accelerator: Accelerator) -> None:
        self.network = network
        self.config = config
        self.accelerator = accelerator
        self.prototype_objective = PrototypeObjective(network, config.loss)
        self.classifier: PooledClassifier | None = None
        self.optimizer: torch.optim.Optimizer | None = None
        self.groups: list[ParameterGroup] = []
        self._training: tuple[str, nn.Module] | None = None

    @property
    def module(self) -> nn.Module:
        """What is tested: the classifier in stage ``backbone``, later the network."""
        return self.network if self.classifier is None else self.classifier

    @property
    def objective(self) -> Objective:
        """The module's."""
        return self.prototype_objective if self.classifier is None else ClassifierObjective()

    @property
    def parameters(self) -> list[nn.Parameter]:
        return [parameter for group in self.groups for parameter in group.parameters]

    def enter(self, plan: EpochPlan) -> Learning:
        """Set up modules, modes, optimizer and learning rates of an epoch, in this process alone."""
        in_backbone_stage = plan.stage == "backbone"
        if in_backbone_stage != (self.classifier is not None):
            self.classifier = self._build_classifier() if in_backbone_stage else None
            self.optimizer = None
        optimizer = self.optimizer or self._build_optimizer()
        self.module.train()
        if not in_backbone_stage:
            frozen = plan.stage == "warm-up"
            self.network.backbone.requires_grad_(not frozen)
            self.network.backbone.train(not frozen)
        set_learning_rates(optimizer, self.groups, plan)
        return Learning(self.module, self.objective, optimizer)

    def enter_together(self, plan: EpochPlan) -> Learning:
        """`enter`; the gradients are averaged over processes."""
        learning = self.enter(plan)
        # Made anew where a stage begins, since others learn in it.
        if self._training is None or self._training[0] != plan.stage:
            self._training = (plan.stage, distributed(learning.model, self.accelerator))
        return learning._replace(model=self._training[1])

    def forbid(self, forbidden: Forbidden) -> None:
        """Keep prototypes away from patches from now on."""
        self.prototype_objective = PrototypeObjective(self.network, self.config.loss, forbidden)

    def forget(self) -> None:
        """Drop the optimizer, whose parameters the network no longer has; no epoch comes after that."""
        self.optimizer, self.groups = None, []

    def restore(self, *, classifier: Mapping[str, Tensor] | None, optimizer: dict[str, Any] | None) -> None:
        """Go back to the state of a checkpoint."""
        if classifier is not None:
            self.classifier = self._build_classifier()
            self.classifier.head.load_state_dict(classifier)
        built = self._build_optimizer()
        if optimizer is not None:
            built.load_state_dict(optimizer)

    def _build_classifier(self) -> PooledClassifier:
        backbone = self.network.backbone
        channels = int(backbone.out_channels)  # pyright: ignore[reportArgumentType]
        classifier = PooledClassifier(backbone, channels=channels, num_classes=self.network.num_classes)
        return classifier.to(self.accelerator.device)

    def _build_optimizer(self) -> torch.optim.Optimizer:
        options = self.config.optimizer
        if self.classifier is not None:
            self.groups = classifier_groups(self.network.backbone, self.classifier.head, options)
        else:
            self.groups = prototype_groups(self.network, options)
        self.optimizer = build_optimizer(resolve_optimizer(options.name), self.groups, options)
        return self.optimizer
