"""The pieces of work of an experiment, each of which any process can do from the files of those before it."""

from __future__ import annotations

import logging
import time
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path

import safetensors.torch
import torch
from jaxtyping import Int
from safetensors import safe_open
from torch import Tensor

import pixpnet
from pixpnet.backbones import TiledBackbone, build_backbone
from pixpnet.config import Config, DatasetConfig
from pixpnet.data import ClassificationImages, Splits, find_dataset, hold_out, open_splits, worker_count
from pixpnet.errors import DataError
from pixpnet.files import write_atomically
from pixpnet.goldilocks.features import find_prototypes, read_images
from pixpnet.goldilocks.linear_probe import Accuracies, accuracies, probe
from pixpnet.goldilocks.networks import finetune_stage, frozen_backbone, weights_of
from pixpnet.goldilocks.stages import Stage
from pixpnet.goldilocks.table import Key, Mode, Readout, Row, Weights
from pixpnet.seeds import seeded
from pixpnet.training import features_in_place, make_execution

_logger = logging.getLogger(__name__)

VALIDATION_SHARE = 0.2
"""Share of the training images to choose λ on, where the data set has no validation images."""

_PARTS = {"train": 0, "validation": 1, "test": 2}


@dataclass(frozen=True)
class Job:
    """What all pieces of work of an experiment share."""

    config: Config
    mode: Mode
    epochs: int
    """What finetuning takes."""
    folder: Path
    """Where a piece of work leaves what others need."""
    jobs: int
    """Processes that share the machine."""

    @property
    def seed(self) -> int:
        assert self.config.seed is not None
        return self.config.seed

    @property
    def workers(self) -> int:
        """Loader processes of each piece of work."""
        given = self.config.dataset.workers
        return worker_count(self.jobs) if given is None else given

    def backbone_file(self, stage: Stage) -> Path:
        """Where a model that is trained is kept."""
        return self.folder / "backbones" / _file_name(stage.model, weights_of(self.config), self.seed, ".pt")

    def readings_file(self, stage: Stage) -> Path:
        """Where all is kept that is read in the pass over the images that reads this stage."""
        name = stage.model if stage.tile is None else f"{stage.model}--{stage.name}"
        return self.folder / "features" / _file_name(name, weights_of(self.config), self.seed, ".safetensors")

    def trained_file(self, row: Row) -> str | None:
        """File of the backbone that was trained for a row of this experiment's table, if it is there."""
        file = self.folder / "backbones" / _file_name(row.model, row.weights, row.seed, ".pt")
        return str(file.absolute()) if file.is_file() else None

    @property
    def image_size(self) -> tuple[int, int]:
        """(height, width) of the network's input."""
        dataset = self.config.dataset
        return find_dataset(dataset.name).image_size(dataset.size)

    def images(self) -> Splits:
        """The images that the work is done on."""
        config = self.config
        return open_images(config.dataset, self.seed, debug=config.debug, batch_size=config.train.batch_size)

    def key(self, stage: Stage, readout: Readout) -> Key:
        """The key of a row to come."""
        height, width = self.image_size
        return Key(
            model=stage.model,
            stage=stage.name,
            mode=self.mode,
            readout=readout,
            seed=self.seed,
            dataset=self.config.dataset.name,
            height=height,
            width=width,
            weights=weights_of(self.config),
        )

    def row(self, stage: Stage, accuracy: Accuracies, *, readout: Readout, seconds: float) -> Row:
        """The row of a result."""
        return Row(
            **self.key(stage, readout)._asdict(),
            stage_number=stage.number,
            test_accuracy=accuracy.top1,
            test_accuracy_top5=accuracy.top5,
            mean_rf=stage.mean_rf,
            max_rf=stage.max_rf,
            parameters=stage.parameters,
            macs=stage.macs,
            seconds=round(seconds, 3),
            version=pixpnet.__version__,
        )


def _file_name(model: str, weights: Weights, seed: int, suffix: str) -> str:
    return f"{model.replace('/', '--')}_{weights}_seed{seed}{suffix}"


