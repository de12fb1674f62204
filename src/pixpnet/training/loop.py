"""One epoch of training, one pass of evaluation."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import nullcontext

import torch
from accelerate import Accelerator
from jaxtyping import Float, Int
from torch import Tensor, nn

from pixpnet.data import Sample
from pixpnet.errors import PixPNetError
from pixpnet.modes import evaluating
from pixpnet.training.measures import EpochMeter, LossTerms

Step = Callable[[Float[Tensor, "b 3 H W"], Int[Tensor, "b"]], tuple[LossTerms, Float[Tensor, "b c"]]]
"""From images and labels to the terms of the loss and the logits."""

CHECK_EVERY = 16
"""Steps between looks at the loss on a GPU, where each look waits for the device."""


def to_device(
    batches: Iterable[Sample], device: torch.device
) -> Iterator[tuple[Float[Tensor, "b 3 H W"], Int[Tensor, "b"], Int[Tensor, "b"]]]:
    """Images (channels last), labels and indices of each batch on the device."""
    for images, labels, indices in batches:
        assert isinstance(labels, Tensor)
        assert isinstance(indices, Tensor)
        yield (
            images.to(device, non_blocking=True, memory_format=torch.channels_last),
            labels.to(device, non_blocking=True),
            indices.to(device, non_blocking=True),
        )


def _check_finite(loss: Tensor, optimizer: torch.optim.Optimizer, *, step: int) -> None:
    if not torch.isfinite(loss):
        rates = ", ".join(f"{group['lr']:.3g}" for group in optimizer.param_groups)
        raise PixPNetError(
            f"The loss became {float(loss)} at step {step} with the learning rates {rates}; "
            f"a smaller optimizer.lr or a train.gradient-clip-norm may help."
        )


def train_epoch(
    step_function: Step,
    batches: Iterable[Sample],
    *,
    num_batches: int,
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    accelerator: Accelerator,
    meter: EpochMeter,
    autocast_to: torch.dtype | None,
    accumulate: int = 1,
    clip_norm: float | None = None,
    first_step: int = 0,
    on_step: Callable[[EpochMeter], None] | None = None,
) -> int:
    """Train on every batch once; returns the number of optimizer steps.

    The batches of an accumulated step weigh the same, also those of a shorter last one. clip_norm: of the
    gradients of all that the optimizer changes. first_step: how many steps came before, for the error.

    Raises:
        PixPNetError: if the loss is no longer finite.
    """
    steps = 0
    learning = [parameter for entry in optimizer.param_groups for parameter in entry["params"]]
    check_every = 1 if accelerator.device.type == "cpu" else CHECK_EVERY
    for number, (images, labels, _) in enumerate(to_device(batches, accelerator.device)):
        group = min(accumulate, num_batches - number // accumulate * accumulate)
        last = number % accumulate == group - 1
        if number % accumulate == 0:
            optimizer.zero_grad()
        with nullcontext() if last else accelerator.no_sync(model):
            with torch.autocast(accelerator.device.type, autocast_to, enabled=autocast_to is not None):
                terms, logits = step_function(images, labels)
            accelerator.backward(terms.total / group)
        meter.update(LossTerms(*(term.detach() for term in terms)), logits.detach(), labels)
        if number % check_every == 0 or number == num_batches - 1:
            _check_finite(meter.terms[-1], optimizer, step=first_step + steps + 1)
        if last:
            if clip_norm is not None:
                accelerator.clip_grad_norm_(learning, clip_norm)
            optimizer.step()
            steps += 1
        if on_step is not None:
            on_step(meter)
    return steps


@torch.no_grad()
def evaluate(
    step_function: Step,
    batches: Iterable[Sample],
    *,
    modules: Iterable[nn.Module],
    accelerator: Accelerator,
    meter: EpochMeter,
) -> EpochMeter:
    """Losses and accuracies over all processes' batches, in eval mode and float32."""
    with evaluating(*modules):
        for images, labels, _ in to_device(batches, accelerator.device):
            terms, logits = step_function(images, labels)
            meter.update(terms, logits, labels)
    meter.gather(accelerator)
    return meter
