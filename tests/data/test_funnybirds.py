"""FunnyBirds as it is published."""

import json
import logging
import shutil

import numpy as np
import pytest
from PIL import Image
from real_layouts import write_funnybirds

from pixpnet.config import DatasetConfig
from pixpnet.data import read_dataset
from pixpnet.errors import DataError

PART_COLOURS = {
    "beak": (255, 255, 0),
    "eye01": (255, 255, 253),
    "eye02": (255, 255, 254),
    "foot01": (255, 0, 1),
    "foot02": (255, 0, 2),
    "tail": (0, 0, 255),
    "wing01": (0, 255, 1),
    "wing02": (0, 255, 2),
}


def read(root, **options):
    return read_dataset(DatasetConfig(name="funnybirds", root=str(root)), **options)


@pytest.mark.parametrize("place", ["", "funnybirds"])
def test_the_published_layout(tmp_path, place):
    root = write_funnybirds(tmp_path / place)
    seen = []
    images = read(tmp_path, progress=lambda *step: seen.append(step))
    assert (images.root, images.class_names) == (root, ("FunnyBird_00", "FunnyBird_01"))
    assert (len(images.train), len(images.test)) == (8, 4)
    assert seen[7] == (8, 8)
    second = images.train[1]
    assert (second.image_id, second.label) == ("train/1/000001.png", 1)
    assert second.path == root / "train" / "1" / "000001.png"
    assert images.part_names == tuple(PART_COLOURS)
    visible = dict(zip(images.part_names, second.part_visible, strict=True))
    assert visible == {name: name == "beak" for name in PART_COLOURS}  # of the foot, 5 pixels show
    x, y = second.part_points[images.part_names.index("beak")]
    assert (x, y) in {(11.5, 7.5), (12.5, 7.5), (11.5, 8.5), (12.5, 8.5)}


def test_every_part_has_its_colour(tmp_path):
    root = write_funnybirds(tmp_path)
    part_map = np.zeros((32, 40, 3), dtype=np.uint8)
    for row, colour in enumerate(PART_COLOURS.values()):
        part_map[3 * row : 3 * row + 3, 2:5] = colour
    Image.fromarray(part_map).save(root / "test_part_map" / "0" / "000000.png")
    first = read(root).test[0]
    assert first.part_visible.all()
    np.testing.assert_array_equal(first.part_points, [(3.5, 3 * row + 1.5) for row in range(8)])


def test_the_points_are_measured_once(tmp_path):
    root = write_funnybirds(tmp_path)
    first = read(root)
    shutil.rmtree(root / "train_part_map" / "0")
    again = read(root)
    for split in ("train", "test"):
        for one, other in zip(getattr(first, split), getattr(again, split), strict=True):
            np.testing.assert_array_equal(one.part_points, other.part_points)
            np.testing.assert_array_equal(one.part_visible, other.part_visible)
    (root / "part_points_train.csv").unlink()
    with pytest.raises(DataError, match=r"train_part_map/0/000000\.png is missing; wanted a part map"):
        read(root)


def test_a_folder_that_cannot_be_written_is_read(tmp_path, caplog, monkeypatch):
    root = write_funnybirds(tmp_path)

    def refuse(*arguments, **options):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("tempfile.mkstemp", refuse)
    assert read(root).train[0].part_visible.any()
    assert "part_points_train.csv could not be written" in caplog.text


def test_maps_of_other_colours_are_worth_a_warning(tmp_path, caplog):
    root = write_funnybirds(tmp_path)
    for path in (root / "test_part_map").rglob("*.png"):
        Image.new("RGB", (40, 32), (1, 2, 3)).save(path)
    read(root)
    assert f"the maps of {root / 'test'} have none of the known colours" in caplog.text
    assert f"the maps of {root / 'train'}" not in caplog.text


def test_without_maps_parts_are_not_known(tmp_path, caplog):
    root = write_funnybirds(tmp_path)
    shutil.rmtree(root / "test_part_map")
    images = read(root)
    assert images.part_names == ()
    assert images.train[0].part_points is None
    assert "has no part maps" in caplog.text


def test_names_of_classes(tmp_path):
    root = write_funnybirds(tmp_path)
    entries = [{"class_idx": 1, "class_name": "second"}, {"class_idx": 0, "class_name": "first"}]
    (root / "classes.json").write_text(json.dumps(entries))
    assert read(root).class_names == ("first", "second")


def test_the_layout_of_cub_is_read_too(cub_folder, tmp_path, caplog):
    caplog.set_level(logging.INFO, logger="pixpnet")
    root = cub_folder("funnybirds")
    assert read(tmp_path).root == root
    assert read(root).part_names == ("beak", "left eye", "tail")


TRAIN = "dataset_train.json"
WRONG = {
    "no classes": ("classes.json", None, "classes.json is missing; wanted FunnyBirds as it is published"),
    "no test": ("dataset_test.json", None, "dataset_test.json is missing"),
    "no json": (TRAIN, "[{", "dataset_train.json can't be read"),
    "an object": (TRAIN, "{}", "dataset_train.json: wanted a list of objects"),
    "nothing": (TRAIN, "[]", "dataset_train.json: wanted a list of objects"),
    "class missing": (TRAIN, '[{"class": 1}]', "entry 0: wanted class_idx as a whole number, got None"),
    "class in words": (TRAIN, '[{"class_idx": "x"}]', "wanted class_idx as a whole number, got 'x'"),
    "class unknown": (TRAIN, '[{"class_idx": 2}]', "entry 0: wanted class_idx from 0 to 1, got 2"),
    "image missing": (TRAIN, '[{"class_idx": 1}]', "entry 0: the image"),
    "class twice": ("classes.json", '[{"class_idx": 0}, {"class_idx": 0}]', "entry 1: class_idx 0 again"),
    "class left out": ("classes.json", '[{"class_idx": 0}, {"class_idx": 2}]', "every class_idx from 0 to 1"),
}  # fmt: skip


@pytest.mark.parametrize("case", WRONG)
def test_an_error_names_file_and_entry(tmp_path, case):
    name, content, message = WRONG[case]
    root = write_funnybirds(tmp_path)
    if content is None:
        (root / name).unlink()
    else:
        (root / name).write_text(content)
    with pytest.raises(DataError) as raised:
        read(root)
    assert message in str(raised.value)
    assert str(root / name) in str(raised.value)
    assert "\n" not in str(raised.value)