@lru_cache(maxsize=1)  # the pieces of work that one process does share the images that it has decoded
def open_images(dataset: DatasetConfig, seed: int, *, debug: bool = False, batch_size: int = 32) -> Splits:
    """The data set, read once by each process; to debug, three batches of each split."""
    return open_splits(dataset, seed=seed, debug=debug, batch_size=batch_size)


def prepare_probe(job: Job, stages: tuple[Stage, ...]) -> list[Row]:
    """Read all images at all stages of one backbone, and keep what was read; no rows yet."""
    file = job.readings_file(stages[0])
    if file.is_file():
        return []
    splits = job.images()
    num_classes = len(splits.class_names)
    backbone = frozen_backbone(
        job.config,
        stages,
        splits.train,
        num_classes=num_classes,
        workers=job.workers,
        file=job.backbone_file(stages[0]),
    )
    if isinstance(backbone, TiledBackbone):
        _logger.info("Running %s on all tiles of %d pixels.", backbone.name, stages[0].tile)
        accelerator = make_execution(job.config).accelerator
        splits = features_in_place(
            job.config, splits, backbone, accelerator=accelerator, progress=lambda *_: None
        )
    batch_size = job.config.test.batch_size or job.config.train.batch_size
    prototypes = find_prototypes(
        backbone,
        stages,
        splits.projection,
        num_classes=num_classes,
        seed=job.seed,
        batch_size=batch_size,
        workers=job.workers,
    )
    images, part = _all_images(splits, seed=job.seed)
    readings = read_images(
        backbone, stages, images, prototypes=prototypes, batch_size=batch_size, workers=job.workers
    )
    tables = {"part": part, "labels": torch.tensor(images.labels)}
    for stage, reading in zip(stages, readings, strict=True):
        tables[f"{stage.number}.average"] = reading.averages.contiguous()
        tables[f"{stage.number}.prototypes"] = reading.similarities.contiguous()
    write_atomically(file, lambda opened: opened.write(safetensors.torch.save(tables)))
    return []


def probe_row(job: Job, stage: Stage, readout: Readout) -> list[Row]:
    """Fit and test the head of one stage on what `prepare_probe` kept."""
    start = time.perf_counter()
    with safe_open(job.readings_file(stage), framework="pt") as file:
        part, labels = file.get_tensor("part"), file.get_tensor("labels")
        features = file.get_tensor(f"{stage.number}.{readout}")
    if not features.isfinite().all():
        raise DataError(f"what {stage.model}/{stage.name} gives is not finite: its weights are no good.")
    is_test = part == _PARTS["test"]
    head = probe(
        features[~is_test],
        labels[~is_test],
        num_classes=int(labels.max()) + 1,
        is_validation=part[~is_test] == _PARTS["validation"],
    )
    accuracy = accuracies(head.logits(features[is_test]), labels[is_test])
    return [job.row(stage, accuracy, readout=readout, seconds=time.perf_counter() - start)]


def finetune_row(job: Job, stage: Stage) -> list[Row]:
    """Train and test the network cut at one stage."""
    start = time.perf_counter()
    splits = job.images()
    with seeded(job.seed):
        backbone = build_backbone(
            stage.model,
            layer=stage.name,
            pretrained=job.config.model.pretrained,
            weights=job.config.model.weights,
        )
    found = finetune_stage(
        backbone.to(memory_format=torch.channels_last),  # pyright: ignore[reportCallIssue]
        splits,
        seed=job.seed,
        epochs=job.epochs,
        batch_size=job.config.train.batch_size,
        workers=job.workers,
        execution=make_execution(job.config),
    )
    return [job.row(stage, found.accuracies, readout="average", seconds=time.perf_counter() - start)]


def _all_images(splits: Splits, *, seed: int) -> tuple[ClassificationImages, Int[Tensor, "n"]]:
    """Training, validation and test images without augmentation, and which of these each is.

    Where a data set has no validation images, some of the training images are marked as such.
    """
    training = splits.projection.records
    if splits.validation is not None:
        validation = splits.validation.records
    else:
        training, validation = hold_out(training, share=VALIDATION_SHARE, seed=seed)
    parts = (training, validation, splits.test.records)
    images = replace(splits.projection, records=tuple(record for records in parts for record in records))
    return images, torch.arange(3).repeat_interleave(torch.tensor([len(records) for records in parts]))
