"""Where a run stands, and its checkpoints: written after every epoch, read to go on."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

from pixpnet.config import config_to_yaml
from pixpnet.errors import PixPNetError
from pixpnet.modes import evaluating
from pixpnet.runs import Checkpoint, save_checkpoint
from pixpnet.training.averaging import restore_average
from pixpnet.training.stages import EpochPlan
from pixpnet.types import PrototypeSource

if TYPE_CHECKING:
    from pixpnet.training.run import Training


@dataclass
class Position:
    """Where a run stands."""

    epoch: int = 0
    step: int = 0
    best_accuracy: float | None = None
    best_checkpoint: str | None = None
    train_seconds: float = 0.0
    sources: tuple[PrototypeSource, ...] = ()


def checkpoint_of(run: Training) -> Checkpoint:
    """The state at the end of an epoch."""
    splits, position, learner = run.splits, run.position, run.learner
    return Checkpoint(
        config_yaml=config_to_yaml(run.config),
        class_names=tuple(splits.class_names),
        image_size=splits.image_size,
        mean=splits.mean,
        std=splits.std,
        network=run.network.state_dict(),
        sources=position.sources,
        epoch=position.epoch,
        step=position.step,
        classifier=None if learner.classifier is None else learner.classifier.head.state_dict(),
        optimizer=None if learner.optimizer is None else learner.optimizer.state_dict(),
        seed=run.seed,
        metrics_bytes=run.logs.metrics_bytes,
        best_accuracy=position.best_accuracy,
        best_checkpoint=position.best_checkpoint,
        train_seconds=position.train_seconds,
        average=None if run.average is None else run.average.state_dict(),
    )


def save(run: Training, plan: EpochPlan) -> None:
    """Write this epoch's checkpoint, then drop those that are neither the last nor the best.

    Raises:
        PixPNetError: if a weight, or what the network says, is no longer finite; nothing is written then.
    """
    if not run.main:
        return
    position, directory = run.position, run.directory
    if broken := _not_finite(run):
        raise PixPNetError(
            f"{broken} no longer finite after epoch {position.epoch}; a smaller optimizer.lr may "
            f"help. The last good checkpoint stays in {directory.checkpoints}."
        )
    path = directory.checkpoint_file(epoch=position.epoch, step=position.step)
    if run.config.train.checkpoint and plan.project:
        accuracy = run.logs.last("val_accuracy")
        assert accuracy is not None, "validation follows every projection"
        if position.best_accuracy is None or accuracy > position.best_accuracy:
            position.best_accuracy, position.best_checkpoint = accuracy, path.name
    save_checkpoint(checkpoint_of(run), path)
    for other in directory.checkpoint_files():
        if other != path and other.name != position.best_checkpoint:
            other.unlink()


@torch.no_grad()
def _not_finite(run: Training) -> str | None:
    """What is not finite, if anything is: no loss has seen the network after the last step of an epoch."""
    if not all(parameter.isfinite().all() for parameter in run.network.parameters()):
        return "Weights are"
    some = range(min(2, len(run.splits.projection)))
    images = torch.stack([run.splits.projection[index].image for index in some])
    with evaluating(run.network):
        logits = run.network(images.to(run.accelerator.device)).logits
    return None if logits.isfinite().all() else "The network's logits are"


def restore(run: Training, checkpoint: Checkpoint) -> None:
    """Put a freshly built run where the checkpoint was taken."""
    run.network.load_state_dict(checkpoint.network)
    run.position = Position(
        epoch=checkpoint.epoch,
        step=checkpoint.step,
        best_accuracy=checkpoint.best_accuracy,
        best_checkpoint=checkpoint.best_checkpoint,
        train_seconds=checkpoint.train_seconds,
        sources=checkpoint.sources,
    )
    if checkpoint.average is not None:
        run.average = restore_average(checkpoint.average, run.network)
    run.learner.restore(classifier=checkpoint.classifier, optimizer=checkpoint.optimizer)
