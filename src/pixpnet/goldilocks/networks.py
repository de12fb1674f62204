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
from torch import nn

from pixpnet.backbones import Backbone, TiledBackbone, build_backbone, build_tiled, usual_tile_input
from pixpnet.config import Config, resolve_optimizer
from pixpnet.data import ClassificationImages, Splits, loader
from pixpnet.errors import ConfigError, PixPNetError
from pixpnet.files import write_atomically
from pixpnet.goldilocks.linear_probe import Accuracies, accuracies
from pixpnet.goldilocks.stages import LargestReader, Stage, StageReaders
from pixpnet.goldilocks.table import Weights
from pixpnet.modes import evaluating
from pixpnet.seeds import seeded, stable_seed
from pixpnet.training import (
    Batch,
    ClassifierObjective,
    EpochPlan,
    Execution,
    Judgement,
    Learning,
    Objective,
    PooledClassifier,
    TrainedEpoch,
    build_optimizer,
    classifier_groups,
    cross_entropy,
    make_execution,
    plan_epochs,
    set_learning_rates,
    to_device,
    train_epochs,
    with_fitting_batch,
)

_logger = logging.getLogger(__name__)

LEARNING_RATE = 1e-3
"""The rate of Adam when finetuning, for all weights, constant: the original's."""

SMALLEST_BATCH = 2
"""Batch norm cannot train on one vector."""


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
) -> Backbone | TiledBackbone:
    """The backbone up to the last of its stages, trained if the configuration says so; on its device.

    A trained one is kept in the file after each epoch, and found there again.
    """
    execution = make_execution(config)
    assert config.seed is not None
    with seeded(config.seed, gpus=True):
        backbone = _build(stages[-1], config)
        # Channels last makes convolutions faster on CPUs, too.
        backbone.to(execution.accelerator.device, memory_format=torch.channels_last)  # pyright: ignore
        if isinstance(backbone, Backbone) and config.train.backbone_epochs > 0:
            _train(
                backbone,
                stages,
                images,
                config=config,
                execution=replace(execution, accumulate=1),
                num_classes=num_classes,
                file=file,
                workers=workers,
            )
    return backbone.requires_grad_(False).eval()


def _build(stage: Stage, config: Config) -> Backbone | TiledBackbone:
    pretrained, weights = config.model.pretrained, config.model.weights
    if stage.tile is None:
        return build_backbone(stage.model, layer=stage.name, pretrained=pretrained, weights=weights)
    side = config.model.tile_input or usual_tile_input(stage.tile)
    return build_tiled(stage.model, tile=stage.tile, tile_input=side, pretrained=pretrained, weights=weights)


class _StagesObjective(Objective):
    """Mean cross-entropy over the stages; the logits are those of the last one."""

    weights = {"mean_xent": 1.0}  # noqa: RUF012

    def __init__(self, heads: nn.ModuleList) -> None:
        self.heads = heads

    def judge(self, model: nn.Module, batch: Batch) -> Judgement:
        logits = [head(values) for head, values in zip(self.heads, model(batch.images), strict=True)]
        losses = torch.stack([cross_entropy(some, batch) for some in logits])
        return {"mean_xent": losses.mean()}, logits[-1]


