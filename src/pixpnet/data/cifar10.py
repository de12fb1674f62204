"""CIFAR-10 (Krizhevsky 2009): from the Python batches to PNG files in the layout of CUB-200-2011.

The batches are pickles, which can run anything when they are loaded; this loads plain values and arrays only.
"""

from __future__ import annotations

import pickle
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Int, UInt8
from PIL import Image

from pixpnet.config import DatasetConfig
from pixpnet.data.spec import Archive, Progress
from pixpnet.errors import DataError
from pixpnet.folders import whole_folder

__all__ = ["BATCHES", "UNPACKED", "cifar10_archive", "unpack_cifar10"]

BATCHES, UNPACKED = "cifar-10-batches-py", "cifar-10-png"
_TRAINING = tuple(f"data_batch_{number}" for number in range(1, 6))
_RECONSTRUCT = np.empty(0).__reduce__()[0]
_HARMLESS: Mapping[tuple[str, str], Any] = {
    ("numpy.core.multiarray", "_reconstruct"): _RECONSTRUCT,
    ("numpy._core.multiarray", "_reconstruct"): _RECONSTRUCT,
    ("numpy", "ndarray"): np.ndarray,
    ("numpy", "dtype"): np.dtype,
    ("_codecs", "encode"): lambda text, encoding: text.encode("latin1"),
}
"""What a pickled array names; the last stands for bytes."""
_LARGEST = 200 * 2**20


def cifar10_archive(config: DatasetConfig) -> Archive:
    """The authors' archive, as torchvision knows it."""
    from torchvision.datasets import CIFAR10

    return Archive(url=CIFAR10.url, md5=CIFAR10.tgz_md5, folder=BATCHES, limit=10**9)


def unpack_cifar10(batches: Path, destination: Path, *, progress: Progress | None = None) -> Path:
    """Write the images of a folder of batches as PNG files, as a whole or not at all.

    Args:
        batches: The folder `cifar-10-batches-py`.
        destination: New folder.
        progress: Told (images written, images in all).

    Raises:
        DataError: A batch is missing, damaged, or holds something else than images and labels.
    """
    names = _class_names(batches / "batches.meta")
    parts = [(True, *_read_batch(batches / name, names)) for name in _TRAINING]
    parts.append((False, *_read_batch(batches / "test_batch", names)))
    total = sum(len(labels) for _, _, labels in parts)
    images, labels_table, split = [], [], []
    with whole_folder(destination) as folder:
        for name in names:
            (folder / "images" / name).mkdir(parents=True)
        for is_training, pixels, labels in parts:
            for values, label in zip(pixels, labels, strict=True):
                number = len(images) + 1
                path = f"{names[label]}/{'train' if is_training else 'test'}_{number:05d}.png"
                Image.fromarray(values).save(folder / "images" / path)
                images.append(f"{number} {path}")
                labels_table.append(f"{number} {label + 1}")
                split.append(f"{number} {int(is_training)}")
                if progress is not None and (number % 100 == 0 or number == total):
                    progress(number, total)
        tables = {
            "images.txt": images,
            "image_class_labels.txt": labels_table,
            "train_test_split.txt": split,
            "classes.txt": [f"{number} {name}" for number, name in enumerate(names, start=1)],
        }
        for name, lines in tables.items():
            (folder / name).write_text("\n".join(lines) + "\n", encoding="utf-8")
    return destination


def _read_batch(
    path: Path, names: tuple[str, ...]
) -> tuple[UInt8[np.ndarray, "n 32 32 3"], Int[np.ndarray, " n"]]:
    content = _load(path)
    data, labels = content.get("data"), content.get("labels")
    if not isinstance(data, np.ndarray) or data.dtype != np.uint8 or data.ndim != 2 or data.shape[1] != 3072:
        raise DataError(f"{path}: wanted `data` with 3072 bytes for each image.")
    if (
        not isinstance(labels, list)
        or not all(type(label) is int and 0 <= label < len(names) for label in labels)
        or len(labels) != len(data)
    ):
        raise DataError(f"{path}: wanted `labels` with a class from 0 to {len(names) - 1} for each image.")
    return data.reshape(-1, 3, 32, 32).transpose(0, 2, 3, 1).copy(), np.array(labels, dtype=np.int64)


def _class_names(path: Path) -> tuple[str, ...]:
    names = _load(path).get("label_names")
    if not isinstance(names, list) or not names or not all(_is_plain(name) for name in names):
        raise DataError(f"{path}: wanted `label_names`, a list of words.")
    return tuple(names)


def _is_plain(name: object) -> bool:
    """Whether a class's name can be a folder's name, too."""
    return isinstance(name, str) and name.replace(" ", "").replace("_", "").replace("-", "").isalnum()


def _load(path: Path) -> Mapping[str, Any]:
    try:
        if path.stat().st_size > _LARGEST:
            raise DataError(f"{path} has more than {_LARGEST // 2**20} MiB; it is no batch of CIFAR-10.")
        with path.open("rb") as file:
            content = _PlainUnpickler(file, encoding="latin1").load()
    except FileNotFoundError:
        raise DataError(f"{path} is missing; wanted the Python version of CIFAR-10.") from None
    except DataError:
        raise
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
