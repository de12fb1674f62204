"""The backbone that is probed: its published weights, those of a file, trained here, or random ones."""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

import torch
from accelerate import Accelerator
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn import functional

from pixpnet.backbones import Backbone, build_backbone
from pixpnet.config import Config, resolve_optimizer
from pixpnet.data import ClassificationImages, loader
from pixpnet.files import write_atomically
from pixpnet.goldilocks.memory import with_fitting_batch
from pixpnet.goldilocks.stages import LargestReader, StageReaders
from pixpnet.goldilocks.table import Weights
from pixpnet.goldilocks.tasks import Stage
from pixpnet.seeds import seeded, stable_seed
from pixpnet.training.loop import train_epoch
from pixpnet.training.measures import EpochMeter, LossTerms, classifier_terms
from pixpnet.training.optim import build_optimizer, classifier_groups, set_learning_rates
from pixpnet.training.setup import make_accelerator
from pixpnet.training.stages import plan_epochs

_logger = logging.getLogger(__name__)


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
    name, layer = stages[-1].model, stages[-1].name
    accelerator, autocast_to = make_accelerator(config)
    assert config.seed is not None
    with seeded(config.seed, gpus=True):
        backbone = build_backbone(
            name, layer=layer, pretrained=config.model.pretrained, weights=config.model.weights
        )
        # Channels last makes convolutions faster on CPUs, too.
        backbone.to(accelerator.device, memory_format=torch.channels_last)  # pyright: ignore
        if config.train.backbone_epochs == 0:
            return backbone.requires_grad_(False).eval()
        training = _Training(backbone, stages, config=config, num_classes=num_classes, file=file)
        training.restore()
        while training.epoch < config.train.backbone_epochs:
            torch.manual_seed(stable_seed(config.seed, name, training.epoch))
            with_fitting_batch(
                partial(training.run_epoch, images, accelerator, autocast_to, workers),
                config.train.batch_size,
            )
            training.save()
    return backbone.requires_grad_(False).eval()


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
        options = self.config.train
        set_learning_rates(self.optimizer, self.groups, self.plans[self.epoch])
        self.network.train()
        batches = loader(
            images,
            batch_size=batch_size,
            shuffle=True,
            seed=self.config.seed or 0,
            epoch=self.epoch + 1,
            workers=workers,
        )
        meter = EpochMeter(self.num_classes, accelerator.device)
        train_epoch(
            self._step,
            batches,
            num_batches=len(batches),
            model=self.network,
            optimizer=self.optimizer,
            accelerator=accelerator,
            meter=meter,
            autocast_to=autocast_to,
            clip_norm=options.gradient_clip_norm,
        )
        self.epoch += 1
        _logger.info(
            "%s: epoch %d/%d, loss %.3f, training accuracy of the last stage %.3f, %.0f s",
            *(self.backbone.name, self.epoch, options.backbone_epochs, meter.total_loss, meter.accuracy),
            time.perf_counter() - start,
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

    def _step(
        self, images: Float[Tensor, "b 3 H W"], labels: Int[Tensor, "b"]
    ) -> tuple[LossTerms, Float[Tensor, "b c"]]:
        """Mean cross-entropy over the stages, and the logits of the last one."""
        largest = self.network(images)
        logits = [head(values) for head, values in zip(self.heads, largest, strict=True)]
        losses = torch.stack([functional.cross_entropy(some.float(), labels) for some in logits])
        return classifier_terms(logits[-1], labels)._replace(total=losses.mean()), logits[-1]
