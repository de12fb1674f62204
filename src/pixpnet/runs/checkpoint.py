"""Checkpoints: one dict of tensors and plain values, read without running any code that it may hold."""

from __future__ import annotations

import pickle
from dataclasses import MISSING, asdict, dataclass, fields
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import torch
from torch import Tensor

from pixpnet.errors import CheckpointError, FileError
from pixpnet.files import write_atomically
from pixpnet.types import Box, PrototypeSource

FORMAT = "pixpnet-checkpoint"
VERSION = 1


@dataclass(frozen=True)
class Checkpoint:
    """All that a run needs to go on, and all that a reader needs to use its network."""

    config_yaml: str
    """The run's configuration."""
    class_names: tuple[str, ...]
    image_size: tuple[int, int]
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    network: dict[str, Tensor]
    sources: tuple[PrototypeSource, ...]
    """One per prototype after a projection; empty while prototypes are free."""
    epoch: int
    step: int
    classifier: dict[str, Tensor] | None
    """The passing linear head of the backbone stage."""
    optimizer: dict[str, Any] | None
    seed: int
    """Every random number of epoch e follows from (seed, e): no other generator state exists."""
    metrics_bytes: int
    """Length of metrics.csv at the end of this epoch."""
    best_accuracy: float | None
    best_checkpoint: str | None
    """File name of the best projected network on validation, under train.checkpoint."""
    train_seconds: float
    average: dict[str, Tensor] | None = None
    """The running mean of train.stochastic-weight-averaging, until the network takes it over."""


REQUIRED = {field.name for field in fields(Checkpoint) if field.default is MISSING}
"""What every checkpoint holds; the rest came later, and may be missing."""


def save_checkpoint(checkpoint: Checkpoint, path: Path) -> None:
    """Write a checkpoint under a temporary name, then rename it.

    Raises:
        FileError: It can't be written (a full disk, say); a former version stays as it was.
    """
    values = {field: getattr(checkpoint, field) for field in Checkpoint.__dataclass_fields__}
    values["sources"] = [
        {**asdict(source), "box": tuple(source.box), "cell": tuple(source.cell)}
        for source in checkpoint.sources
    ]
    content = {"format": FORMAT, "version": VERSION, **values}
    try:
        write_atomically(path, lambda file: torch.save(content, file))
    except RuntimeError as error:  # so torch.save reports a full disk
        raise FileError(f"{path} could not be written: {error}.") from error


def load_checkpoint(path: str | Path) -> Checkpoint:
    """Read a checkpoint onto the CPU.

    Raises:
        CheckpointError: if the file is missing, damaged, not a checkpoint of this version, or holds
            anything but tensors and plain values.
    """
    path = Path(path)
    if not path.is_file():
        raise CheckpointError(f"{path}: no such checkpoint.")
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise CheckpointError(
            f"{path} is refused: it is no checkpoint, or holds more than tensors and plain values."
        ) from error
    except (RuntimeError, EOFError, BadZipFile, OSError, ValueError, KeyError) as error:
        raise CheckpointError(f"{path} is damaged or no checkpoint.") from error
    if not isinstance(content, dict) or content.get("format") != FORMAT:
        raise CheckpointError(
            f"{path} is not a PixPNet checkpoint (those of the original PixPNet can't be loaded)."
        )
    if content.get("version") != VERSION:
        raise CheckpointError(
            f"{path} has checkpoint version {content.get('version')}; this PixPNet reads version {VERSION}."
        )
    missing = sorted(REQUIRED - set(content))
    if missing:
        raise CheckpointError(f"{path} lacks {', '.join(missing)}.")
    values = {field: content[field] for field in Checkpoint.__dataclass_fields__ if field in content}
    try:
        values["sources"] = tuple(
            PrototypeSource(**{**source, "box": Box(*source["box"]), "cell": tuple(source["cell"])})
            for source in values["sources"]
        )
    except (TypeError, KeyError) as error:
        raise CheckpointError(f"{path}: its prototype sources are damaged ({error}).") from error
    for name in ("class_names", "image_size", "mean", "std"):
        values[name] = tuple(values[name])
    return Checkpoint(**values)
