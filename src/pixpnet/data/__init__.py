"""Image data sets: reading, transforming, splitting and loading them.

>>> from pixpnet.data import find_dataset
>>> find_dataset("cub-200-224").image_size(None)
(224, 224)
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pixpnet.data.cache import CACHES, ImageCache
    from pixpnet.data.check import DatasetCheck, annotated_sheet, check_dataset
    from pixpnet.data.cub import read_cub
    from pixpnet.data.datasets import DATASETS, find_dataset, prepare, read_dataset
    from pixpnet.data.features import FeatureImages, FeatureStore, fingerprint, keep_features
    from pixpnet.data.folder import set_aside
    from pixpnet.data.images import (
        ClassificationImages,
        Draw,
        EpochBatches,
        EpochLoader,
        Sample,
        loader,
        worker_count,
    )
    from pixpnet.data.parts import (
        PartGroups,
        PartTruth,
        merge_sides,
        met,
        mirror_order,
        part_map,
        read_part_truth,
    )
    from pixpnet.data.pictures import load_image, load_mask, object_pixels
    from pixpnet.data.sources import download, extract, find_root
    from pixpnet.data.spec import Archive, DatasetSpec, Geometry, ImageSet
    from pixpnet.data.splits import Splits, evenly_over_classes, hold_out, measure_normalization, open_splits
    from pixpnet.data.transforms import (
        AnnotatedImage,
        annotate,
        evaluation_transform,
        first_transform,
        to_normalized,
        training_transform,
    )

__all__ = [
    "CACHES",
    "DATASETS",
    "AnnotatedImage",
    "Archive",
    "ClassificationImages",
    "DatasetCheck",
    "DatasetSpec",
    "Draw",
    "EpochBatches",
    "EpochLoader",
    "FeatureImages",
    "FeatureStore",
    "Geometry",
    "ImageCache",
    "ImageSet",
    "PartGroups",
    "PartTruth",
    "Sample",
    "Splits",
    "annotate",
    "annotated_sheet",
    "check_dataset",
    "download",
    "evaluation_transform",
    "evenly_over_classes",
    "extract",
    "find_dataset",
    "find_root",
    "fingerprint",
    "first_transform",
    "hold_out",
    "keep_features",
    "load_image",
    "load_mask",
    "loader",
    "measure_normalization",
    "merge_sides",
    "met",
    "mirror_order",
    "object_pixels",
    "open_splits",
    "part_map",
    "prepare",
    "read_cub",
    "read_dataset",
    "read_part_truth",
    "set_aside",
    "to_normalized",
    "training_transform",
    "worker_count",
]

# Loaded on first use, so that asking for a name or a table does not wait for torch.
_HOMES = {
    "cache": "CACHES ImageCache",
    "check": "DatasetCheck annotated_sheet check_dataset",
    "cub": "read_cub",
    "datasets": "DATASETS find_dataset prepare read_dataset",
    "features": "FeatureImages FeatureStore fingerprint keep_features",
    "folder": "set_aside",
    "images": "ClassificationImages Draw EpochBatches EpochLoader Sample loader worker_count",
    "parts": "PartGroups PartTruth merge_sides met mirror_order part_map read_part_truth",
    "pictures": "load_image load_mask object_pixels",
    "sources": "download extract find_root",
    "spec": "Archive DatasetSpec Geometry ImageSet",
    "splits": "Splits evenly_over_classes hold_out measure_normalization open_splits",
    "transforms": "AnnotatedImage annotate evaluation_transform first_transform to_normalized "
    "training_transform",
}
_HOME_OF = {name: home for home, names in _HOMES.items() for name in names.split()}


def __getattr__(name: str) -> object:
    if name not in _HOME_OF:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOME_OF[name]}"), name)
