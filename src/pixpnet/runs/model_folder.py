"""A model that stands alone: a folder of tensors, plain values and the prototypes' pictures, to share."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from pixpnet.errors import CheckpointError, FileError
from pixpnet.files import check_ordinary, read_mapping, sha256_of, write_json
from pixpnet.runs.checkpoint import Checkpoint, checkpoint_of
from pixpnet.runs.directory import MODEL_FILE
from pixpnet.types import PrototypeSource

DESCRIPTION = "config.json"
"""Beside the tensors: all that is no tensor."""

FORMAT = "pixpnet-model"
VERSION = 1

_OF_TRAINING: dict[str, Any] = {
    **{"step": 0, "seed": 0, "metrics_bytes": 0, "train_seconds": 0.0},
    **dict.fromkeys(("classifier", "optimizer", "best_accuracy", "best_checkpoint")),
}
"""What a checkpoint holds for training to go on, which a model has no use for."""


def write_model(
    folder: Path,
    network: Mapping[str, Tensor],
    sources: tuple[PrototypeSource, ...],
    values: Mapping[str, Any],
) -> None:
    """Write tensors and plain values into a folder.

    Args:
        folder: It is there.
        network: Its state.
        sources: Of the prototypes.
        values: The other fields of a `Checkpoint` that are none of training's, with the configuration as
            nested values in ``config``.
    """
    tensors = {name: tensor.detach().cpu().contiguous().clone() for name, tensor in network.items()}
    save_file(tensors, folder / MODEL_FILE, metadata={"format": "pt"})
    kept = [{**asdict(one), "box": [*one.box], "cell": [*one.cell]} for one in sources]
    head = {"format": FORMAT, "version": VERSION, "sha256": sha256_of(folder / MODEL_FILE)}
    write_json(folder / DESCRIPTION, {**head, **values, "sources": kept})


def read_model(file: Path) -> Checkpoint:
    """What `write_model` wrote; nothing of it is believed unchecked, and nothing runs.

    Args:
        file: That of the tensors; the rest lies beside it.

    Raises:
        CheckpointError: A file is missing, damaged or of something else.
    """
    try:
        content = read_mapping(file.with_name(DESCRIPTION))
        check_ordinary(file, most=math.inf)
        tensors, digest = load_file(file), sha256_of(file)
    except (FileError, SafetensorError, OSError) as error:
        raise CheckpointError(f"{file.parent} is no model: {error}") from error
    if (content.get("format"), content.get("version")) != (FORMAT, VERSION):
        raise CheckpointError(f"{file.parent} is no model of PixPNet, or of another version than {VERSION}.")
    if content.get("sha256") != digest:
        raise CheckpointError(f"{file} is not the file that {DESCRIPTION} beside it was written for.")
    # JSON is YAML, too.
    told = {"config_yaml": json.dumps(content.get("config")), "network": tensors}
    return checkpoint_of({**_OF_TRAINING, **content, **told}, file)
