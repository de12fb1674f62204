"""The networks that are measured: a backbone to probe, trained here or not, or one cut and finetuned."""

from __future__ import annotations

import copy
import logging
import time
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import NamedTuple

import torch
from accelerate import Accelerator
from jaxtyping import Float, Int
from torch import Tensor, nn

from pixpnet.backbones import Backbone, build_backbone
from pixpnet.config import Config, resolve_optimizer
from pixpnet.data import ClassificationImages, Sample, Splits, loader
from pixpnet.errors import ConfigError, PixPNetError
from pixpnet.files import write_atomically
from pixpnet.goldilocks.stages import LargestReader, Stage, StageReaders
from pixpnet.goldilocks.table import Weights
from pixpnet.seeds import seeded, stable_seed
from pixpnet.training import (
    ClassifierObjective,
    EpochMeter,
    EpochPlan,
    Learning,
    Loss,
    Objective,
    PooledClassifier,
    build_optimizer,
    classifier_groups,
    cross_entropy,
    fit,
    make_accelerator,
    plan_epochs,
    score,
    set_learning_rates,
    with_fitting_batch,
)

_logger = logging.getLogger(__name__)

LEARNING_RATE = 1e-3
"""Of Adam when finetuning, for all weights, constant: the original's."""

SMALLEST_BATCH = 2
"""Of finetuning: batch norm cannot train on one vector."""


def weights_of(config: Config) -> Weights:
    """Where the weights come from that the configuration asks for."""
    if config.train.backbone_epochs > 0:
        return "trained"
    return "pretrained" if config.model.pretrained or config.model.weights else "random"


def frozen_backbone(
    config: Config,
    stages: Sequence[Stage],
    images: ClassificationImages,
    *,
    num_classes: int,
    file: Path,
    workers: int = 0,
) -> Backbone:
    """The backbone up to the last of the stages, trained if the configuration says so; on its device.

    Args:
        config: Weights, epochs, optimizer, seed.
        stages: Of one backbone, in order.
        images: To train on.
        num_classes: Of the images.
        file: Where a trained backbone is kept after each epoch, and found again.
        workers: Loader processes.
    """
    accelerator, autocast_to = make_accelerator(config)
    assert config.seed is not None
    with seeded(config.seed, gpus=True):
        backbone = build_backbone(
            stages[-1].model,
            layer=stages[-1].name,
            pretrained=config.model.pretrained,
            weights=config.model.weights,
        )
        # Channels last makes convolutions faster on CPUs, too.
        backbone.to(accelerator.device, memory_format=torch.channels_last)  # pyright: ignore
        if config.train.backbone_epochs > 0:
            training = _Training(backbone, stages, config=config, num_classes=num_classes, file=file)
            training.restore()
            run_epoch = partial(training.run_epoch, images, accelerator, autocast_to, workers)
            while training.epoch < config.train.backbone_epochs:
                with_fitting_batch(run_epoch, config.train.batch_size)
                training.save()
    return backbone.requires_grad_(False).eval()


class _StagesObjective(Objective):
    """Mean cross-entropy over the stages; the logits are those of the last one."""

    weights = {"mean_xent": 1.0}  # noqa: RUF012

    def __init__(self, heads: nn.ModuleList) -> None:
        self.heads = heads

    def judge(
        self, model: nn.Module, batch: Sample
    ) -> tuple[dict[str, Float[Tensor, ""]], Float[Tensor, "b c"]]:
        largest = model(batch.image)
        logits = [head(values) for head, values in zip(self.heads, largest, strict=True)]
        losses = torch.stack([cross_entropy(some, batch) for some in logits])
        return {"mean_xent": losses.mean()}, logits[-1]


