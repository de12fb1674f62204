"""What a checkpoint holds of a run: written after every epoch, read to go on."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field, fields

import torch
from accelerate import Accelerator
from jaxtyping import Float
from torch import Tensor
from torch.optim.swa_utils import AveragedModel, update_bn

from pixpnet.data import Sample, Splits
from pixpnet.errors import CheckpointError, PixPNetError
from pixpnet.modes import evaluating
from pixpnet.prototypes import PrototypeNetwork
from pixpnet.runs import Checkpoint, RunDirectory, save_checkpoint
from pixpnet.training.learner import Learner
from pixpnet.training.loop import agree_on_buffers, to_device
from pixpnet.types import PrototypeSource


@dataclass
class Position:
    """Where a run stands; a checkpoint has fields of the same names."""

    epoch: int = 0
    step: int = 0
    best_accuracy: float | None = None
    best_checkpoint: str | None = None
    train_seconds: float = 0.0
    sources: tuple[PrototypeSource, ...] = ()


@dataclass
class TrainState:
    """What changes while a network is trained."""

    network: PrototypeNetwork
    learner: Learner
    """Its network is the same one, or with a frozen backbone the same one over features."""
    average: AveragedModel | None = None
    """The mean of the last epochs' weights (stochastic weight averaging, Izmailov et al., 2018)."""
    position: Position = field(default_factory=Position)

    def add_to_average(self) -> None:
        """Take the network's weights into the average."""
        if self.average is None:
            self.average = AveragedModel(self.network)
        self.average.update_parameters(self.network)

    def adopt_average(self, batches: Iterable[Sample], *, accelerator: Accelerator) -> None:
        """Give the network the averaged weights, in place, and batch norm the statistics that these make.

        The statistics are the means over the training batches: a mean of weights has none of its own.
        """
        assert self.average is not None
        self.network.load_state_dict(self.average.module.state_dict())
        update_bn((batch.images for batch in to_device(batches, accelerator.device)), self.learner.network)
        agree_on_buffers(self.network, accelerator)
        self.average = None

    def checkpoint(self, config_yaml: str, splits: Splits, *, seed: int, metrics_bytes: int) -> Checkpoint:
        """The state at the end of an epoch, and what a reader needs beside it."""
        classifier, optimizer = self.learner.classifier, self.learner.optimizer
        return Checkpoint(
            config_yaml=config_yaml,
            class_names=tuple(splits.class_names),
            image_size=splits.image_size,
            mean=splits.mean,
            std=splits.std,
            network=self.network.state_dict(),
            classifier=None if classifier is None else classifier.head.state_dict(),
            optimizer=None if optimizer is None else optimizer.state_dict(),
            average=None if self.average is None else self.average.state_dict(),
            seed=seed,
            metrics_bytes=metrics_bytes,
            **vars(self.position),
        )

    def restore(self, checkpoint: Checkpoint) -> None:
        """Put a freshly built state where the checkpoint was taken.

        Raises:
            CheckpointError: The checkpoint is of another network or optimizer.
        """
        self.position = Position(**{one.name: getattr(checkpoint, one.name) for one in fields(Position)})
        try:
            self.network.load_state_dict(checkpoint.network)
            if checkpoint.average is not None:
                self.average = AveragedModel(self.network)
                self.average.load_state_dict(checkpoint.average)
            self.learner.restore(classifier=checkpoint.classifier, optimizer=checkpoint.optimizer)
        except (RuntimeError, ValueError, TypeError, LookupError, AttributeError) as error:
            reason = " ".join(str(error).split())[:200]
            raise CheckpointError(
                f"The checkpoint of epoch {checkpoint.epoch} doesn't fit its own configuration: {reason}"
            ) from error

    def save(
        self,
        directory: RunDirectory,
        config_yaml: str,
        splits: Splits,
        *,
        seed: int,
        metrics_bytes: int,
        accuracy: float | None,
    ) -> None:
        """Write this epoch's checkpoint, then drop those that are neither the last nor the best.

        Args:
            directory: Where it goes.
            config_yaml: The run's configuration.
            splits: The run's images.
            seed: The run's.
            metrics_bytes: Length of metrics.csv.
            accuracy: On validation, of a network that may be the best; None: it may not.

        Raises:
            PixPNetError: A weight, or what the network says, is no longer finite; nothing is written then.
        """
        position = self.position
        some = [splits.projection[index].image for index in range(min(2, len(splits.projection)))]
        if broken := self._not_finite(torch.stack(some)):
            raise PixPNetError(
                f"{broken} no longer finite after epoch {position.epoch}; a smaller optimizer.lr may "
                f"help. The last good checkpoint stays in {directory.checkpoints}."
            )
        path = directory.checkpoint_file(epoch=position.epoch, step=position.step)
        if accuracy is not None and (position.best_accuracy is None or accuracy > position.best_accuracy):
            position.best_accuracy, position.best_checkpoint = accuracy, path.name
        checkpoint = self.checkpoint(config_yaml, splits, seed=seed, metrics_bytes=metrics_bytes)
        save_checkpoint(checkpoint, path)
        for other in directory.checkpoint_files():
            if other != path and other.name != position.best_checkpoint:
                other.unlink()

    @torch.no_grad()
    def _not_finite(self, images: Float[Tensor, "b _ _ _"]) -> str | None:
        """What is not finite, if anything is: no loss has seen the network after an epoch's last step."""
        if not all(parameter.isfinite().all() for parameter in self.network.parameters()):
            return "Weights are"
        network = self.learner.network
        with evaluating(network):
            logits = network(images.to(self.network.prototypes.device)).logits
        return None if logits.isfinite().all() else "The network's logits are"
