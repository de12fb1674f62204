"""A check finds what is wrong with a data set, and its sheet shows boxes and parts where they are."""

import numpy as np
import pytest
from PIL import Image

from pixpnet.config import DatasetConfig
from pixpnet.data import annotated_sheet, check_dataset, read_dataset


def read(root):
    return read_dataset(DatasetConfig(name="cub-layout", root=str(root)))


def paths(root):
    """The images' files in the order of images.txt."""
    return [
        root / "images" / line.split(" ", 1)[1] for line in (root / "images.txt").read_text().splitlines()
    ]


@pytest.fixture
def root(cub_folder):
    """3 classes; images 1 to 4, 7 to 10 and 13 to 16 are for training, the others for the test."""
    return cub_folder()


def test_a_sound_set(root):
    told = []
    found = check_dataset(read(root), progress=lambda done, total: told.append((done, total)))
    assert found.is_sound
    assert told == [(done, 18) for done in range(1, 19)]
    assert (found.damaged, found.leaked, found.repeated, found.outside) == ((), (), (), ())
    assert (found.class_counts("train"), found.class_counts("test")) == ([4, 4, 4], [2, 2, 2])
    assert found.part_visibility() == [("beak", 1.0), ("left eye", 0.0), ("tail", 0.0)]
    assert list(found.lines()) == [
        f"CUB-LAYOUT in {root}: 3 classes, 12 training and 6 test images",
        "images per class: 4 for training, 2 for the test",
        "visible parts: beak 100 %, left eye 0 %, tail 0 %",
        "images that cannot be read: none",
        "images in training and in the test: none",
        "images that stand twice in one of the two: none",
        "images with a box or a visible part beyond their edge: none",
    ]


def test_damaged_images_are_listed(root):
    files = paths(root)
    files[2].write_bytes(files[2].read_bytes()[:200])
    files[17].write_bytes(b"no image")
    found = check_dataset(read(root))
    assert not found.is_sound
    assert [str(files[number]) in text for number, text in zip((2, 17), found.damaged, strict=True)] == [
        True
    ] * 2


def test_damaged_masks_are_listed(root):
    mask = root / "segmentations" / paths(root)[2].relative_to(root / "images")
    mask.parent.mkdir(parents=True)
    Image.new("L", (40, 32), 255).save(mask)
    assert check_dataset(read(root)).is_sound
    Image.new("L", (32, 40), 255).save(mask)
    (text,) = check_dataset(read(root)).damaged
    assert f"{mask} is 32 x 40 pixels, its image" in text


def test_the_same_pixels_in_another_file_are_found(root):
    files = paths(root)
    Image.open(files[0]).save(files[4], compress_level=1)  # training and test, other bytes
    assert files[0].read_bytes() != files[4].read_bytes()
    Image.open(files[1]).save(files[2])  # twice in training
    Image.open(files[16]).save(files[17])  # twice in the test
    found = check_dataset(read(root))
    assert not found.is_sound
    assert found.leaked == (("1", "5"),)
    assert found.repeated == (("2", "3"), ("17", "18"))
    assert "images in training and in the test: 1 (1 = 5)" in found.lines()


def test_images_of_other_shape_are_not_the_same(root):
    files = paths(root)
    Image.new("RGB", (40, 32)).save(files[0])
    Image.new("RGB", (32, 40)).save(files[4])
    assert check_dataset(read(root)).leaked == ()


@pytest.mark.parametrize(
    ("table", "line", "wrong"),
    [
        ("bounding_boxes.txt", "3 4.0 6.0 30.0 20.0", "3 20.0 6.0 30.0 20.0"),
        ("parts/part_locs.txt", "3 1 10.0 12.5 1", "3 1 10.0 32.0 1"),
    ],
)
def test_what_lies_beyond_the_image_is_listed(root, table, line, wrong):
    text = (root / table).read_text()
    assert text.count(f"\n{line}\n") == 1
    (root / table).write_text(text.replace(f"\n{line}\n", f"\n{wrong}\n"))
    found = check_dataset(read(root))
    assert found.outside == ("3",)
    assert found.is_sound


def test_uneven_classes_and_many_findings_are_told(root):
    split = (root / "train_test_split.txt").read_text().replace("5 0\n6 0\n", "5 1\n6 1\n", 1)
    (root / "train_test_split.txt").write_text(split)
    for path in paths(root)[:7]:
        path.write_bytes(b"")
    lines = list(check_dataset(read(root)).lines())
    assert "images per class: 4 to 6 for training, 0 to 2 for the test" in lines
    assert "classes without test images: 1 (001.Class 1)" in lines
    (damaged,) = [line for line in lines if line.startswith("images that cannot be read: 7 (")]
    assert damaged.count("; ") == 5
    assert damaged.endswith("; and 2 more)")


def test_the_sheet_shows_boxes_and_parts(root):
    for path in paths(root):
        Image.new("RGB", (40, 32), (0, 90, 0)).save(path)
    paths(root)[6].write_bytes(b"no image")
    sheet = np.asarray(annotated_sheet(read(root), columns=3, rows=2, cell=200))
    top, left = 6, 6  # the first cell: an image of 40 x 32 is 200 x 160 there, 20 pixels from the top
    cell = sheet[top : top + 200, left : left + 200].astype(int)
    green = (cell == (0, 90, 0)).all(2)
    assert green[25, 5]
    assert not green[:20].any()
    assert not green[180:].any()
    part = cell[20 + 13 * 5, 52]
    np.testing.assert_array_equal(part, (0xE6, 0x9F, 0x00))
    for edge in (20 + 6 * 5, 20 + 26 * 5):  # of the box from (4, 6) to (34, 26)
        assert (cell[edge, 30:160] == 255).all()
    for edge in (4 * 5, 34 * 5):
        assert (cell[60:140, edge] == 255).all()
    broken = sheet[top : top + 200, left + 206 : left + 406]
    assert (broken[100, 100] == (255, 0, 0)).all()


def test_a_sheet_takes_classes_in_turn_and_fits(cub_folder):
    root = cub_folder("other", classes=4, train=2, size=(10, 60))
    (root / "parts" / "part_locs.txt").unlink()
    (root / "parts" / "parts.txt").unlink()
    (root / "bounding_boxes.txt").unlink()
    for number, path in enumerate(paths(root)):
        Image.new("RGB", (10, 60), (number, 0, 200)).save(path)
    sheet = annotated_sheet(read(root), columns=6, rows=5, cell=60)
    assert sheet.size == (6 * 66 + 6, 2 * 82 + 6)
    shown = [sheet.getpixel((6 + 30 + place % 6 * 66, 6 + 30 + place // 6 * 82)) for place in range(8)]
    assert [colour[0] for colour in shown] == [0, 4, 8, 12, 1, 5, 9, 13]
