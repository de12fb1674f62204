"""Stanford Cars in every layout in which copies of it are around."""

import shutil

import numpy as np
import pytest
from real_layouts import CARS, as_struct, car_entries, write_car_table, write_devkit, write_tree
from scipy.io import savemat

from pixpnet.config import DatasetConfig
from pixpnet.data import read_dataset
from pixpnet.errors import DataError
from pixpnet.types import Box


def read(root):
    return read_dataset(DatasetConfig(name="cars224", root=str(root)))


@pytest.mark.parametrize("labels_beside", [False, True])
@pytest.mark.parametrize("place", ["", "cars224", "cars224/stanford_cars", "car_data"])
def test_the_authors_layout(tmp_path, place, labels_beside):
    root = write_devkit(tmp_path / place, labels_beside=labels_beside)
    images = read(tmp_path)
    assert (images.root, images.class_names) == (root, CARS)
    assert (len(images.train), len(images.test)) == (9, 9)
    second = images.train[1]
    assert (second.image_id, second.path) == ("cars_train/00002.jpg", root / "cars_train" / "00002.jpg")
    assert second.label == 1
    assert second.box == Box(2, 4, 30, 21)
    assert images.test[2].image_id == "cars_test/00003.jpg"
    assert images.test[2].label == 2


def test_one_table_of_all_images(tmp_path):
    root = write_car_table(tmp_path / "cars224")
    images = read(tmp_path)
    assert (images.root, images.class_names) == (root, CARS)
    assert [record.image_id for record in images.train] == [f"car_ims/{n:06d}.jpg" for n in range(1, 13, 2)]
    assert [record.label for record in images.test] == [1, 0, 2, 1, 0, 2]
    assert images.test[0].box == Box(2, 4, 30, 21)


@pytest.mark.parametrize("place", ["", "cars224", "car_data/car_data"])
def test_folders_of_classes(tmp_path, place):
    root = write_tree(tmp_path / place, ("train", "test"), CARS[:2], 2, suffix=".jpg")
    images = read(tmp_path)
    assert (images.root, images.class_names) == (root, CARS[:2])
    assert (len(images.train), len(images.test)) == (4, 4)
    assert images.train[0].box is None


def test_a_set_of_one_image_and_one_class(tmp_path):
    root = write_devkit(tmp_path)
    for split, name in (("train", "cars_train_annos.mat"), ("test", "cars_test_annos_withlabels.mat")):
        savemat(root / "devkit" / name, {"annotations": as_struct(car_entries(split, 1)[:1])})
    savemat(root / "devkit" / "cars_meta.mat", {"class_names": np.array([CARS[:1]], dtype=object)})
    images = read(root)
    assert (len(images.train), len(images.test), images.class_names) == (1, 1, CARS[:1])


TRAIN, TEST, META = "cars_train_annos.mat", "cars_test_annos_withlabels.mat", "cars_meta.mat"
WRONG = {
    "no labels of the test": (TEST, None, "is missing; the test images' labels are in no other file"),
    "no names": (META, None, "cars_meta.mat is missing; wanted a .mat file with 'class_names'"),
    "no .mat file": (TRAIN, b"<html>", "cars_train_annos.mat is not a .mat file that can be read"),
    "half a .mat file": (TRAIN, ..., "cars_train_annos.mat is not a .mat file that can be read"),
    "another .mat file": (TRAIN, {"boxes": 1}, "has no 'annotations'; it is not a file of Stanford Cars"),
    "no image": (TRAIN, [], "cars_train_annos.mat lists no image"),
    "image missing": (TRAIN, {"fname": "gone.jpg"}, "entry 2: the image"),
    "image outside": (TRAIN, {"fname": "../x.jpg"}, "entry 2: wanted a path below"),
    "image twice": (TRAIN, {"fname": "00001.jpg"}, "00001.jpg again; it has an entry already"),
    "class unknown": (TRAIN, {"class": 4}, "entry 2: wanted class from 1 to 3, got 4"),
    "class in words": (TRAIN, {"class": "car"}, "entry 2: wanted class as a whole number, got 'car'"),
    "half a pixel": (TRAIN, {"bbox_x1": 1.5}, "entry 2: wanted bbox_x1 as a whole number, got 1.5"),
    "box of nothing": (TRAIN, {"bbox_x2": 2}, "entry 2: wanted a box, got 3 to 2 by 5 to 21"),
}  # fmt: skip


@pytest.mark.parametrize("case", WRONG)
def test_an_error_names_file_and_entry(tmp_path, case):
    name, change, message = WRONG[case]
    path = write_devkit(tmp_path) / "devkit" / name
    if change is None:
        path.unlink()
    elif change is ...:
        path.write_bytes(path.read_bytes()[:200])
    elif isinstance(change, bytes):
        path.write_bytes(change)
    elif isinstance(change, list):
        savemat(path, {"annotations": as_struct(car_entries("train", 1))[:, :0]})
    elif name == TRAIN and "boxes" not in change:
        entries = car_entries("train", 3)
        entries[1] |= change
        savemat(path, {"annotations": as_struct(entries)})
    else:
        savemat(path, change)
    with pytest.raises(DataError) as raised:
        read(tmp_path)
    assert message in str(raised.value)
    assert str(tmp_path) in str(raised.value)
    assert "\n" not in str(raised.value)


def test_a_field_is_missing(tmp_path):
    root = write_devkit(tmp_path)
    entries = car_entries("train", 3)
    for entry in entries:
        del entry["class"]
    savemat(root / "devkit" / TRAIN, {"annotations": as_struct(entries)})
    with pytest.raises(DataError, match="entry 1: wanted class as a whole number, got None"):
        read(root)


def test_a_missing_set_shows_the_layout_and_where_people_find_it(tmp_path):
    with pytest.raises(DataError) as raised:
        read(tmp_path)
    for text in ("download of Stanford Cars is gone", "Kaggle", "cars_train/", "devkit/", "train/<class>/"):
        assert text in str(raised.value)
    write_devkit(tmp_path)
    shutil.rmtree(tmp_path / "devkit")
    with pytest.raises(DataError, match="CARS224 was not found: looked for devkit"):
        read(tmp_path)
