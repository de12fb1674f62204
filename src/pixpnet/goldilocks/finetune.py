"""A backbone cut at a stage, trained as a whole: average pooling and one linear layer on top."""

from __future__ import annotations

import copy
import logging
from dataclasses import dataclass
from functools import partial

import torch
from accelerate import Accelerator
from jaxtyping import Float, Int
from torch import Tensor

from pixpnet.backbones import Backbone
from pixpnet.data import Splits, loader
from pixpnet.errors import ConfigError, PixPNetError
from pixpnet.goldilocks.memory import with_fitting_batch
from pixpnet.seeds import seeded, stable_seed
from pixpnet.training.loop import evaluate, train_epoch
from pixpnet.training.measures import EpochMeter, LossTerms, classifier_terms
from pixpnet.training.setup import PooledClassifier

_logger = logging.getLogger(__name__)

LEARNING_RATE = 1e-3
"""Of Adam, for all weights, constant: the original's."""

SMALLEST_BATCH = 2
"""Batch norm cannot train on one vector."""


@dataclass(frozen=True)
class Finetuned:
    """What came of it."""

    test_accuracy: float
    test_accuracy_top5: float
    batch_size: int
    """The one that fitted into memory in the end."""


class TopMeter(EpochMeter):
    """Also counts the images whose class is among the five likeliest."""

    def __init__(self, num_classes: int, device: torch.device) -> None:
        super().__init__(num_classes, device)
        self.in_top5 = torch.zeros((), dtype=torch.float64, device=device)

    @torch.no_grad()
    def update(self, terms: LossTerms, logits: Float[Tensor, "b c"], labels: Int[Tensor, "b"]) -> None:
        super().update(terms, logits, labels)
        likeliest = logits.topk(min(5, logits.shape[1])).indices
        self.in_top5 += (likeliest == labels[:, None]).sum()

    @property
    def top5_accuracy(self) -> float:
        return float(self.in_top5 / self.count.sum())


def finetune_stage(
    backbone: Backbone,
    splits: Splits,
    *,
    seed: int,
    epochs: int = 10,
    batch_size: int = 32,
    workers: int | None = None,
    accelerator: Accelerator | None = None,
    autocast_to: torch.dtype | None = None,
) -> Finetuned:
    """Train a copy of the cut backbone with a linear head on its average, then test it.

    Adam at 1e-3, cross-entropy, the training images augmented as in any run. Where memory does not suffice,
    the batch is halved and training begun anew, so that the result is that of the batch size it tells.

    Args:
        backbone: With the weights to start from; it is not changed.
        splits: The data.
        seed: Draws the head, the order of the images and their augmentation.
        epochs: Passes over the training images.
        batch_size: Images per step.
        workers: Loader processes, as `dataset.workers`.
        accelerator: The device; none: a GPU if there is one.
        autocast_to: Precision of training; none: float32.

    Raises:
        ConfigError: A batch of one image.
        PixPNetError: Not even two images fit into memory, or the loss is no longer finite.
    """
    if batch_size < SMALLEST_BATCH:
        raise ConfigError(
            f"train.batch-size {batch_size}: finetuning needs {SMALLEST_BATCH} images or more (batch norm)."
        )
    accelerator = accelerator or Accelerator(cpu=not torch.cuda.is_available(), mixed_precision="no")

    def train_and_test(size: int) -> Finetuned:
        if size < SMALLEST_BATCH:
            raise PixPNetError(
                f"{_place(backbone)} does not fit into memory, not even with batches of {SMALLEST_BATCH}."
            )
        with seeded(seed, gpus=True):
            return _finetune(
                copy.deepcopy(backbone),
                splits,
                seed=seed,
                epochs=epochs,
                batch_size=size,
                workers=workers,
                accelerator=accelerator,
                autocast_to=autocast_to,
            )

    return with_fitting_batch(train_and_test, batch_size)


def _finetune(
    backbone: Backbone,
    splits: Splits,
    *,
    seed: int,
    epochs: int,
    batch_size: int,
    workers: int | None,
    accelerator: Accelerator,
    autocast_to: torch.dtype | None,
) -> Finetuned:
    num_classes, device = len(splits.class_names), accelerator.device
    model = PooledClassifier(backbone, channels=backbone.out_channels, num_classes=num_classes)
    model = model.to(device).train()
    optimizer = torch.optim.Adam(model.parameters(), lr=LEARNING_RATE)

    def step(images: Float[Tensor, "b 3 H W"], labels: Int[Tensor, "b"]) -> tuple[LossTerms, Tensor]:
        logits = model(images)
        return classifier_terms(logits, labels), logits

    batches = partial(loader, batch_size=batch_size, seed=seed, epoch=0, workers=workers)
    training = batches(splits.train, shuffle=True)
    for epoch in range(1, epochs + 1):
        torch.manual_seed(stable_seed(seed, epoch))
        training.set_epoch(epoch)
        meter = EpochMeter(num_classes, device)
        train_epoch(
            step,
            training,
            num_batches=len(training),
            model=model,
            optimizer=optimizer,
            accelerator=accelerator,
            meter=meter,
            autocast_to=autocast_to,
            first_step=(epoch - 1) * len(training),
        )
        _logger.info(
            "%s: epoch %d/%d, loss %.3f, train accuracy %.3f",
            *(_place(backbone), epoch, epochs, meter.total_loss, meter.accuracy),
        )
    top = TopMeter(num_classes, device)
    evaluate(step, batches(splits.test, shuffle=False), modules=[model], accelerator=accelerator, meter=top)
    return Finetuned(top.accuracy, top.top5_accuracy, batch_size)


def _place(backbone: Backbone) -> str:
    return f"{backbone.name}/{backbone.layer}"
