"""CIFAR-10 (Krizhevsky 2009): from the Python batches to PNG files in the layout of CUB-200-2011.

The batches are pickles, which can run anything when they are loaded; this loads plain values and arrays only.
"""

from __future__ import annotations

import pickle
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import UInt8
from PIL import Image

from pixpnet.errors import DataError
from pixpnet.files import check_ordinary, whole_folder
from pixpnet.types import Progress, no_progress

BATCHES = "cifar-10-batches-py"
UNPACKED = "cifar-10-png"
_SPLITS = {**{f"data_batch_{number}": 1 for number in range(1, 6)}, "test_batch": 0}
"""Batches, and whether they are for training."""
_RECONSTRUCT = np.empty(0).__reduce__()[0]
_HARMLESS: Mapping[tuple[str, str], Any] = {
    ("numpy.core.multiarray", "_reconstruct"): _RECONSTRUCT,
    ("numpy._core.multiarray", "_reconstruct"): _RECONSTRUCT,
    ("numpy", "ndarray"): np.ndarray,
    ("numpy", "dtype"): np.dtype,
    ("_codecs", "encode"): lambda text, encoding: text.encode("latin1"),
}
"""What a pickled array names; the last stands for bytes."""


def unpack_cifar10(batches: Path, destination: Path, *, progress: Progress = no_progress) -> Path:
    """Write the images of a folder of batches as PNG files, as a whole or not at all.

    Args:
        batches: The folder `cifar-10-batches-py`.
        destination: New folder.
        progress: Told (images written, images in all).

    Raises:
        DataError: A batch is missing, damaged, or holds something else than images and labels.
    """
    names = _class_names(batches / "batches.meta")
    found = [(split, *_read_batch(batches / name, len(names))) for name, split in _SPLITS.items()]
    total = sum(len(labels) for _, _, labels in found)
    tables: dict[str, list[str]] = {
        "images.txt": [],
        "image_class_labels.txt": [],
        "train_test_split.txt": [],
        "classes.txt": [f"{number} {name}" for number, name in enumerate(names, start=1)],
    }
    with whole_folder(destination) as folder:
        for name in names:
            (folder / "images" / name).mkdir(parents=True)
        number = 0
        for split, pixels, labels in found:
            for values, label in zip(pixels, labels, strict=True):
                number += 1
                path = f"{names[label]}/{'train' if split else 'test'}_{number:05d}.png"
                Image.fromarray(values).save(folder / "images" / path)
                tables["images.txt"].append(f"{number} {path}")
                tables["image_class_labels.txt"].append(f"{number} {label + 1}")
                tables["train_test_split.txt"].append(f"{number} {split}")
                if number % 100 == 0 or number == total:
                    progress(number, total)
        for name, lines in tables.items():
            (folder / name).write_text("\n".join(lines) + "\n", encoding="utf-8")
    return destination


def _class_names(path: Path) -> list[str]:
    names = _load(path).get("label_names")
    if not isinstance(names, list) or not all(str(name).replace(" ", "").isalnum() for name in names):
        raise DataError(f"{path}: wanted `label_names`, a list of words.")
    return names


def _read_batch(path: Path, classes: int) -> tuple[UInt8[np.ndarray, "n 32 32 3"], list[int]]:
    content = _load(path)
    data, labels = content.get("data"), content.get("labels", ())
    if not isinstance(data, np.ndarray) or data.dtype != np.uint8 or data.shape[1:] != (3072,):
        raise DataError(f"{path}: wanted `data` with 3072 bytes for each image.")
    if len(labels) != len(data) or not all(label in range(classes) for label in labels):
        raise DataError(f"{path}: wanted `labels` with a class from 0 to {classes - 1} for each image.")
    return data.reshape(-1, 3, 32, 32).transpose(0, 2, 3, 1).copy(), labels


def _load(path: Path) -> Mapping[str, Any]:
    try:
        check_ordinary(path)
        with path.open("rb") as file:
            content = _PlainUnpickler(file, encoding="latin1").load()
    except FileNotFoundError:
        raise DataError(f"{path} is missing; wanted the Python version of CIFAR-10.") from None
    except Exception as error:  # a damaged pickle can raise anything
        raise DataError(f"{path} is damaged or no batch of CIFAR-10 ({error!r}); get it again.") from error
    if not isinstance(content, dict):
        raise DataError(f"{path} is no batch of CIFAR-10: wanted a dictionary, got {type(content).__name__}.")
    return content


class _PlainUnpickler(pickle.Unpickler):
    """Loads plain values and arrays."""

    def find_class(self, module_name: str, global_name: str) -> Any:
        if (module_name, global_name) not in _HARMLESS:
            raise pickle.UnpicklingError(f"{module_name}.{global_name} has no place in it")
        return _HARMLESS[module_name, global_name]
