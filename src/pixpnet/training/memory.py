"""Memory that runs out: how to tell, how to go on with smaller batches, and the largest batch that fits."""

from __future__ import annotations

import gc
import logging
import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import TypeVar

import torch
from accelerate.utils.memory import should_reduce_batch_size
from torch import Tensor, nn
from torch.func import functional_call

from pixpnet.config import Config
from pixpnet.data import Sample, Splits
from pixpnet.errors import ConfigError, PixPNetError
from pixpnet.memory import require_memory
from pixpnet.modes import keeping_modes
from pixpnet.prototypes import PrototypeNetwork
from pixpnet.seeds import seeded
from pixpnet.training.learner import Learner
from pixpnet.training.loop import Execution, train_epoch
from pixpnet.training.objective import EpochMeter
from pixpnet.training.plan import EpochPlan

_logger = logging.getLogger(__name__)
_Result = TypeVar("_Result")


def is_out_of_memory(error: Exception) -> bool:
    """Whether an error is that of a device, of torch's CPU allocator or of Python that has no room."""
    return isinstance(error, MemoryError | torch.OutOfMemoryError) or should_reduce_batch_size(error)


def with_fitting_batch(work: Callable[[int], _Result], batch_size: int) -> _Result:
    """What the work gives for the batch size, or for half of it, a quarter ... where memory runs out.

    Raises:
        PixPNetError: A single image does not fit.
    """
    while True:
        try:
            return work(batch_size)
        except (MemoryError, RuntimeError) as error:
            if not is_out_of_memory(error):
                raise
            reason = str(error).partition("\n")[0]
        if batch_size == 1:
            raise PixPNetError(f"Not even a batch of one image fits into memory: {reason}")
        batch_size //= 2
        _logger.warning("Out of memory: going on with batches of %d.", batch_size)
        _free_memory()


def _free_memory() -> None:
    """Give back what nothing refers to any more; once the error is gone, also what its traceback held."""
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()


def require_step(network: PrototypeNetwork, config: Config, splits: Splits, *, cells: int) -> None:
    """Check that a step of training fits into the memory of a CPU's machine.

    Counted is what has to be there at once: weights and gradients, a batch, what the backbone keeps of it for
    the way back, and the distance of each patch to each prototype.

    Args:
        network: As it begins.
        config: Of the run.
        splits: What it learns from.
        cells: Of an image's feature grid.

    Raises:
        ConfigError: It does not fit.
    """
    weights = sum(parameter.numel() for parameter in network.parameters())
    backbone, size = network.backbone, min(config.train.batch_size, len(splits.train.records))
    of_image: float
    if config.train.freeze_backbone:
        of_image = 4 * cells * int(backbone.out_channels)  # pyright: ignore[reportArgumentType]
    else:
        of_image = 4 * 3 * math.prod(splits.image_size) + _kept_of_image(backbone, splits.image_size)
    of_image += 4 * cells * (network.num_prototypes + config.model.prototype_dim)
    if config.train.precision == "bf16":
        of_image /= 2
    require_memory(2 * 4 * weights + size * of_image, f"a step of training with batches of {size:,} images")


def _kept_of_image(backbone: nn.Module, image_size: tuple[int, int]) -> float:
    """Bytes that a backbone keeps of an image for the way back, as tensors without values tell it."""
    values: dict[str, Tensor] = {}
    for name, tensor in (*backbone.named_parameters(), *backbone.named_buffers()):
        values[name] = torch.empty_like(tensor, device="meta").requires_grad_(tensor.requires_grad)
    own = {tensor.untyped_storage()._cdata for tensor in values.values()}
    kept: dict[int, int] = {}

    def keep(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        kept[storage._cdata] = 0 if storage._cdata in own else storage.nbytes()
        return tensor

    images = torch.empty(2, 3, *image_size, device="meta")
    try:
        with keeping_modes(backbone), torch.autograd.graph.saved_tensors_hooks(keep, lambda kept: kept):
            _features = functional_call(backbone.train(), values, (images,))
    except (RuntimeError, NotImplementedError) as error:
        _logger.debug("what %s keeps is not known: %s", type(backbone).__name__, error)
    return sum(kept.values()) / len(images)


def require_gpu(device: torch.device) -> None:
    """Check that there is a limit to find.

    Raises:
        ConfigError: On a CPU.
    """
    if device.type == "cpu":
        raise ConfigError(
            "train.hparam-tune: needs a GPU, which refuses what does not fit; on a CPU trying finds no limit "
            "(the machine swaps, or ends the process), and large batches are no faster there. "
            "Give train.batch-size."
        )


def find_batch_size(
    network: PrototypeNetwork,
    plans: Sequence[EpochPlan],
    *,
    config: Config,
    splits: Splits,
    execution: Execution,
) -> int:
    """The largest batch size, up to the number of training images, that every process can train with.

    Every stage of the plans is tried. Network and random state are afterwards as they were.

    Raises:
        PixPNetError: Not even one image fits.
    """

    def fits(size: int) -> bool:
        fitted = True
        labels = torch.arange(size)
        try:
            batch = Sample(torch.rand(size, 3, *splits.image_size), labels % network.num_classes, labels)
            for plan in {plan.stage: plan for plan in plans}.values():
                _try_steps(Learner(network, config=config, accelerator=accelerator), plan, batch, execution)
        except (MemoryError, RuntimeError) as error:
            if not is_out_of_memory(error):
                raise
            fitted = False
        _free_memory()
        return fitted

    accelerator = execution.accelerator
    limit = max(1, len(splits.train.records) // accelerator.num_processes)
    assert config.seed is not None
    with _undisturbed(network), seeded(config.seed, gpus=True):
        found = largest_that_fits(fits, start=config.train.batch_size, limit=limit)
    of_all = accelerator.gather(torch.tensor([found], device=accelerator.device))
    assert isinstance(of_all, torch.Tensor)
    found = int(of_all.min())
    if found == 0:
        raise PixPNetError("train.hparam-tune: not even a batch of one image fits into the memory.")
    if accelerator.is_main_process:
        _logger.info(
            "train.hparam-tune: train.batch-size %d fits (%d images to train on); learning rates stay",
            found,
            limit,
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


def _try_steps(learner: Learner, plan: EpochPlan, batch: Sample, execution: Execution) -> None:
    """Two steps with random images: in the second one the optimizer has its running means, too."""
    accelerator = execution.accelerator
    learning = learner.enter(replace(plan, factor=0.0))
    # Gradients are averaged over processes in a copy of them.
    copies = [torch.empty_like(p) for p in learner.parameters] if accelerator.num_processes > 1 else []
    accumulate = min(2, execution.accumulate)
    train_epoch(
        learning,
        [batch] * (2 * accumulate),
        num_batches=2 * accumulate,
        meter=EpochMeter(learning.objective, learner.network.num_classes, accelerator.device),
        execution=replace(execution, accumulate=accumulate),
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
