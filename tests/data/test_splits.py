"""Training, validation, projection and test images: who is in which, and how they are normalised."""

import logging
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from pixpnet.config import DatasetConfig
from pixpnet.data import evenly_over_classes, hold_out, measure_normalization, open_splits
from pixpnet.errors import ConfigError, DataError
from pixpnet.types import ImageRecord, Normalization


def config_of(root, **options):
    return DatasetConfig(**{"name": "cub-layout", "root": str(root), "size": 24, "val_size": 0.25, **options})


def ids(images):
    return [record.image_id for record in images.records]


def records_of(counts):
    return tuple(
        ImageRecord(f"{label}/{number}", Path("nowhere.png"), label)
        for label, count in enumerate(counts)
        for number in range(count)
    )


@given(
    counts=st.lists(st.integers(1, 40), min_size=1, max_size=8),
    share=st.floats(0, 0.95),
    seed=st.integers(0, 1000),
)
def test_the_held_out_share_is_that_of_every_class(counts, share, seed):
    records = records_of(counts)
    kept, held = hold_out(records, share=share, seed=seed)
    assert sorted(kept + held, key=records.index) == list(records)
    assert not set(map(id, kept)) & set(map(id, held))
    assert list(kept) == sorted(kept, key=records.index)
    of_class = Counter(record.label for record in held)
    for label, count in enumerate(counts):
        assert abs(of_class[label] - share * count) < 1 or of_class[label] == count - 1
        assert of_class[label] < count
    if min(counts) * (1 - share) > 1:  # no class would lose its last image
        assert abs(len(held) - share * len(records)) <= 0.5 + 1e-6
    assert hold_out(records, share=share, seed=seed) == (kept, held)


def test_the_largest_rest_gets_the_next_image():
    _, held = hold_out(records_of([15, 11]), share=0.1, seed=0)
    assert [record.label for record in held] == [0, 0, 1]


def test_the_seed_draws_the_validation_images():
    records = records_of([20, 20])
    drawn = {
        tuple(record.image_id for record in hold_out(records, share=0.3, seed=seed)[1]) for seed in range(5)
    }
    assert len(drawn) == 5


@given(counts=st.lists(st.integers(1, 9), min_size=1, max_size=6), number=st.integers(0, 40))
def test_even_choice(counts, number):
    records = records_of(counts)
    chosen = evenly_over_classes(records, number)
    assert len(chosen) == min(number, len(records))
    assert list(chosen) == [record for record in records if record in chosen]
    of_class = Counter(record.label for record in chosen)
    for label, count in enumerate(counts):
        assert of_class[label] >= min(count, max(of_class.values(), default=0) - 1)


def test_no_image_stands_in_two_splits(cub_folder):
    splits = open_splits(config_of(cub_folder(train=8)), seed=3)
    assert (len(splits.train), len(splits.validation), len(splits.test)) == (18, 6, 6)
    assert Counter(splits.validation.labels) == {0: 2, 1: 2, 2: 2}
    groups = [set(ids(images)) for images in (splits.train, splits.validation, splits.test)]
    assert sum(map(len, groups)) == len(set.union(*groups)) == 30
    assert ids(splits.projection) == ids(splits.train)
    assert splits.image_size == (24, 24)
    assert splits.class_names == splits.image_set.class_names
    again = open_splits(config_of(splits.image_set.root), seed=3)
    assert ids(again.validation) == ids(splits.validation)


def test_only_training_images_are_augmented(cub_folder):
    splits = open_splits(config_of(cub_folder(), augment_factor=3), seed=3)
    assert len(splits.train) == 3 * len(splits.projection) == 27
    assert not torch.equal(splits.train[0].image, splits.train[9].image)
    for images in (splits.validation, splits.projection, splits.test):
        first = images[0].image
        images.epoch = 5
        assert torch.equal(first, images[0].image)


def test_validation_may_be_left_out(cub_folder):
    splits = open_splits(config_of(cub_folder(), val_size=0.0), seed=3)
    assert splits.validation is None
    assert len(splits.train) == 12


def test_measured_colours_are_those_of_the_training_images(cub_folder):
    splits = open_splits(config_of(cub_folder()), seed=3)
    pixels = np.stack([np.asarray(splits.projection.pixels(i)) for i in range(9)]) / 255
    np.testing.assert_allclose(splits.mean, pixels.mean(axis=(0, 1, 2)), rtol=1e-9)
    np.testing.assert_allclose(splits.std, pixels.std(axis=(0, 1, 2)), rtol=1e-9)
    images = torch.stack([splits.projection[i].image for i in range(9)])
    np.testing.assert_allclose(images.mean(dim=(0, 2, 3)), 0, atol=1e-5)
    np.testing.assert_allclose(images.std(dim=(0, 2, 3), unbiased=False), 1, atol=1e-5)