def _train(
    backbone: Backbone,
    stages: Sequence[Stage],
    images: ClassificationImages,
    *,
    config: Config,
    execution: Execution,
    num_classes: int,
    file: Path,
    workers: int,
) -> None:
    """Let a backbone learn through a passing linear head on the largest values of each stage.

    With a head at the end alone, a deep network learns next to nothing in the few epochs that there is time
    for, and its early layers serve the late ones only (Lee et al. 2015, Deeply-Supervised Nets). The largest
    value over the cells teaches one cell to tell the classes apart, as a prototype needs it, and the average
    does so much later.
    """
    device, seed, epochs = execution.accelerator.device, config.seed or 0, config.train.backbone_epochs
    network = StageReaders(backbone, stages, [LargestReader() for _ in stages]).to(device)
    heads = nn.ModuleList(nn.Linear(stage.channels, num_classes) for stage in stages).to(device)
    groups = classifier_groups(backbone, heads, config.optimizer)
    optimizer = build_optimizer(resolve_optimizer(config.optimizer.name), groups, config.optimizer)
    parts = {"state_dict": backbone, "heads": heads, "optimizer": optimizer}
    done = 0
    if file.is_file():  # it goes on from what was kept
        content = torch.load(file, map_location="cpu", weights_only=True)
        done = content["epoch"]
        for name, part in parts.items():
            part.load_state_dict(content[name])

    def begin(plan: EpochPlan) -> Learning:
        set_learning_rates(optimizer, groups, plan)
        return Learning(network.train(), _StagesObjective(heads), optimizer)

    batches = partial(loader, images, shuffle=True, seed=seed, epoch=0, workers=workers)
    for plan in plan_epochs(replace(config.train, epochs=epochs + 1), config.optimizer)[done:epochs]:
        start = time.perf_counter()

        def run_epoch(size: int, plan: EpochPlan = plan) -> TrainedEpoch:
            """One that ran out of memory goes on from where it was, with all images again."""
            (trained,) = train_epochs(
                [plan],
                begin,
                batches(batch_size=size),
                num_classes=num_classes,
                seed=lambda plan: stable_seed(seed, backbone.name, plan.epoch - 1),
                execution=execution,
            )
            return trained

        meter = with_fitting_batch(run_epoch, config.train.batch_size).meter
        _logger.info(
            "%s: epoch %d/%d, loss %.3f, training accuracy of the last stage %.3f, %.0f s",
            *(backbone.name, plan.epoch, epochs, meter.total_loss, meter.accuracy),
            time.perf_counter() - start,
        )
        # In a form that `model.weights` takes too, and what it needs to go on.
        kept = {**{name: part.state_dict() for name, part in parts.items()}, "epoch": plan.epoch}
        write_atomically(file, partial(torch.save, kept))


class Finetuned(NamedTuple):
    """What came of finetuning."""

    accuracies: Accuracies
    batch_size: int
    """The one that fitted into memory in the end."""


def finetune_stage(
    backbone: Backbone,
    splits: Splits,
    *,
    seed: int,
    epochs: int,
    batch_size: int = 32,
    workers: int | None = None,
    execution: Execution | None = None,
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
        execution: Device and precision; None: a GPU if there is one, float32.

    Raises:
        ConfigError: A batch of one image.
        PixPNetError: Not even two images fit into memory, or the loss is no longer finite.
    """
    if batch_size < SMALLEST_BATCH:
        raise ConfigError(
            f"train.batch-size {batch_size}: finetuning needs {SMALLEST_BATCH} images or more (batch norm)."
        )
    if execution is None:
        execution = Execution(Accelerator(cpu=not torch.cuda.is_available(), mixed_precision="no"))
    num_classes, device = len(splits.class_names), execution.accelerator.device
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
        batches = partial(loader, batch_size=size, seed=seed, epoch=0, workers=workers)
        for trained in train_epochs(
            schedule,
            lambda plan: Learning(model, objective, optimizer),
            batches(splits.train, shuffle=True),
            num_classes=num_classes,
            seed=lambda plan: stable_seed(seed, plan.epoch),
            execution=replace(execution, accumulate=1, clip_norm=None),
        ):
            _logger.info(
                "%s: epoch %d/%d, loss %.3f, train accuracy %.3f",
                *(place, trained.plan.epoch, epochs, trained.meter.total_loss, trained.meter.accuracy),
            )
        tested = to_device(batches(splits.test, shuffle=False), device)
        with torch.no_grad(), evaluating(model):
            logits, labels = zip(*((model(batch.images), batch.labels) for batch in tested), strict=True)
        return Finetuned(accuracies(torch.cat(logits), torch.cat(labels)), size)

    return with_fitting_batch(train_and_test, batch_size)
