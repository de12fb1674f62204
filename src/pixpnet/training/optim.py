"""Parameter groups, optimizers and learning rates."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import nn

from pixpnet.config import OptimizerConfig
from pixpnet.prototypes import PrototypeNetwork
from pixpnet.training.stages import EpochPlan


@dataclass(frozen=True)
class GroupSpec:
    """One parameter group: its parameters, its learning rate before the schedule, its weight decay."""

    parameters: list[nn.Parameter]
    lr: float
    weight_decay: float


def prototype_groups(network: PrototypeNetwork, config: OptimizerConfig) -> list[GroupSpec]:
    """Backbone, add-on layers, prototypes and head, in this order; the head only if it has parameters."""
    groups = [
        GroupSpec(list(network.backbone.parameters()), config.fine_tune_lr, config.weight_decay),
        GroupSpec(list(network.add_on.parameters()), config.lr, config.weight_decay),
        GroupSpec([network.prototypes], config.lr, 0.0),
    ]
    head = list(network.head.parameters())
    return [*groups, GroupSpec(head, config.readout_lr, 0.0)] if head else groups


def classifier_groups(backbone: nn.Module, head: nn.Module, config: OptimizerConfig) -> list[GroupSpec]:
    """The groups of the backbone stage: backbone and its passing linear head, both at the full rate."""
    return [
        GroupSpec(list(backbone.parameters()), config.lr, config.weight_decay),
        GroupSpec(list(head.parameters()), config.lr, config.weight_decay),
    ]


def build_optimizer(
    kind: Callable[..., torch.optim.Optimizer], groups: list[GroupSpec], config: OptimizerConfig
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


def set_learning_rates(optimizer: torch.optim.Optimizer, groups: list[GroupSpec], plan: EpochPlan) -> None:
    """Give every group its rate of this epoch."""
    for entry, group in zip(optimizer.param_groups, groups, strict=True):
        entry["lr"] = group.lr * plan.factor