def test_a_colour_that_never_changes_can_be_divided_by():
    from PIL import Image

    measured = measure_normalization([Image.new("RGB", (3, 3), (255, 51, 0))] * 2)
    assert measured == Normalization(mean=(1.0, 0.2, 0.0), std=(1 / 255, 1 / 255, 1 / 255))
    with pytest.raises(DataError, match="no training image"):
        measure_normalization([])


def test_normalisation_is_the_named_sets_or_the_callers(cub_folder, caplog):
    caplog.set_level(logging.ERROR)
    root = cub_folder()
    named = open_splits(config_of(root, name="CUB200224", size=None), seed=3)
    assert (named.mean, named.std) == ((0.4862, 0.5005, 0.4334), (0.2321, 0.2277, 0.2665))
    own = Normalization(mean=(0.1, 0.2, 0.3), std=(0.4, 0.5, 0.6))
    assert open_splits(config_of(root), seed=3, normalization=own).normalization == own


def test_cropped_to_the_box(cub_folder):
    root = cub_folder()  # images of 40 x 32, boxes of 30 x 20 at (4, 6)
    splits = open_splits(config_of(root, crop_to_bbox=True, size=20), seed=3)
    item = splits.test.annotated(0)
    assert item.image.size == (20, 20)
    assert item.visible.tolist() == [True, False, False]
    assert item.points[0].tolist() == [10.5 - 4 - 5, 13 - 6]
    (root / "bounding_boxes.txt").unlink()
    with pytest.raises(DataError, match=r"has no bounding box; leave dataset\.crop-to-bbox off"):
        open_splits(config_of(root, crop_to_bbox=True), seed=3)


def test_debug_keeps_three_batches(cub_folder):
    config = config_of(cub_folder(train=20, test=10))
    splits = open_splits(config, seed=3, debug=True, batch_size=4)
    assert [len(images) for images in (splits.train, splits.projection, splits.test)] == [12, 12, 12]
    assert Counter(splits.train.labels) == {0: 4, 1: 4, 2: 4}
    tiny = open_splits(config_of(cub_folder("many", classes=5)), seed=3, debug=True, batch_size=1)
    assert [len(images) for images in (tiny.train, tiny.validation, tiny.test)] == [3, 3, 3]
    assert set(tiny.projection.labels) == {0, 1, 2, 3, 4}


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"val_size": 1.0}, "dataset.val-size is 1"),
        ({"val_size": -0.1}, "dataset.val-size is -0.1"),
        ({"val_size": float("nan")}, "dataset.val-size is nan"),
        ({"augment_factor": 0}, "dataset.augment-factor is 0"),
        ({"name": "nothing"}, "dataset.name 'nothing' is not known"),
        ({"name": "cars224", "size": 100}, "CARS224 is always 224 pixels wide"),
    ],
)
def test_options_that_cannot_work(tmp_path, options, message):
    with pytest.raises(ConfigError) as raised:
        open_splits(config_of(tmp_path, **options), seed=3)
    assert message in str(raised.value)


def test_every_class_needs_training_images(cub_folder):
    root = cub_folder()
    split = (
        (root / "train_test_split.txt").read_text().replace("7 1\n8 1\n9 1\n10 1\n", "7 0\n8 0\n9 0\n10 0\n")
    )
    (root / "train_test_split.txt").write_text(split)
    with pytest.raises(DataError, match=r"1 of 3 classes in .* have no training image: 002\.Class 2\."):
        open_splits(config_of(root), seed=3)


def test_there_must_be_test_images(cub_folder):
    with pytest.raises(DataError, match="has no test image"):
        open_splits(config_of(cub_folder(test=0)), seed=3)


def test_one_class_is_none(tmp_path):
    """As where the root is one folder too high."""
    for split in ("train", "test"):
        folder = tmp_path / "pictures" / split / "birds"
        folder.mkdir(parents=True)
        for number in range(3):
            Image.new("RGB", (16, 16), (number, split == "train", 0)).save(folder / f"{number}.png")
    config = DatasetConfig(name="FOLDER", root=str(tmp_path / "pictures"), size=16)
    with pytest.raises(DataError, match="has one class, birds: there is nothing to tell it from"):
        open_splits(config, seed=0)
