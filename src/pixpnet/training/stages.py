"""The plan of a run: what every epoch trains, at which rate, and what follows it."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from pixpnet.config import OptimizerConfig, TrainConfig
from pixpnet.errors import ConfigError

StageName = Literal["backbone", "warm-up", "joint"]


@dataclass(frozen=True)
class EpochPlan:
    """What one epoch does; epochs count from 1."""

    epoch: int
    stage: StageName
    factor: float
    """Multiplies every scheduled learning rate."""
    project: bool
    """Prototypes are projected after this epoch (and the readout trained)."""
    validate: bool


def _cosine(epoch: int, *, total: int, config: OptimizerConfig) -> float:
    return 0.5 * (1 + math.cos(math.pi * epoch / total))


def _step(epoch: int, *, total: int, config: OptimizerConfig) -> float:
    return config.lr_factor ** (epoch // config.lr_schedule[0])


def _multistep(epoch: int, *, total: int, config: OptimizerConfig) -> float:
    return config.lr_factor ** sum(epoch >= milestone for milestone in config.lr_schedule)


SCHEDULES: dict[str, Callable[..., float]] = {"cosine": _cosine, "step": _step, "multistep": _multistep}
"""Factor of the learning rate in epoch t = 0 ... T - 1 after the backbone stage."""


def warm_up_factor(epoch: int, period: int) -> float:
    """Factor of exponential warm-up in epoch t = 0, 1, ...; it tends to 1.

    >>> round(warm_up_factor(4, 5), 3)
    0.632
    """
    return 1.0 if period == 0 else 1 - math.exp(-(epoch + 1) / period)


def plan_epochs(train: TrainConfig, optimizer: OptimizerConfig) -> tuple[EpochPlan, ...]:
    """The whole run, one entry an epoch.

    Raises:
        ConfigError: where the backbone stage leaves no epoch for the prototypes.
    """
    total = train.epochs - train.backbone_epochs
    if total < 1:
        raise ConfigError(
            f"train.backbone-epochs={train.backbone_epochs} leaves no epoch for the prototypes: "
            f"it must be below train.epochs={train.epochs}."
        )
    every = train.val_every_n_epoch or max(1, round(train.epochs / 50))
    plans = []
    for epoch in range(1, train.epochs + 1):
        last = epoch == train.epochs
        t = epoch - train.backbone_epochs - 1
        if t < 0:
            stage: StageName = "backbone"
            factor = _cosine(epoch - 1, total=train.backbone_epochs, config=optimizer)
        else:
            stage = "warm-up" if t < optimizer.warmup_period else "joint"
            factor = SCHEDULES[optimizer.lr_scheduler](t, total=total, config=optimizer)
            factor *= warm_up_factor(t, optimizer.warmup_period)
        project = train.push_prototypes and t >= 0 and (t == 0 or last or epoch % train.push_every == 0)
        plans.append(EpochPlan(epoch, stage, factor, project, last or epoch % every == 0))
    return tuple(plans)
