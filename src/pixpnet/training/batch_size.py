"""The largest batch that fits into the memory of a GPU, found by trying."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING

import torch
from torch import nn

from pixpnet.data import Sample
from pixpnet.errors import ConfigError, PixPNetError
from pixpnet.modes import keeping_modes
from pixpnet.seeds import seeded
from pixpnet.training.learner import Learner
from pixpnet.training.loop import train_epoch
from pixpnet.training.memory import free_memory, is_out_of_memory
from pixpnet.training.stages import EpochPlan

if TYPE_CHECKING:
    from pixpnet.training.run import Training

_logger = logging.getLogger(__name__)


def require_gpu(device: torch.device) -> None:
    """Check that there is a limit to find.

    Raises:
        ConfigError: On a CPU.
    """
    if device.type == "cpu":
        raise ConfigError(
            "train.hparam-tune: needs a GPU, which refuses what does not fit; a CPU's memory has no such end "
            "(the machine swaps, or ends the process), and large batches are no faster there. "
            "Give train.batch-size."
        )


def find_batch_size(run: Training) -> int:
    """The largest batch size, up to the number of training images, that every process can train with.

    Every stage of the run is tried. Network and random state are afterwards as they were.

    Raises:
        PixPNetError: Not even one image fits.
    """
    images = len(run.splits.train.records) // run.accelerator.num_processes
    with _undisturbed(run.network), seeded(run.seed, gpus=True):
        found = largest_that_fits(
            lambda size: _fits(run, size), start=run.config.train.batch_size, limit=max(1, images)
        )
    of_all = run.accelerator.gather(torch.tensor([found], device=run.accelerator.device))
    assert isinstance(of_all, torch.Tensor)
    found = int(of_all.min())
    if found == 0:
        raise PixPNetError("train.hparam-tune: not even a batch of one image fits into the memory.")
    if run.main:
        _logger.info(
            "train.hparam-tune: train.batch-size %d fits (%d images to train on); learning rates stay",
            found,
            images,
        )
    return found


def largest_that_fits(fits: Callable[[int], bool], *, start: int, limit: int) -> int:
    """The largest size from 1 to the limit that fits, if all smaller ones do; 0: none does.

    Doubles from ``start`` until one doesn't fit, then halves the interval.
    """
    fitting, failing = 0, limit + 1
    size = min(start, limit)
    while failing - fitting > 1:
        if fits(size):
            fitting = size
        else:
            failing = size
        size = min(2 * fitting, limit) if failing > limit else (fitting + failing) // 2
    return fitting


def _fits(run: Training, size: int) -> bool:
    """Whether a batch of that size can be trained with in every stage."""
    fitted = True
    try:
        for plan in {plan.stage: plan for plan in run.plans}.values():
            _try_steps(run, plan, size)
    except (MemoryError, RuntimeError) as error:
        if not is_out_of_memory(error):
            raise
        fitted = False
    free_memory()
    return fitted


def _try_steps(run: Training, plan: EpochPlan, size: int) -> None:
    """Two steps with random images: in the second one the optimizer has its running means, too."""
    learner = Learner(run.network, run.backbone, config=run.config, accelerator=run.accelerator)
    optimizer = learner.enter(replace(plan, factor=0.0))
    # Gradients are averaged over processes in a copy of them.
    copies = [torch.empty_like(p) for p in learner.parameters] if run.accelerator.num_processes > 1 else []
    accumulate = min(2, run.config.train.accumulate_grad_batches or 1)
    batch = Sample(
        torch.rand(size, 3, *run.splits.image_size),
        torch.arange(size) % run.network.num_classes,
        torch.arange(size),
    )
    train_epoch(
        learner.step_function(learner.module),
        [batch] * (2 * accumulate),
        num_batches=2 * accumulate,
        model=learner.module,
        optimizer=optimizer,
        accelerator=run.accelerator,
        meter=run.meter(),
        accumulate=accumulate,
        autocast_to=run.autocast_to,
        clip_norm=run.config.train.gradient_clip_norm,
    )
    del copies


@contextmanager
def _undisturbed(network: nn.Module) -> Iterator[None]:
    """Weights, statistics, modes and what learns are as before afterwards; gradients are gone."""
    state = {name: tensor.cpu().clone() for name, tensor in network.state_dict().items()}
    learns = [(parameter, parameter.requires_grad) for parameter in network.parameters()]
    try:
        with keeping_modes(network):
            yield
    finally:
        network.load_state_dict(state)
        for parameter, requires_grad in learns:
            parameter.requires_grad_(requires_grad)
            parameter.grad = None
