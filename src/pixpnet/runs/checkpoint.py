"""Checkpoints: one dict of tensors and plain values, read without running any code that it may hold."""

from __future__ import annotations

import math
import os
import pickle
import re
import reprlib
import struct
from collections.abc import Callable, Mapping, Sequence
from dataclasses import MISSING, asdict, dataclass, fields
from pathlib import Path
from typing import IO, Any
from zipfile import ZIP_STORED, BadZipFile, ZipFile

import torch
from torch import Tensor

from pixpnet.config import SIDE
from pixpnet.errors import CheckpointError, ConfigError, FileError
from pixpnet.files import write_atomically
from pixpnet.records import checked
from pixpnet.runs.directory import CHECKPOINT_NAME
from pixpnet.runs.edits import Edit
from pixpnet.types import PrototypeSource
from pixpnet.words import visible

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
    edits: tuple[Edit, ...] = ()
    """What was done by hand to the trained network's prototypes."""


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
    if checkpoint.edits:
        values["edits"] = [edit.plain() for edit in checkpoint.edits]
    else:
        del values["edits"]
    content = {"format": FORMAT, "version": VERSION, **values}
    try:
        write_atomically(path, lambda file: torch.save(content, file))
    except RuntimeError as error:  # so torch.save reports a full disk
        raise FileError(f"{path} could not be written: {error}.") from error


def load_checkpoint(path: str | Path) -> Checkpoint:
    """Read a checkpoint onto the CPU, and check all that can be told to be wrong by itself.

    Raises:
        CheckpointError: if the file is missing, damaged (by one bit, too), compressed, not a checkpoint of
            this version, or holds anything but the tensors and plain values that it should.
    """
    path = Path(path)
    if not path.is_file():
        raise CheckpointError(f"{path}: no such checkpoint.")
    return checkpoint_of(_saved(path), path)


