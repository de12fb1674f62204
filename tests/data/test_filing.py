"""Pictures with labels from anywhere become folders of classes that say the same."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch.utils.data import Dataset, IterableDataset, TensorDataset

from pixpnet import DataError
from pixpnet.config import DatasetConfig
from pixpnet.data import file_pictures, items_of, load_image, read_dataset

PIXELS = np.random.default_rng(0).integers(0, 256, (9, 7, 3), np.uint8)


def read(folder: Path) -> dict[str, int]:
    images = read_dataset(DatasetConfig(name="folder", root=str(folder), test_size=0.5))
    return {record.image_id: record.label for record in (*images.train, *images.test)}


def test_files_are_linked_and_all_else_is_written_as_it_is_read(tmp_path: Path) -> None:
    Image.fromarray(PIXELS).save(tmp_path / "first one.png")
    tensor = torch.tensor(PIXELS).movedim(-1, 0)
    kinds = [tmp_path / "first one.png", str(tmp_path / "first one.png"), Image.fromarray(PIXELS), PIXELS]
    kinds += [PIXELS / 255, tensor, tensor / 255, (tmp_path / "first one.png").read_bytes()]
    file_pictures(((kind, number % 2) for number, kind in enumerate(kinds)), tmp_path / "made")
    files = sorted((tmp_path / "made").rglob("*.png"), key=lambda path: path.name)
    assert [path.name for path in files[:3]] == ["000000_first one.png", "000001_first one.png", "000002.png"]
    assert [path.is_symlink() for path in files] == [True, True, *[False] * 6]
    assert [path.parent.name for path in files] == ["0", "1"] * 4
    for path in files:
        np.testing.assert_array_equal(np.asarray(load_image(path)), PIXELS)


@pytest.mark.parametrize(
    ("names", "folders"),
    [
        (("ant", "bee"), ["ant", "bee"]),
        (("bee", "ant"), ["0.bee", "1.ant"]),
        (("same", "same"), ["0.same", "1.same"]),
        (("a/b", "c"), ["a_b", "c"]),
        (("train", "west"), ["0.train", "1.west"]),
        (("", ".x"), ["0.", "1..x"]),
        (("9", "10"), ["0.9", "1.10"]),
        (None, ["0", "1"]),
    ],
)
def test_classes_keep_the_order_of_their_labels(tmp_path: Path, names, folders) -> None:
    pairs = [(PIXELS + number, number // 3) for number in range(6)]
    file_pictures(pairs, tmp_path / "made", class_names=names)
    assert sorted(path.name for path in (tmp_path / "made").iterdir()) == folders
    assert list(read(tmp_path / "made").values()).count(1) == 3
    assert read(tmp_path / "made")[f"{folders[1]}/000004.png"] == 1


def test_eleven_labels_without_names_are_in_order(tmp_path: Path) -> None:
    pairs = [(PIXELS + number, number % 11) for number in range(22)]
    file_pictures(pairs, tmp_path / "made")
    assert {int(name[:2]): label for name, label in read(tmp_path / "made").items()} == {
        label: label for label in range(11)
    }


def test_what_was_there_is_replaced_or_stays_whole(tmp_path: Path) -> None:
    file_pictures([(PIXELS, 0), (PIXELS, 1)], tmp_path / "made")
    with pytest.raises(DataError, match=r"picture 1: .*its shape is \[3\]"):
        file_pictures([(PIXELS, 0), (np.zeros(3), 1)], tmp_path / "made")
    assert len(list((tmp_path / "made").rglob("*.png"))) == 2
    file_pictures([(PIXELS, 0)], tmp_path / "made")
    assert [path.name for path in (tmp_path / "made").rglob("*.png")] == ["000000.png"]


@pytest.mark.parametrize(
    ("pairs", "names", "said"),
    [
        ([], None, "labels are from 0 to -1; wanted some, from 0"),
        ([(PIXELS, -1)], None, "labels are from -1 to -1; wanted some, from 0"),
        ([(PIXELS, 2)], ("a", "b"), "labels are from 2 to 2; .* there are names of 2 classes"),
        ([(torch.full((3, 4, 4), -1.0), 0)], None, "picture 0: .*floats are from -1 to -1"),
    ],
)
def test_what_can_not_be_filed_is_said(tmp_path: Path, pairs, names, said) -> None:
    with pytest.raises(DataError, match=said):
        file_pictures(pairs, tmp_path / "made", class_names=names)
    assert not (tmp_path / "made").exists()


class Stream(IterableDataset):
    def __iter__(self):
        yield from [(PIXELS, np.int64(1)), (PIXELS, torch.tensor(0))]


class Odd(Dataset):
    def __len__(self):
        return 1

    def __getitem__(self, index):
        return {"image": PIXELS}


def test_items_of_torch_data_sets() -> None:
    pictures = torch.stack([torch.tensor(PIXELS).movedim(-1, 0)] * 3)
    assert [label for _, label in items_of(TensorDataset(pictures, torch.arange(3)))] == [0, 1, 2]
    assert [label for _, label in items_of(Stream())] == [1, 0]
    with pytest.raises(DataError, match="item 0 of Odd is dict; wanted a pair of a picture and its label"):
        list(items_of(Odd()))
