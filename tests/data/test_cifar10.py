"""CIFAR-10: batches become PNG files once, and no pickle runs anything."""

import pickle
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from real_layouts import CIFAR, write_cifar10

from pixpnet.config import DatasetConfig
from pixpnet.data import read_dataset
from pixpnet.errors import DataError


def read(root, **options):
    return read_dataset(DatasetConfig(name="CIFAR-10", root=str(root)), **options)


@pytest.mark.parametrize("place", ["", "cifar10"])
def test_every_pixel_of_every_batch(tmp_path, place):
    batches = write_cifar10(tmp_path / place)
    seen = []
    images = read(tmp_path, progress=lambda *step: seen.append(step))
    assert seen == [(48, 48)]
    assert (images.root, images.class_names) == (batches.parent / "cifar-10-png", CIFAR)
    assert (len(images.train), len(images.test)) == (40, 8)
    for records, names in (
        (images.train, [f"data_batch_{number}" for number in range(1, 6)]),
        (images.test, ["test_batch"]),
    ):
        contents = [pickle.loads((batches / name).read_bytes()) for name in names]
        data = np.concatenate([content["data"] for content in contents])
        assert [record.label for record in records] == [n for content in contents for n in content["labels"]]
        for record, row in zip(records, data, strict=True):
            red, green, blue = np.moveaxis(np.asarray(Image.open(record.path)), 2, 0)
            np.testing.assert_array_equal(np.concatenate([red.ravel(), green.ravel(), blue.ravel()]), row)


def test_the_batches_are_unpacked_once(tmp_path):
    batches = write_cifar10(tmp_path)
    first = read(tmp_path)
    shutil.rmtree(batches)
    assert [record.path for record in read(tmp_path).train] == [record.path for record in first.train]
    assert read(first.root.parent).test == read(tmp_path).test


def test_an_interrupted_unpacking_leaves_nothing(tmp_path):
    write_cifar10(tmp_path)

    def interrupt(done, total):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        read(tmp_path, progress=interrupt)
    assert [path.name for path in tmp_path.iterdir()] == ["cifar-10-batches-py"]


class Evil:
    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return Path.touch, (self.path,)


def test_a_pickle_runs_nothing(tmp_path):
    batches = write_cifar10(tmp_path / "set")
    trace = tmp_path / "was here"
    (batches / "data_batch_2").write_bytes(pickle.dumps({"labels": [], "data": Evil(trace)}))
    with pytest.raises(
        DataError, match=r"data_batch_2 is damaged or no batch of CIFAR-10 \(.*has no place in"
    ):
        read(tmp_path / "set")
    assert not trace.exists()
    assert [path.name for path in (tmp_path / "set").iterdir()] == ["cifar-10-batches-py"]


PIXELS = np.zeros((2, 3072), dtype=np.uint8)
WRONG = {
    "no file": ("data_batch_4", None, "data_batch_4 is missing; wanted the Python version of CIFAR-10"),
    "no pickle": ("data_batch_1", b"<html>", "data_batch_1 is damaged or no batch of CIFAR-10"),
    "cut short": ("data_batch_1", ..., "data_batch_1 is damaged or no batch of CIFAR-10"),
    "a list": ("test_batch", [1, 2], "wanted a dictionary, got list"),
    "no pixels": ("test_batch", {"labels": [0, 1]}, "wanted `data` with 3072 bytes for each image"),
    "grey": ("test_batch", {"data": PIXELS[:, :1024], "labels": [0, 1]}, "wanted `data` with 3072 bytes"),
    "floats": ("test_batch", {"data": PIXELS / 1, "labels": [0, 1]}, "wanted `data` with 3072 bytes"),
    "no labels": ("test_batch", {"data": PIXELS}, "wanted `labels` with a class from 0 to 3"),
    "a label too many": ("test_batch", {"data": PIXELS, "labels": [0, 1, 2]}, "wanted `labels` with a class"),
    "class unknown": ("test_batch", {"data": PIXELS, "labels": [0, 4]}, "wanted `labels` with a class from"),
    "class in words": ("test_batch", {"data": PIXELS, "labels": [0, "cat"]}, "wanted `labels` with a class"),
    "no names": ("batches.meta", {}, "batches.meta: wanted `label_names`, a list of words"),
    "a path": ("batches.meta", {"label_names": ["../cat"]}, "wanted `label_names`, a list of words"),
}  # fmt: skip


@pytest.mark.parametrize("case", WRONG)
def test_an_error_names_the_file(tmp_path, case):
    name, content, message = WRONG[case]
    path = write_cifar10(tmp_path) / name
    if content is None:
        path.unlink()
    elif content is ...:
        path.write_bytes(path.read_bytes()[:-100])
    else:
        path.write_bytes(content if isinstance(content, bytes) else pickle.dumps(content, protocol=2))
    with pytest.raises(DataError) as raised:
        read(tmp_path)
    assert message in str(raised.value)
    assert str(path) in str(raised.value)
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize("protocol", [0, 1, 2, 3, 4, 5])
def test_any_pickle_protocol(tmp_path, protocol):
    path = write_cifar10(tmp_path) / "test_batch"
    path.write_bytes(pickle.dumps({"data": PIXELS, "labels": [0, 1]}, protocol=protocol))
    if protocol < 5:
        assert len(read(tmp_path).test) == 2
    else:  # stores arrays by a function of numpy that no batch of CIFAR-10 names
        with pytest.raises(DataError, match="has no place in it"):
            read(tmp_path)
