"""What data sets know of their classes' parts."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image
from real_layouts import write_funnybirds

from pixpnet.config import DatasetConfig
from pixpnet.data import (
    ClassificationImages,
    Geometry,
    part_map,
    read_dataset,
    read_part_truth,
)
from pixpnet.errors import DataError
from pixpnet.metrics import telling_parts
from pixpnet.types import Normalization

HALVES = Normalization((0.5, 0.5, 0.5), (0.5, 0.5, 0.5))


def read(root, name="cub-layout"):
    return read_dataset(DatasetConfig(name=name, root=str(root)))


def truth_of(image_set):
    truth = read_part_truth(image_set)
    assert truth is not None
    return truth


def images_of(image_set, **geometry):
    return ClassificationImages(image_set.test, geometry=Geometry(**geometry), normalization=HALVES)


def test_synthbirds(birds):
    image_set = read(birds)
    truth = truth_of(image_set)
    attributes = json.loads((birds / "attributes.json").read_text())
    assert truth.names == tuple(attributes["part_ids"])
    assert truth.ids[truth.names.index("wing")] == (9, 13)
    assert truth.num_parts == 15
    for one in range(3):
        for other in range(3):
            different = truth.variants[one] != truth.variants[other]
            found = [name for name, differs in zip(truth.names, different, strict=True) if differs]
            wanted = [] if one == other else attributes["differences"][str(one + 1)][str(other + 1)]
            assert sorted(found) == sorted(wanted)
    # All three are of one genus: the first differs from either of the others in one part.
    told = telling_parts(truth.variants).sum(axis=1).tolist()
    assert told == [2, 1, 1]


def test_part_maps_move_with_their_images(birds):
    image_set = read(birds)
    truth = truth_of(image_set)
    plain = images_of(image_set, resize=64, crop=64)
    numbers = part_map(plain, 1, truth)
    file = birds / "part_masks" / image_set.test[1].path.relative_to(birds / "images")
    np.testing.assert_array_equal(numbers, np.asarray(Image.open(file)))
    # Every way of getting the object's mask there, for the parts' pixels are the object's.
    for geometry in (
        {"resize": 40, "crop": 32},
        {"to_box": True, "resize": (48, 56)},
        {"crop": 80, "final": 48},
    ):
        images = images_of(image_set, **geometry)
        parts = part_map(images, 2, truth) > 0
        mask = images.annotated(2).mask
        assert mask is not None
        mask = mask[0] > 0
        assert parts.shape == mask.shape == images.geometry.image_size
        assert not (parts & ~mask).any()
        assert parts.sum() > 0.8 * mask.sum()


def test_funnybirds_as_published(tmp_path):
    root = write_funnybirds(tmp_path)
    classes = [{"class_idx": label, "parts": {"beak": 1, "foot": label, "wing": 4}} for label in (1, 0)]
    (root / "classes.json").write_text(json.dumps(classes))
    image_set = read(root, "funnybirds")
    truth = truth_of(image_set)
    assert truth.names == ("beak", "foot", "wing")
    assert truth.ids == ((1,), (4, 5), (7, 8))
    assert telling_parts(truth.variants).tolist() == [[False, True, False]] * 2
    images = images_of(image_set, resize=(32, 40))
    colours = np.asarray(Image.open(root / "test_part_map" / "0" / "000000.png").convert("RGB"))
    numbers = part_map(images, 0, truth)
    assert numbers.unique().tolist() == [0, 1, 4]
    np.testing.assert_array_equal(numbers == 1, (colours == (255, 255, 0)).all(axis=2))


def test_funnybirds_in_the_layout_of_cub(tmp_path, cub_folder):
    root = cub_folder("funny")
    assert read_part_truth(read(root)) is None
    entries = [{"class_idx": label, "parts": {"beak": label % 2, "tail": 0}} for label in range(3)]
    (root / "classes.json").write_text(json.dumps(entries))
    numbers = np.zeros((32, 40), dtype=np.uint8)
    numbers[3:5, 7:11] = 1
    for image in (root / "images").rglob("*.png"):
        path = root / "part_maps" / image.relative_to(root / "images")
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(numbers).save(path)
    image_set = read(root)
    truth = truth_of(image_set)
    assert (truth.names, truth.ids) == (("beak", "tail"), ((1,), (3,)))
    assert truth.variants[:, 0].tolist() == [0, 1, 0]
    assert torch.equal(part_map(images_of(image_set, resize=(32, 40)), 3, truth), torch.tensor(numbers))
    elsewhere = replace(image_set.test[0], path=root / "photographs" / "a.png")
    with pytest.raises(DataError, match=r"photographs.a\.png has no part map"):
        truth.map_file(elsewhere)


def test_what_is_wrong_is_told(tmp_path, birds):
    root = tmp_path / "copy"
    shutil.copytree(birds, root)
    image_set = read(root)
    truth = truth_of(image_set)
    images = images_of(image_set, resize=64, crop=64)
    path = truth.map_file(images.records[0])
    Image.new("L", (3, 4)).save(path)
    with pytest.raises(DataError, match=rf"{path.name}.*\(3, 4\) is not the size"):
        part_map(images, 0, truth)
    path.unlink()
    with pytest.raises(DataError, match=rf"{path.name} is missing; wanted a part map"):
        part_map(images, 0, truth)
    attributes = json.loads((root / "attributes.json").read_text())
    for wrong in ("{", json.dumps({**attributes, "species": {}}), json.dumps({**attributes, "part_ids": 3})):
        (root / "attributes.json").write_text(wrong)
        with pytest.raises(DataError, match=r"attributes\.json does not tell the parts of each class"):
            read_part_truth(image_set)
    for other in ({"name": "Other"}, [], 3):
        (root / "attributes.json").write_text(json.dumps(other))
        (root / "classes.json").write_text(json.dumps(other or [1]))
        assert read_part_truth(image_set) is None
    (root / "classes.json").write_text(json.dumps([{"class_idx": 0, "parts": {"beak": 1}}]))
    with pytest.raises(
        DataError, match=r"classes\.json does not tell the parts of each class: KeyError\(1\)"
    ):
        read_part_truth(image_set)
