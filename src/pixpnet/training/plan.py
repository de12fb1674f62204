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
    average: bool = False
    """The weights at its end are taken into the average of train.stochastic-weight-averaging."""


AVERAGED_SHARE = 0.25
"""Share of the joint epochs, the last ones, whose weights are averaged (torch's custom); at least two are."""


def _cosine(epoch: int, *, total: int, config: OptimizerConfig) -> float:
    return 0.5 * (1 + math.cos(math.pi * epoch / total))


def _step(epoch: int, *, total: int, config: OptimizerConfig) -> float:
    return config.lr_factor ** (epoch // config.lr_schedule[0])


def _multistep(epoch: int, *, total: int, config: OptimizerConfig) -> float:
    return config.lr_factor ** sum(epoch >= milestone for milestone in config.lr_schedule)


def _one_cycle(epoch: int, *, total: int, config: OptimizerConfig) -> float:
    """Up from 1/25 over the first 30 %, then down to nearly 0, along half cosines (Smith and Topin 2018)."""
    middle, top = epoch + 0.5, 0.3 * total
    if middle < top:
        return 1 / 25 + (1 - 1 / 25) * 0.5 * (1 - math.cos(math.pi * middle / top))
    return 0.5 * (1 + math.cos(math.pi * (middle - top) / (total - top)))


SCHEDULES: dict[str, Callable[..., float]] = {
    "cosine": _cosine,
    "one-cycle": _one_cycle,
    "step": _step,
    "multistep": _multistep,
}
"""Factor of the learning rate in epoch t = 0 ... T - 1 after the backbone stage."""


def warm_up_factor(epoch: int, period: int) -> float:
    """Factor of exponential warm-up in epoch t = 0, 1, ...; it tends to 1.

    >>> round(warm_up_factor(4, 5), 3)
    0.632
    """
    return 1.0 if period == 0 else 1 - math.exp(-(epoch + 1) / period)


def plan_epochs(train: TrainConfig, optimizer: OptimizerConfig) -> tuple[EpochPlan, ...]:
    """The whole run, one entry an epoch.

    In the epochs whose weights are averaged, the learning rates stay as they are in the first of them, and
    only the last one is projected: a mean of prototypes before and after a projection is neither's.

    Raises:
        ConfigError: where the backbone stage leaves no epoch for the prototypes, or there is none to average.
    """
    total = train.epochs - train.backbone_epochs
    if total < 1:
        raise ConfigError(
            f"train.backbone-epochs={train.backbone_epochs} leaves no epoch for the prototypes: "
            f"it must be below train.epochs={train.epochs}."
        )
    every = train.val_every_n_epoch or max(1, round(train.epochs / 50))
    first_averaged = _first_averaged(train, optimizer)
    plans = []
    for epoch in range(1, train.epochs + 1):
        last, average = epoch == train.epochs, epoch >= first_averaged
        t = min(epoch, first_averaged) - train.backbone_epochs - 1
        if t < 0:
            stage: StageName = "backbone"
            factor = _cosine(epoch - 1, total=train.backbone_epochs, config=optimizer)
        else:
            stage = "warm-up" if t < optimizer.warmup_period else "joint"
            factor = SCHEDULES[optimizer.lr_scheduler](t, total=total, config=optimizer)
            factor *= warm_up_factor(t, optimizer.warmup_period)
        due = t == 0 or epoch % train.push_every == 0
        project = train.push_prototypes and t >= 0 and (last or (due and not average))
        plans.append(EpochPlan(epoch, stage, factor, project, last or epoch % every == 0, average))
    return tuple(plans)


def _first_averaged(train: TrainConfig, optimizer: OptimizerConfig) -> int:
    """The first epoch whose weights are averaged; without averaging, the one after the last."""
    if not train.stochastic_weight_averaging:
        return train.epochs + 1
    joint = train.epochs - train.backbone_epochs - optimizer.warmup_period
    if joint < 2:
        raise ConfigError(
            f"train.stochastic-weight-averaging: needs two joint epochs or more; of train.epochs="
            f"{train.epochs}, train.backbone-epochs={train.backbone_epochs} and optimizer.warmup-period="
            f"{optimizer.warmup_period} leave {max(0, joint)}."
        )
    return train.epochs + 1 - max(2, round(AVERAGED_SHARE * joint))
