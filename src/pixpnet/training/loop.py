"""The one training loop: epochs by a schedule, one epoch, and one pass that only looks."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator
from contextlib import nullcontext
from dataclasses import dataclass
from typing import NamedTuple

import torch
from accelerate import Accelerator
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from pixpnet.config import Config
from pixpnet.data import EpochLoader, Sample
from pixpnet.errors import ConfigError, PixPNetError
from pixpnet.modes import evaluating
from pixpnet.training.objective import Batch, EpochMeter, Objective
from pixpnet.training.plan import EpochPlan
from pixpnet.training.profiling import Profiler

CHECK_EVERY = 16
"""Steps between looks at the loss on a GPU, where each look waits for the device."""


@dataclass(frozen=True)
class Execution:
    """Where and how the steps of training are computed."""

    accelerator: Accelerator
    """Processes and device."""
    autocast_to: torch.dtype | None = None
    """Precision; None: float32."""
    accumulate: int = 1
    """Batches for one step; all weigh the same, also those of a shorter last one."""
    clip_norm: float | None = None
    """Largest norm of the gradients of all that the optimizer changes."""


def make_execution(config: Config) -> Execution:
    """What the configuration asks for.

    Raises:
        ConfigError: for more GPUs than there are, or than processes were launched.
    """
    available = torch.cuda.device_count()
    wanted = min(1, available) if config.gpus is None else config.gpus
    launched = int(os.environ.get("WORLD_SIZE", "1"))
    if wanted > available:
        raise ConfigError(f"gpus={wanted}: this machine has {available}.")
    if wanted > launched:
        raise ConfigError(
            f"gpus={wanted} needs as many processes, {launched} was launched; start the run as: "
            f"accelerate launch --num_processes {wanted} -m pixpnet train -c FILE --gpus {wanted}"
        )
    on_gpu = wanted > 0
    precision = config.train.precision
    bf16 = precision == "bf16" or (precision == "auto" and on_gpu and torch.cuda.is_bf16_supported())
    # accelerate's own mixed precision is one for a whole process, and reaches evaluation; see `train_epoch`.
    return Execution(
        Accelerator(cpu=not on_gpu, mixed_precision="no"),
        torch.bfloat16 if bf16 else None,
        config.train.accumulate_grad_batches or 1,
        config.train.gradient_clip_norm,
    )


class Learning(NamedTuple):
    """What learns in an epoch."""

    model: nn.Module
    """In the modes that it learns in; wrapped where its gradients are averaged over processes."""
    objective: Objective
    optimizer: torch.optim.Optimizer
    """With the epoch's learning rates."""


class TrainedEpoch(NamedTuple):
    """What an epoch leaves."""

    plan: EpochPlan
    meter: EpochMeter
    """Sums over all processes."""
    steps: int
    """How many the optimizer took."""


def train_epochs(
    schedule: Iterable[EpochPlan],
    begin: Callable[[EpochPlan], Learning],
    batches: EpochLoader,
    *,
    num_classes: int,
    seed: Callable[[EpochPlan], int],
    execution: Execution,
    first_step: int = 0,
    on_step: Callable[[EpochMeter], None] | None = None,
    profiler: Profiler | None = None,
) -> Iterator[TrainedEpoch]:
    """Train by the schedule, and yield after each epoch: what follows it (validation, say) is the caller's.

    Args:
        schedule: The epochs.
        begin: Sets up an epoch, in its own random state.
        batches: The training images.
        num_classes: Of the images.
        seed: Of torch's random state at the beginning of an epoch.
        execution: Where and how.
        first_step: How many steps came before.
        on_step: Called after every batch.
        profiler: Told what is done.

    Raises:
        PixPNetError: The loss is no longer finite.
    """
    profiler, accelerator = profiler or Profiler(), execution.accelerator
    for plan in schedule:
        torch.manual_seed(seed(plan))
        learning = begin(plan)
        batches.set_epoch(plan.epoch)
        meter = EpochMeter(learning.objective, num_classes, accelerator.device)
        with profiler.phase("training: forward, backward, step"):
            steps = train_epoch(
                learning,
                profiler.batches(batches),
                num_batches=len(batches),
                meter=meter,
                execution=execution,
                first_step=first_step,
                on_step=on_step,
            )
        first_step += steps
        agree_on_buffers(learning.model, accelerator)
        meter.gather(accelerator)
        yield TrainedEpoch(plan, meter, steps)