class _Training:
    """A backbone that learns through a passing linear head on the largest values of each stage.

    With a head at the end alone, a deep network learns next to nothing in the few epochs that there is time
    for, and its early layers serve the late ones only (Lee et al. 2015, Deeply-Supervised Nets). The largest
    value over the cells teaches one cell to tell the classes apart, as a prototype needs it, and the average
    does so much later.
    """

    def __init__(
        self, backbone: Backbone, stages: Sequence[Stage], *, config: Config, num_classes: int, file: Path
    ) -> None:
        device = next(backbone.parameters()).device
        self.backbone = backbone
        self.config = config
        self.num_classes = num_classes
        self.file = file
        self.epoch = 0
        whole = replace(config.train, epochs=config.train.backbone_epochs + 1)
        self.plans = plan_epochs(whole, config.optimizer)
        self.network = StageReaders(backbone, stages, [LargestReader() for _ in stages]).to(device)
        self.heads = nn.ModuleList(nn.Linear(stage.channels, num_classes) for stage in stages).to(device)
        self.groups = classifier_groups(backbone, self.heads, config.optimizer)
        self.optimizer = build_optimizer(
            resolve_optimizer(config.optimizer.name), self.groups, config.optimizer
        )

    def run_epoch(
        self,
        images: ClassificationImages,
        accelerator: Accelerator,
        autocast_to: torch.dtype | None,
        workers: int,
        batch_size: int,
    ) -> None:
        """One epoch; one that ran out of memory goes on from where it was, with all images again."""
        start = time.perf_counter()
        seed, options = self.config.seed or 0, self.config.train

        def begin(plan: EpochPlan) -> Learning:
            set_learning_rates(self.optimizer, self.groups, plan)
            return Learning(self.network.train(), _StagesObjective(self.heads), self.optimizer)

        (trained,) = fit(
            [self.plans[self.epoch]],
            begin,
            loader(
                images,
                batch_size=batch_size,
                shuffle=True,
                seed=seed,
                epoch=0,
                workers=workers,
                device=accelerator.device,
            ),
            num_classes=self.num_classes,
            seed=lambda plan: stable_seed(seed, self.backbone.name, plan.epoch - 1),
            accelerator=accelerator,
            autocast_to=autocast_to,
            clip_norm=options.gradient_clip_norm,
        )
        self.epoch += 1
        _logger.info(
            "%s: epoch %d/%d, loss %.3f, training accuracy of the last stage %.3f, %.0f s",
            *(self.backbone.name, self.epoch, options.backbone_epochs),
            *(trained.meter.total_loss, trained.meter.accuracy, time.perf_counter() - start),
        )

    def save(self) -> None:
        """Keep the weights, in a form that `model.weights` takes too, and what it needs to go on."""
        content = {
            "state_dict": self.backbone.state_dict(),
            "heads": self.heads.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "epoch": self.epoch,
        }
        write_atomically(self.file, lambda file: torch.save(content, file))

    def restore(self) -> None:
        """Go on from what was kept, if it was."""
        if not self.file.is_file():
            return
        content = torch.load(self.file, map_location="cpu", weights_only=True)
        self.backbone.load_state_dict(content["state_dict"])
        self.heads.load_state_dict(content["heads"])
        self.optimizer.load_state_dict(content["optimizer"])
        self.epoch = content["epoch"]


class Finetuned(NamedTuple):
    """What came of finetuning."""

    test_accuracy: float
    test_accuracy_top5: float
    batch_size: int
    """The one that fitted into memory in the end."""


class TopMeter(EpochMeter):
    """Also counts the images whose class is among the five likeliest."""

    def __init__(self, objective: Objective, num_classes: int, device: torch.device) -> None:
        super().__init__(objective, num_classes, device)
        self.in_top5 = torch.zeros((), dtype=torch.float64, device=device)

    @torch.no_grad()
    def update(self, loss: Loss, labels: Int[Tensor, "b"]) -> None:
        super().update(loss, labels)
        likeliest = loss.logits.topk(min(5, loss.logits.shape[1])).indices
        self.in_top5 += (likeliest == labels[:, None]).sum()

    @property
    def top5_accuracy(self) -> float:
        return float(self.in_top5 / self.count.sum())


def finetune_stage(
    backbone: Backbone,
    splits: Splits,
    *,
    seed: int,
    epochs: int,
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
        accelerator: The device; None: a GPU if there is one.
        autocast_to: Precision of training; None: float32.

    Raises:
        ConfigError: A batch of one image.
        PixPNetError: Not even two images fit into memory, or the loss is no longer finite.
    """
    if batch_size < SMALLEST_BATCH:
        raise ConfigError(
            f"train.batch-size {batch_size}: finetuning needs {SMALLEST_BATCH} images or more (batch norm)."
        )
    accelerator = accelerator or Accelerator(cpu=not torch.cuda.is_available(), mixed_precision="no")
    num_classes, device = len(splits.class_names), accelerator.device
    schedule = [
        EpochPlan(epoch, "backbone", 1.0, project=False, validate=False) for epoch in range(1, epochs + 1)
    ]
    place, objective = f"{backbone.name}/{backbone.layer}", ClassifierObjective()

    @seeded(seed, gpus=True)
    def train_and_test(size: int) -> Finetuned:
        if size < SMALLEST_BATCH:
            raise PixPNetError(
                f"{place} does not fit into memory, not even with batches of {SMALLEST_BATCH}."
            )
        model = PooledClassifier(
            copy.deepcopy(backbone), channels=backbone.out_channels, num_classes=num_classes
        )
        model = model.to(device).train()
        optimizer = torch.optim.Adam(model.parameters(), lr=LEARNING_RATE)
        batches = partial(loader, batch_size=size, seed=seed, epoch=0, workers=workers, device=device)
        for trained in fit(
            schedule,
            lambda plan: Learning(model, objective, optimizer),
            batches(splits.train, shuffle=True),
            num_classes=num_classes,
            seed=lambda plan: stable_seed(seed, plan.epoch),
            accelerator=accelerator,
            autocast_to=autocast_to,
        ):
            _logger.info(
                "%s: epoch %d/%d, loss %.3f, train accuracy %.3f",
                *(place, trained.plan.epoch, epochs, trained.meter.total_loss, trained.meter.accuracy),
            )
        top = TopMeter(objective, num_classes, device)
        score(model, objective, batches(splits.test, shuffle=False), accelerator=accelerator, meter=top)
        return Finetuned(top.accuracy, top.top5_accuracy, size)

    return with_fitting_batch(train_and_test, batch_size)
