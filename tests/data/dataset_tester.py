"""What every entry of the table of data sets must do, ours or an outsider's."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from real_layouts import (
    SYNSETS,
    write_cifar10,
    write_devkit,
    write_funnybirds,
    write_layout,
    write_lesions,
    write_tree,
)

from pixpnet.config import DatasetConfig
from pixpnet.data import DATASETS, find_dataset, loader, open_splits, read_dataset

Writer = Callable[[Path], object]
"""Writes a small copy of a set into the folder of a root, where people would put it."""

SMALL = {"SYNTHBIRDS": {"classes": 2, "train_images": 3, "test_images": 2, "size": 48}}
"""Options of an entry's small copy."""

LAYOUTS: dict[str, Writer] = {
    **dict.fromkeys(
        ("CUB200", "CUB200224", "CUB200BBOX", "CUB200224BBOX"),
        lambda root: write_layout(root / "CUB_200_2011"),
    ),
    "CARS224": lambda root: write_devkit(root / "cars224"),
    "CIFAR10": lambda root: write_cifar10(root / "cifar10"),
    "IMAGENET": lambda root: write_tree(root / "imagenet", ("train", "val"), ("n01", "n02"), 3),
    "IMAGENETTE": lambda root: write_tree(root / "imagenette", ("train", "val"), SYNSETS, 2),
    "SYNTHBIRDS": lambda root: None,
    "FUNNYBIRDS": lambda root: write_funnybirds(root / "funnybirds"),
    "CUB-LAYOUT": lambda root: write_layout(root / "cub-layout"),
    "FOLDER": lambda root: write_tree(root / "folder", ("train", "test"), ("ant", "cat"), 3),
    "CSV": lambda root: write_lesions(root / "csv"),
}


def check_entry(name: str, write: Writer, root: Path) -> None:
    """Write the small copy, and hold the entry of that name to what training and evaluation rely on."""
    spec = DATASETS[name]
    assert spec.name == name
    assert find_dataset("-".join(name.lower())) is spec
    write(root)
    config = DatasetConfig(name=name, root=str(root), val_size=0.25, **SMALL.get(name, {}))
    _check_records(config)
    _check_splits(config)


def _check_records(config: DatasetConfig) -> None:
    images = read_dataset(config)
    records = (*images.train, *images.test)
    assert (images.spec.name, read_dataset(config).class_names) == (config.name, images.class_names)
    assert (
        len({record.image_id for record in records})
        == len({record.path for record in records})
        == len(records)
    )
    assert {record.label for record in images.train} == set(range(images.num_classes))
    assert {record.label for record in images.test} <= set(range(images.num_classes))
    for record in records:
        assert images.root in record.path.parents
        width, height = Image.open(record.path).size
        if record.box is not None:
            assert 0 <= record.box.left < record.box.right <= width
            assert 0 <= record.box.top < record.box.bottom <= height
        assert (record.part_points is None) == (not images.part_names)
        if record.part_points is not None:
            assert record.part_points.shape == (len(images.part_names), 2)
            shown = record.part_points[record.part_visible]
            assert ((shown >= 0) & (shown < (width, height))).all()
    again = read_dataset(config)
    for one, other in zip(records, (*again.train, *again.test), strict=True):
        assert (one.image_id, one.path, one.label, one.box) == (
            other.image_id,
            other.path,
            other.label,
            other.box,
        )
        np.testing.assert_array_equal(one.part_points, other.part_points)


def _check_splits(config: DatasetConfig) -> None:
    splits, again = (open_splits(config, seed=3) for _ in range(2))
    parts = [part for part in (splits.train, splits.validation, splits.test) if part is not None]
    ids = [{record.image_id for record in part.records} for part in parts]
    assert sum(map(len, ids)) == len(set.union(*ids))
    assert splits.image_size == splits.image_set.spec.image_size(config.size)
    assert all(0 <= mean <= 1 and 0 < std <= 1 for mean, std in zip(*splits.normalization, strict=True))
    for part, other in ((splits.train, again.train), (splits.test, again.test)):
        options = {"batch_size": 4, "shuffle": part.augment, "seed": 3, "epoch": 1}
        for batch, same in zip(loader(part, **options), loader(other, **options), strict=True):
            assert batch.image.shape[1:] == (3, *splits.image_size)
            assert torch.isfinite(batch.image).all()
            assert torch.equal(batch.image, same.image)
            assert torch.equal(batch.index, same.index)
            labels = [part.records[index].label for index in batch.index.tolist()]
            assert labels == batch.label.tolist()
    assert splits.test.annotated(0).image.size == splits.image_size[::-1]