def train_epoch(
    learning: Learning,
    batches: Iterable[Sample],
    *,
    num_batches: int,
    meter: EpochMeter,
    execution: Execution,
    first_step: int = 0,
    on_step: Callable[[EpochMeter], None] | None = None,
) -> int:
    """Train on every batch once; returns the number of optimizer steps.

    first_step: how many steps came before, for the error.

    Raises:
        PixPNetError: The loss is no longer finite.
    """
    model, objective, optimizer = learning
    accelerator, accumulate, autocast_to = execution.accelerator, execution.accumulate, execution.autocast_to
    steps = 0
    parameters = [parameter for entry in optimizer.param_groups for parameter in entry["params"]]
    check_every = 1 if accelerator.device.type == "cpu" else CHECK_EVERY
    for number, batch in enumerate(to_device(batches, accelerator.device)):
        group = min(accumulate, num_batches - number // accumulate * accumulate)
        last = number % accumulate == group - 1
        if number % accumulate == 0:
            optimizer.zero_grad()
        with nullcontext() if last else accelerator.no_sync(model):
            with torch.autocast(accelerator.device.type, autocast_to, enabled=autocast_to is not None):
                loss = objective(model, batch)
            accelerator.backward(loss.total / group)
        meter.update(loss, batch.labels)
        if number % check_every == 0 or number == num_batches - 1:
            _check_finite(meter.sums[-1], optimizer, step=first_step + steps + 1)
        if last:
            if execution.clip_norm is not None:
                accelerator.clip_grad_norm_(parameters, execution.clip_norm)
            optimizer.step()
            steps += 1
        if on_step is not None:
            on_step(meter)
    return steps


@torch.no_grad()
def score(
    model: nn.Module,
    objective: Objective,
    batches: Iterable[Sample],
    *,
    accelerator: Accelerator,
    meter: EpochMeter,
) -> EpochMeter:
    """Losses and accuracies over all processes' batches, in eval mode and float32."""
    with evaluating(model):
        for batch in to_device(batches, accelerator.device):
            meter.update(objective(model, batch), batch.labels)
    meter.gather(accelerator)
    return meter


def to_device(batches: Iterable[Sample], device: torch.device) -> Iterator[Batch]:
    """The batches on the device, single views of images with their channels last."""
    for images, labels, indices in batches:
        assert isinstance(labels, Tensor)
        assert isinstance(indices, Tensor)
        layout = torch.channels_last if images.dim() == 4 else torch.preserve_format
        yield Batch(
            images.to(device, non_blocking=True, memory_format=layout),
            labels.to(device, non_blocking=True),
            indices.to(device, non_blocking=True),
        )


def distributed(model: nn.Module, accelerator: Accelerator) -> nn.Module:
    """The module to train: the model itself, or the same one averaging its gradients over processes."""
    if accelerator.num_processes == 1:
        return model
    on_gpu = accelerator.device.type == "cuda"
    return DistributedDataParallel(model, device_ids=[accelerator.device] if on_gpu else None)


@torch.no_grad()
def agree_on_buffers(model: nn.Module, accelerator: Accelerator) -> None:
    """Give all processes the mean of their batch-norm statistics, each made from its own images."""
    if accelerator.num_processes > 1:
        for buffer in model.buffers():
            if buffer.is_floating_point():
                mean = accelerator.reduce(buffer, reduction="mean")
                assert isinstance(mean, Tensor)
                buffer.copy_(mean)


def _check_finite(loss: Tensor, optimizer: torch.optim.Optimizer, *, step: int) -> None:
    if not torch.isfinite(loss):
        rates = ", ".join(f"{group['lr']:.3g}" for group in optimizer.param_groups)
        raise PixPNetError(
            f"The loss became {float(loss)} at step {step} with the learning rates {rates}; "
            f"a smaller optimizer.lr or a train.gradient-clip-norm may help."
        )
