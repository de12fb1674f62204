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
    from pixpnet.data.check import DatasetCheck, check_dataset
    from pixpnet.data.cub import read_cub
    from pixpnet.data.datasets import (
        DATASETS,
        dataset_title,
        find_dataset,
        prepare,
        read_dataset,
        reading_of,
    )
    from pixpnet.data.decode import (
        FORMATS,
        PictureSource,
        is_picture,
        load_image,
        name_of,
        picture_format,
        picture_size,
        read_picture,
    )
    from pixpnet.data.features import (
        FeatureExtractor,
        FeatureImages,
        FeatureStore,
        fingerprint,
        keep_features,
    )
    from pixpnet.data.filing import array_of, file_pictures, items_of
    from pixpnet.data.images import (
        ClassificationImages,
        Draw,
        EpochBatches,
        EpochLoader,
        Sample,
        free_cores,
        loader,
        worker_count,
    )
    from pixpnet.data.listing import find_pictures
    from pixpnet.data.masks import load_mask, mask_fault, object_pixels
    from pixpnet.data.parts import (
        PartGroups,
        PartTruth,
        merge_sides,
        met,
        mirror_order,
        part_map,
        read_part_truth,
    )
    from pixpnet.data.shares import evenly_over_classes, hold_out, set_aside, turns_of
    from pixpnet.data.sheets import alike_sheet, annotated_sheet
    from pixpnet.data.sources import download, extract, find_root
    from pixpnet.data.spec import Archive, DatasetSpec, Geometry, ImageSet
    from pixpnet.data.splits import Splits, measure_normalization, open_splits, without_unreadable
    from pixpnet.data.transforms import (
        AnnotatedImage,
        annotate,
        box_in_picture,
        evaluation_transform,
        first_transform,
        map_in_picture,
        object_window,
        to_normalized,
        training_transform,
    )

__all__ = [
    "CACHES",
    "DATASETS",
    "FORMATS",
    "AnnotatedImage",
    "Archive",
    "ClassificationImages",
    "DatasetCheck",
    "DatasetSpec",
    "Draw",
    "EpochBatches",
    "EpochLoader",
    "FeatureExtractor",
    "FeatureImages",
    "FeatureStore",
    "Geometry",
    "ImageCache",
    "ImageSet",
    "PartGroups",
    "PartTruth",
    "PictureSource",
    "Sample",
    "Splits",
    "alike_sheet",
    "annotate",
    "annotated_sheet",
    "array_of",
    "box_in_picture",
    "check_dataset",
    "dataset_title",
    "download",
    "evaluation_transform",
    "evenly_over_classes",
    "extract",
    "file_pictures",
    "find_dataset",
    "find_pictures",
    "find_root",
    "fingerprint",
    "first_transform",
    "free_cores",
    "hold_out",
    "is_picture",
    "items_of",
    "keep_features",
    "load_image",
    "load_mask",
    "loader",
    "map_in_picture",
    "mask_fault",
    "measure_normalization",
    "merge_sides",
    "met",
    "mirror_order",
    "name_of",
    "object_pixels",
    "object_window",
    "open_splits",
    "part_map",
    "picture_format",
    "picture_size",
    "prepare",
    "read_cub",
    "read_dataset",
    "read_part_truth",
    "read_picture",
    "reading_of",
    "set_aside",
    "to_normalized",
    "training_transform",
    "turns_of",
    "without_unreadable",
    "worker_count",
]

# Loaded on first use, so that asking for a name or a table does not wait for torch.
_HOMES = {
    "cache": "CACHES ImageCache",
    "check": "DatasetCheck check_dataset",
    "cub": "read_cub",
    "datasets": "DATASETS dataset_title find_dataset prepare read_dataset reading_of",
    "decode": "FORMATS PictureSource is_picture load_image name_of picture_format picture_size read_picture",
    "features": "FeatureExtractor FeatureImages FeatureStore fingerprint keep_features",
    "filing": "array_of file_pictures items_of",
    "images": "ClassificationImages Draw EpochBatches EpochLoader Sample free_cores loader worker_count",
    "listing": "find_pictures",
    "masks": "load_mask mask_fault object_pixels",
    "parts": "PartGroups PartTruth merge_sides met mirror_order part_map read_part_truth",
    "sheets": "alike_sheet annotated_sheet",
    "shares": "evenly_over_classes hold_out set_aside turns_of",
    "sources": "download extract find_root",
    "spec": "Archive DatasetSpec Geometry ImageSet",
    "splits": "Splits measure_normalization open_splits without_unreadable",
    "transforms": "AnnotatedImage annotate box_in_picture evaluation_transform first_transform "
    "map_in_picture object_window to_normalized training_transform",
}
_HOME_OF = {name: home for home, names in _HOMES.items() for name in names.split()}


def __getattr__(name: str) -> object:
    if name not in _HOME_OF:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOME_OF[name]}"), name)
