"""Image data sets: reading, transforming, splitting and loading them.

>>> from pixpnet.data import find_dataset
>>> find_dataset("cub-200-224").image_size(None)
(224, 224)
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pixpnet.data.datasets import DATASETS, find_dataset, read_dataset
    from pixpnet.data.images import ClassificationImages, Sample, load_image
    from pixpnet.data.loading import EpochLoader, loader, worker_count
    from pixpnet.data.spec import DatasetSpec, Geometry, ImageSet, Normalization
    from pixpnet.data.splits import Splits, open_splits

__all__ = [
    "DATASETS",
    "ClassificationImages",
    "DatasetSpec",
    "EpochLoader",
    "Geometry",
    "ImageSet",
    "Normalization",
    "Sample",
    "Splits",
    "find_dataset",
    "load_image",
    "loader",
    "open_splits",
    "read_dataset",
    "worker_count",
]

# Loaded on first use, so that rendering SynthBirds or asking for a name does not wait for torch.
_HOMES = {
    "DATASETS": "datasets",
    "ClassificationImages": "images",
    "DatasetSpec": "spec",
    "EpochLoader": "loading",
    "Geometry": "spec",
    "ImageSet": "spec",
    "Normalization": "spec",
    "Sample": "images",
    "Splits": "splits",
    "find_dataset": "datasets",
    "load_image": "images",
    "loader": "loading",
    "open_splits": "splits",
    "read_dataset": "datasets",
    "worker_count": "loading",
}


def __getattr__(name: str) -> object:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
