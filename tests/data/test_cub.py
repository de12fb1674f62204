"""The reader of the layout of CUB-200-2011, and the line it points at when something is wrong."""

import tarfile

import numpy as np
import pytest

from pixpnet.data import DATASETS, read_cub
from pixpnet.errors import DataError
from pixpnet.types import Box

SPEC = DATASETS["CUB-LAYOUT"]


def edit(root, name, old, new):
    """Replace a line of a table; new = None drops it."""
    lines = (root / name).read_text().splitlines()
    assert old in lines
    changed = [new if line == old else line for line in lines]
    (root / name).write_text("\n".join(line for line in changed if line is not None) + "\n")


def test_records_hold_what_the_tables_say(cub_folder):
    root = cub_folder()
    images = read_cub(root, spec=SPEC)
    assert images.class_names == ("001.Class 1", "002.Class 2", "003.Class 3")
    assert images.part_names == ("beak", "left eye", "tail")
    assert (len(images.train), len(images.test)) == (12, 6)
    first = images.train[0]
    assert first.image_id == "1"
    assert first.path == root / "images" / "001.Class 1" / "bird 0.png"
    assert [record.label for record in images.train] == [0] * 4 + [1] * 4 + [2] * 4
    assert first.box == Box(4, 6, 34, 26)
    np.testing.assert_array_equal(first.part_points[0], (10.5, 13.0))
    np.testing.assert_array_equal(first.part_visible, (True, False, False))
    assert images.test[0].path.name == "bird 4.png"


def test_names_boxes_and_parts_may_be_missing(cub_folder):
    root = cub_folder()
    for name in ("classes.txt", "bounding_boxes.txt", "parts/parts.txt"):
        (root / name).unlink()
    images = read_cub(root, spec=SPEC)
    assert images.class_names == ("001.Class 1", "002.Class 2", "003.Class 3")
    assert images.part_names == ("part 1", "part 2")
    assert images.train[0].box is None
    (root / "parts" / "part_locs.txt").unlink()
    images = read_cub(root, spec=SPEC)
    assert images.part_names == ()
    assert images.train[0].part_points is None
    assert images.train[0].part_visible is None


def test_of_several_lines_of_a_part_the_first_visible_one_counts(cub_folder):
    root = cub_folder()
    with (root / "parts" / "part_locs.txt").open("a") as file:
        file.write("1 2 5 6 1\n1 2 7 8 1\n1 1 0 0 0\n")
    first = read_cub(root, spec=SPEC).train[0]
    np.testing.assert_array_equal(first.part_points[:2], ((10.5, 13.0), (5.5, 6.5)))
    np.testing.assert_array_equal(first.part_visible, (True, True, False))


def test_blank_lines_and_other_line_ends_are_nothing(cub_folder):
    root = cub_folder()
    text = (root / "images.txt").read_text()
    (root / "images.txt").write_bytes(("\ufeff\n" + text.replace("\n", "  \r\n\r\n")).encode())
    assert read_cub(root, spec=SPEC).train[0].path.name == "bird 0.png"


def test_ids_need_not_be_dense_nor_in_order(cub_folder):
    root = cub_folder()
    for name in ("image_class_labels.txt", "classes.txt"):
        lines = [line.split(None, 1) for line in (root / name).read_text().splitlines()]
        column = 0 if name == "classes.txt" else 1
        for line in lines:
            line[column] = str(50 - 10 * int(line[column]))
        (root / name).write_text("".join(" ".join(line) + "\n" for line in reversed(lines)))
    images = read_cub(root, spec=SPEC)
    assert images.class_names == ("003.Class 3", "002.Class 2", "001.Class 1")
    assert [record.label for record in images.test] == [2, 2, 1, 1, 0, 0]


def test_reads_a_set_with_invisible_and_sparse_parts_and_without_names(golden, tmp_path):
    with tarfile.open(golden / "metrics" / "cub_tiny.tar.gz") as archive:
        archive.extractall(tmp_path, filter="data")
    root = tmp_path / "CUB_200_2011"
    images = read_cub(root, spec=DATASETS["CUB200"])
    assert images.class_names == ("001.Class0", "002.Class1", "003.Class2", "004.Class3")
    assert images.part_names[14] == "part 15"
    assert (len(images.train), len(images.test)) == (0, 12)
    np.testing.assert_array_equal(images.test[0].part_points[0], (110.5, 79.5))
    assert images.test[0].box == Box(15, 30, 120, 170)
    sparse = read_cub(root, spec=DATASETS["CUB200"], part_locations="parts/part_locs_sparse.txt")
    visible = np.array([record.part_visible for record in sparse.test])
    wanted = np.loadtxt(root / "parts" / "part_locs_sparse.txt")[:, 4].reshape(12, 15).astype(bool)
    np.testing.assert_array_equal(visible, wanted)
    assert 0 < visible.sum() < np.sum([record.part_visible for record in images.test])