def _saved(path: Path) -> dict[str, Any]:
    """What a file of `save_checkpoint` holds; raises CheckpointError."""
    try:
        with path.open("rb") as file:
            _check_archive(file)
            content = torch.load(file, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise CheckpointError(
            f"{path} is refused: it is no checkpoint, or holds more than tensors and plain values."
        ) from error
    except (RuntimeError, EOFError, BadZipFile, OSError, ValueError, LookupError, struct.error) as error:
        raise CheckpointError(f"{path} is damaged or no checkpoint.") from error
    if not isinstance(content, dict) or content.get("format") != FORMAT:
        raise CheckpointError(
            f"{path} is not a PixPNet checkpoint (those of the original PixPNet can't be loaded)."
        )
    if content.get("version") != VERSION:
        raise CheckpointError(
            f"{path} has checkpoint version {_shown(content.get('version'))}; this PixPNet reads version "
            f"{VERSION}."
        )
    return content


def checkpoint_of(content: Mapping[str, Any], path: Path) -> Checkpoint:
    """The fields of a checkpoint, every one held against what it should be.

    Args:
        content: What a file holds; names that are none of a checkpoint's are passed over.
        path: That file, for messages.

    Raises:
        CheckpointError: It is not so.
    """
    missing = sorted(REQUIRED - set(content))
    if missing:
        raise CheckpointError(f"{path} lacks {', '.join(missing)}.")
    values = {field: content[field] for field in Checkpoint.__dataclass_fields__ if field in content}
    for name, (wanted, holds) in _RULES.items():
        if name in values and not holds(values[name]):
            raise CheckpointError(f"{path}: its {name} should be {wanted}, and is {_shown(values[name])}.")
    for name in ("network", "classifier", "average"):
        for tensor, value in (values.get(name) or {}).items():
            if fault := _tensor_fault(value):
                raise CheckpointError(f"{path}: {_shown(tensor)} of its {name} {fault}.")
    for name in ("class_names", "image_size", "mean", "std"):
        values[name] = tuple(values[name])
    values["sources"] = tuple(
        _source(path, number, source, values["class_names"])
        for number, source in enumerate(values["sources"])
    )
    try:
        values["edits"] = checked(tuple[Edit, ...], values.get("edits", ()), "its edits")
        for edit in values["edits"]:
            edit.check()
    except (ValueError, ConfigError) as error:
        raise CheckpointError(f"{path}: {error}") from error
    return Checkpoint(**values)


def _check_archive(file: IO[bytes]) -> None:
    """What torch.load takes on trust: every checksum, and that nothing in the file is larger than the file.

    Raises:
        BadZipFile: It is not so.
    """
    size = file.seek(0, os.SEEK_END)
    with ZipFile(file) as archive:
        entries = archive.infolist()
        if (
            any(one.compress_type != ZIP_STORED for one in entries)
            or sum(one.file_size for one in entries) > size
        ):
            raise BadZipFile("compressed, as no checkpoint is")
        if archive.testzip() is not None:
            raise BadZipFile("a checksum is wrong")
    file.seek(0)


def _is_whole(value: object) -> bool:
    return type(value) is int and value >= 0


def _is_number(value: object) -> bool:
    return type(value) in (int, float) and math.isfinite(value)  # pyright: ignore[reportArgumentType]


def _are(values: object, length: int, holds: Callable[[Any], bool]) -> bool:
    return isinstance(values, (list, tuple)) and len(values) == length and all(map(holds, values))


def _are_names(values: object) -> bool:
    return isinstance(values, (list, tuple)) and bool(values) and all(isinstance(one, str) for one in values)


def _is_state(value: object) -> bool:
    return isinstance(value, dict) and all(isinstance(name, str) for name in value)


def _or_none(holds: Callable[[Any], bool]) -> Callable[[Any], bool]:
    return lambda value: value is None or holds(value)


_WHOLE = ("a whole number ≥ 0", _is_whole)

_RULES: dict[str, tuple[str, Callable[[Any], bool]]] = {
    "config_yaml": ("text", lambda value: isinstance(value, str)),
    "class_names": ("a list of one or more texts", _are_names),
    "image_size": (
        f"two whole numbers {SIDE}",
        lambda value: _are(value, 2, lambda side: _is_whole(side) and SIDE.holds(side)),
    ),
    "mean": ("three finite numbers", lambda value: _are(value, 3, _is_number)),
    "std": ("three numbers > 0", lambda value: _are(value, 3, lambda one: _is_number(one) and one > 0)),
    "network": ("tensors by their names", _is_state),
    "sources": ("a list of prototypes' sources", lambda value: isinstance(value, (list, tuple))),
    "epoch": _WHOLE,
    "step": _WHOLE,
    "classifier": ("None, or tensors by their names", _or_none(_is_state)),
    "optimizer": ("None, or an optimizer's state", _or_none(lambda value: isinstance(value, dict))),
    "seed": _WHOLE,
    "metrics_bytes": _WHOLE,
    "best_accuracy": ("None, or a finite number", _or_none(_is_number)),
    "best_checkpoint": (
        "None, or the name of a checkpoint beside it",
        _or_none(lambda value: isinstance(value, str) and CHECKPOINT_NAME.fullmatch(value) is not None),
    ),
    "train_seconds": ("a number ≥ 0", lambda value: _is_number(value) and value >= 0),
    "average": ("None, or tensors by their names", _or_none(_is_state)),
}
"""Field of a checkpoint -> what it should be, in words and as a test."""


def _source(path: Path, number: int, source: object, class_names: Sequence[str]) -> PrototypeSource:
    """The source of the prototype of that number.

    Raises:
        CheckpointError: It is none.
    """
    what = f"the source of prototype {number}"
    try:
        if not isinstance(source, dict):
            raise ValueError(f"{what} should be names and values, and is {_shown(source)}")
        found: PrototypeSource = checked(PrototypeSource, source, what)
        if min(found.cell) < 0:
            raise ValueError(f"{what} has a damaged cell: {found.cell}")
        if not re.fullmatch("[0-9a-f]{64}", found.sha256):
            raise ValueError(f"{what} has a damaged sha256: {_shown(found.sha256)}")
    except ValueError as error:
        raise CheckpointError(f"{path}: {error}.") from error
    label, name = found.label, found.class_name
    if found.prototype != number or not 0 <= label < len(class_names) or class_names[label] != name:
        raise CheckpointError(
            f"{path}: {what} is said to be that of prototype {found.prototype} and of class {label}, "
            f"{_shown(name)}; there are {len(class_names)} classes."
        )
    return found


def _tensor_fault(value: object) -> str | None:
    """What is wrong with a tensor of a saved network."""
    if not isinstance(value, Tensor):
        return f"should be a tensor, and is {_shown(value)}"
    if (
        value.layout is not torch.strided
        or value.device.type != "cpu"
        or value.is_quantized
        or value.is_complex()
    ):
        return "should be an ordinary tensor of real numbers"
    if value.numel() * value.itemsize > value.untyped_storage().nbytes():
        return f"has the shape {tuple(value.shape)}, but not as many values"
    if value.is_floating_point() and not value.isfinite().all():
        return "has values that are not finite"
    return None


def _shown(value: object) -> str:
    """A value in a message, however long or odd it is."""
    return type(value).__name__ if isinstance(value, (dict, Tensor)) else visible(reprlib.repr(value))