LABELS, SPLIT, CLASSES = "image_class_labels.txt", "train_test_split.txt", "classes.txt"
IMAGES, BOXES, PARTS = "images.txt", "bounding_boxes.txt", "parts/part_locs.txt"
BIRD, BOX, PART = "2 001.Class 1/bird 1.png", "2 4.0 6.0 30.0 20.0", "2 1 10.0 12.5 1"
WRONG = {
    "no images.txt": (IMAGES, ..., None, "images.txt is missing; wanted a table of lines `<"),
    "empty images.txt": (IMAGES, ..., "", "images.txt lists no image"),
    "no labels": (LABELS, ..., None, "image_class_labels.txt is missing"),
    "no split": (SPLIT, ..., None, "train_test_split.txt is missing"),
    "no text": (LABELS, ..., b"\xff\xfe\x00", "image_class_labels.txt cannot be read"),
    "label missing": (LABELS, "5 1", None, "no line `<image id> <class id>` for image 5 (images"),
    "label of nothing": (LABELS, "5 1", "99 1", "line 5: image 99 does not stand in images.txt"),
    "label not whole": (LABELS, "5 1", "5 1.5", "wanted class id as a whole number, got '1.5'"),
    "half a line": (LABELS, "5 1", "5", "line 5: wanted `<image id> <class id>`, got '5'"),
    "image twice": (IMAGES, BIRD, "1 001.Class 1/bird 1.png", "line 2: image id 1 again"),
    "id not whole": (IMAGES, BIRD, "b 001.Class 1/bird 1.png", "line 2: wanted image id as"),
    "image missing": (IMAGES, BIRD, "2 gone.png", "line 2: the image"),
    "image outside": (IMAGES, BIRD, "2 ../x.png", "images.txt, line 2: wanted a path below "),
    "image absolute": (IMAGES, BIRD, "2 /x.png", "images.txt, line 2: wanted a path below "),
    "split neither": (SPLIT, "3 1", "3 2", "line 3: wanted 0 or 1 (1 train, 0 test), got '2'"),
    "class without name": (CLASSES, "3 003.Class 3", None, "line 13: class 3 does not stand in classes.txt"),
    "class twice": (CLASSES, "3 003.Class 3", "2 dodo", "line 3: class id 2 again; it stands on line 2"),
    "box of words": (BOXES, BOX, "2 4 a 5 5", "line 2: wanted x, y, width, height"),
    "box of nan": (BOXES, BOX, "2 4 nan 5 5", "line 2: wanted x, y, width, height"),
    "box of nothing": (BOXES, BOX, "2 4 4 0 5", "line 2: wanted a box with a"),
    "part unknown": (PARTS, PART, "2 9 1 1 1", "line 3: part 9 does not stand in"),
    "part of nothing": (PARTS, PART, "99 1 1 1 1", "line 3: image 99 does not stand"),
    "part in words": (PARTS, PART, "2 1 x 1 1", "line 3: wanted x, y as numbers"),
    "part half seen": (PARTS, PART, "2 1 1 1 .5", "line 3: wanted 0 or 1 (visible)"),
}  # fmt: skip


@pytest.mark.parametrize("case", WRONG)
def test_an_error_names_file_and_line(cub_folder, case):
    root = cub_folder()
    name, old, new, message = WRONG[case]
    if old is not ...:
        edit(root, name, old, new)
    elif new is None:
        (root / name).unlink()
    else:
        (root / name).write_bytes(new if isinstance(new, bytes) else new.encode())
    with pytest.raises(DataError) as raised:
        read_cub(root, spec=SPEC)
    assert message in str(raised.value)
    assert str(root) in str(raised.value)
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize(
    ("name", "old", "new", "message"),
    [
        (LABELS, "1 1", "1 0", "line 1: wanted class id from 1 to inf, got 0"),
        (
            "parts/part_locs.txt",
            "1 1 10.0 12.5 1",
            "1 0 1 1 1",
            "line 1: wanted part id from 1 to inf, got 0",
        ),
    ],
)
def test_without_names_ids_count_from_one(cub_folder, name, old, new, message):
    root = cub_folder()
    (root / "classes.txt").unlink()
    (root / "parts" / "parts.txt").unlink()
    edit(root, name, old, new)
    with pytest.raises(DataError) as raised:
        read_cub(root, spec=SPEC)
    assert message in str(raised.value)


def test_masks_are_found_where_there_are_segmentations(cub_folder):
    root = cub_folder()
    assert {record.mask for record in read_cub(root, spec=SPEC).train} == {None}
    mask = root / "segmentations" / "001.Class 1" / "bird 1.png"
    mask.parent.mkdir(parents=True)
    mask.touch()
    assert [record.mask for record in read_cub(root, spec=SPEC).train[:3]] == [None, mask, None]
