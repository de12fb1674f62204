"""A folder of one's own images: with a test, without one, and with parts, boxes and masks beside."""

import logging
import os
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from real_layouts import write_image, write_tree

from pixpnet.config import DatasetConfig
from pixpnet.data import FORMATS, check_dataset, load_image, object_pixels, read_dataset, set_aside
from pixpnet.errors import ConfigError, DataError
from pixpnet.types import Box, ImageRecord


def read(root, **options):
    return read_dataset(DatasetConfig(name="folder", root=str(root), **options))


def ids(records):
    return [record.image_id for record in records]


@pytest.mark.parametrize("test", ["test", "val", "valid", "validation"])
def test_a_tree_with_a_test(tmp_path, test):
    write_tree(tmp_path, ("train", test), ("cat", "ant"), 2)
    images = read(tmp_path)
    assert images.class_names == ("ant", "cat")
    assert ids(images.train) == [
        *("train/ant/train0.png", "train/ant/train1.png", "train/cat/train0.png", "train/cat/train1.png")
    ]
    assert ids(images.test) == [f"{test}/{name}/{test}{n}.png" for name in ("ant", "cat") for n in (0, 1)]


def test_what_is_left_out_is_said_in_one_line(tmp_path, caplog):
    write_tree(tmp_path, ("train", "test"), ("cat", "ant"), 2)
    read(tmp_path)
    assert not caplog.records
    for name in ("train/b.png", "train/a.jpg", "test/c.png"):
        write_image(tmp_path / name)
    for name in (
        "train/cat/notes.txt",
        "test/ant/a.mp4",
        "train/ant/b.MP4",
        "train/ant/README",
        "train/n.txt",
    ):
        (tmp_path / name).write_text("no picture")
    os.mkfifo(tmp_path / "train/ant/pipe.png")
    images = read(tmp_path)
    assert len(images.train) == 4
    assert [record.getMessage() for record in caplog.records] == [
        f"{tmp_path}: files are left out: 2 .mp4, 2 in train but in no class's folder, 1 (pipe or device), "
        "1 .txt, 1 in test but in no class's folder, 1 without a suffix"
    ]
    assert images.left_out[".mp4"] == 2


KINDS = {
    "AVIF": ("avif", "bin"),
    "BMP": ("bmp", "dib"),
    "GIF": ("gif", "GIF"),
    "JPEG": ("jpg", "jpeg", "JPG", "jfif", "jpe", "dat", "txt"),
    "JPEG2000": ("jp2", "j2k", "jpx"),
    "PNG": ("png", "apng", "x"),
    "PPM": ("ppm", "pgm", "pnm", "raw"),
    "TIFF": ("tif", "tiff", "scan"),
    "WEBP": ("webp", "image"),
}


@pytest.mark.parametrize(("kind", "suffix"), [(kind, suffix) for kind in KINDS for suffix in KINDS[kind]])
def test_pictures_are_known_by_what_they_hold(tmp_path, kind, suffix):
    assert set(KINDS) == set(FORMATS)
    write_tree(tmp_path, ("train", "test"), ("cat", "ant"), 1)
    other = tmp_path / "train" / "ant" / f"z.{suffix}"
    Image.new("RGB", (40, 32), (9, 99, 200)).save(other, format=kind)
    images = read(tmp_path)
    assert ids(images.train)[1] == f"train/ant/z.{suffix}"
    assert load_image(images.train[1].path).size == (40, 32)
    other.rename(other.with_suffix(""))
    assert ids(read(tmp_path).train)[1] == "train/ant/z"


@pytest.mark.parametrize("suffix", [".cr2", ".NEF", ".dng", ".arw"])
def test_raw_files_of_cameras_are_no_pictures(tmp_path, suffix):
    write_tree(tmp_path, ("train", "test"), ("cat", "ant"), 1)
    Image.new("RGB", (40, 32)).save(tmp_path / "train" / "ant" / f"preview{suffix}", format="TIFF")
    images = read(tmp_path)
    assert (len(images.train), images.left_out) == (2, {suffix.lower(): 1})


DROPPINGS = (
    *("@eaDir/train0.png/SYNOPHOTO_THUMB_M.jpg", "__MACOSX/train0.png", ".thumbnails/a.png", "Thumbs.db"),
    *("desktop.ini", ".DS_Store", "._train0.png", "#recycle/a.png", "$RECYCLE.BIN/a.png", "THUMBS.DB"),
    *("lost+found/a.png", ".ipynb_checkpoints/a.png", "System Volume Information/a.png"),
)


@pytest.mark.parametrize("place", ["", "train", "train/cat", "masks", "masks/train/cat"])
def test_droppings_of_systems_are_as_if_not_there(tmp_path, caplog, place):
    write_tree(tmp_path, ("train", "test"), ("cat", "ant"), 1)
    for name in ("cat", "ant"):
        write_image(tmp_path / f"masks/train/{name}/train0.png")
    for name in DROPPINGS:
        write_image((tmp_path / place / name).with_suffix(".png")).rename(tmp_path / place / name)
    images = read(tmp_path)
    assert ids((*images.train, *images.test)) == [
        *("train/ant/train0.png", "train/cat/train0.png", "test/ant/test0.png", "test/cat/test0.png")
    ]
    assert all(record.mask for record in images.train)
    assert (images.left_out, caplog.records) == ({}, [])


@pytest.mark.parametrize("splits", [("",), ("train", "test"), ("train",)])
@pytest.mark.parametrize("deeper", ["birds", "birds/birds", "a b/more"])
def test_one_folder_too_many_is_entered_with_a_word(tmp_path, caplog, splits, deeper):
    caplog.set_level(logging.INFO, logger="pixpnet")
    place = write_tree(tmp_path / deeper, splits, ("cat", "ant"), 3)
    (tmp_path / "__MACOSX").mkdir()
    (place.parent / "read me.txt").touch()
    images = read(tmp_path)
    assert (images.root, images.class_names) == (place, ("ant", "cat"))
    assert (
        f"{tmp_path} holds nothing but a folder of folders, which would be one class: {place} is"
        in caplog.text
    )


COMPOSED, DECOMPOSED = "caf\N{LATIN SMALL LETTER E WITH ACUTE}", "cafe\N{COMBINING ACUTE ACCENT}"


def test_names_compare_in_one_unicode_form(tmp_path):
    write_tree(tmp_path, ("train",), (COMPOSED, "tea"), 2)
    write_tree(tmp_path, ("test",), (DECOMPOSED, "tea"), 1)
    other = write_image(tmp_path / f"train/tea/{DECOMPOSED}.png")
    mask = write_image(tmp_path / f"masks/train/tea/{COMPOSED}.png")
    (tmp_path / "boxes.csv").write_text(f"image,x,y,width,height\ntrain/tea/{COMPOSED}.png,1,2,3,4\n")
    images = read(tmp_path)
    assert images.class_names == (COMPOSED, "tea")
    assert [(record.label, record.image_id) for record in images.test] == [
        (0, f"test/{COMPOSED}/test0.png"),
        (1, "test/tea/test0.png"),
    ]
    assert images.test[0].path == tmp_path / "test" / DECOMPOSED / "test0.png"
    assert load_image(images.test[0].path).size == (40, 32)
    (record,) = [record for record in images.train if record.path == other]
    assert (record.image_id, record.mask) == (f"train/tea/{COMPOSED}.png", mask)
    assert record.box == Box(1, 2, 4, 6)


@pytest.mark.parametrize("place", ["train/{}/x.png", "train/tea/{}.png", "train/tea/{}/x.png"])
def test_names_that_differ_only_in_their_form_are_refused(tmp_path, place):
    write_tree(tmp_path, ("train", "test"), ("milk", "tea"), 1)
    for name in (COMPOSED, DECOMPOSED):
        write_image(tmp_path / place.format(name))
    with pytest.raises(DataError, match=r"differ only in their Unicode form \('(caf|x)") as raised:
        read(tmp_path)
    assert str(tmp_path) in str(raised.value)


def test_linked_folders_are_read_and_circles_are_not(tmp_path):
    write_tree(tmp_path / "elsewhere", ("",), ("cat", "more"), 2)
    write_tree(tmp_path / "set", ("train", "test"), ("ant",), 1)
    train, elsewhere = tmp_path / "set/train", tmp_path / "elsewhere"
    (train / "cat").symlink_to(elsewhere / "cat")
    (train / "ant/more").symlink_to(elsewhere / "more")
    (train / "ant/round").symlink_to(train)
    (elsewhere / "more/round").symlink_to(elsewhere / "more")
    (elsewhere / "more/back").symlink_to(train / "ant")
    (elsewhere / "more/twice").symlink_to(elsewhere / "more")
    write_tree(tmp_path / "left", ("",), ("a", "b"), 1)
    left = tmp_path / "left"
    (left / "a/over").symlink_to(left / "b")
    (left / "b/over").symlink_to(left / "a")
    (train / "cat/left").symlink_to(left / "a")
    assert ids(read(tmp_path / "set").train) == [
        *("train/ant/train0.png", "train/ant/more/x0.png", "train/ant/more/x1.png"),
        *("train/cat/x0.png", "train/cat/x1.png", "train/cat/left/x0.png", "train/cat/left/over/x0.png"),
    ]


def test_of_test_and_val_the_test_counts(tmp_path, caplog):
    write_tree(tmp_path, ("train", "test", "val"), ("cat", "ant"), 2)
    images = read(tmp_path)
    assert {name.split("/")[0] for name in ids(images.test)} == {"test"}
    assert f"{tmp_path / 'test'} is the test; {tmp_path / 'val'} is left aside" in caplog.text


@pytest.mark.parametrize("split", ["", "train"])
def test_a_tree_without_a_test_is_split(tmp_path, caplog, split):
    caplog.set_level(logging.INFO, logger="pixpnet")
    write_tree(tmp_path, (split,), ("cat", "ant", "bee"), 10)
    images = read(tmp_path)
    assert images.class_names == ("ant", "bee", "cat")
    assert Counter(record.label for record in images.test) == {0: 2, 1: 2, 2: 2}
    assert Counter(record.label for record in images.train) == {0: 8, 1: 8, 2: 8}
    assert len({*ids(images.train), *ids(images.test)}) == 30
    assert ids(read(tmp_path).test) == ids(images.test)
    assert ids(read(tmp_path, seed=1).test) != ids(images.test)
    assert len(read(tmp_path, test_size=0.5).test) == 15
    assert (
        "has no test/: 6 of 30 images are set aside for it (dataset.test-size, dataset.seed)" in caplog.text
    )


def test_the_folder_may_lie_in_the_root(tmp_path):
    for splits in (("",), ("train", "test")):
        root = write_tree(tmp_path / str(len(splits)) / "folder", splits, ("cat", "ant"), 3)
        assert read(root.parent).root == root
        assert read(root).root == root


RECORDS = st.lists(st.integers(0, 3), min_size=1, max_size=60)


@given(labels=RECORDS, share=st.floats(0.01, 0.99), seed=st.integers(0, 5))
def test_every_class_gives_its_share(labels, share, seed):
    records = [ImageRecord(f"{number}.png", Path(), label) for number, label in enumerate(labels)]
    kept, test = set_aside(records, share=share, seed=seed)
    assert sorted([*kept, *test], key=lambda record: int(record.image_id[:-4])) == records
    taken, kept_of = (Counter(record.label for record in part) for part in (test, kept))
    for label, count in Counter(labels).items():
        assert kept_of[label] >= 1
        assert abs(taken[label] - share * count) <= 0.5 or taken[label] in (1, count - 1)
        assert taken[label] >= 1 or count == 1


def test_a_new_image_moves_few_others():
    records = [ImageRecord(f"{number}.png", Path(), 0) for number in range(101)]
    before, after = (set(ids(set_aside(some, share=0.2, seed=0)[1])) for some in (records[:100], records))
    assert len(before ^ after) <= 2


def test_grey_and_transparent_images(tmp_path):
    write_tree(tmp_path, ("",), ("cat", "ant"), 3)
    write_image(tmp_path / "ant" / "grey.png", mode="L")
    write_image(tmp_path / "ant" / "clear.png", mode="RGBA")
    images = read(tmp_path)
    assert {load_image(record.path).mode for record in (*images.train, *images.test)} == {"RGB"}
    assert len(images.train) + len(images.test) == 8


def test_what_is_hidden_or_no_image_is_left_aside(tmp_path):
    write_tree(tmp_path, ("train", "test"), ("cat", "ant"), 1)
    write_image(tmp_path / "train" / "cat" / ".thumbnails" / "x.png")
    (tmp_path / "train" / "cat" / "._x.png").touch()
    (tmp_path / "train" / ".ipynb_checkpoints").mkdir()
    (tmp_path / "train" / "cat" / "notes.txt").touch()
    assert ids(read(tmp_path).train) == ["train/ant/train0.png", "train/cat/train0.png"]


@pytest.fixture
def annotated_tree(tmp_path):
    root = write_tree(tmp_path, ("train", "test"), ("cat", "ant"), 2)
    (root / "parts.csv").write_text(
        "image,part,x,y,visible\n"
        "train/cat/train0.png,left ear,3,4.5,1\n"
        "train/cat/train0.png,tail,1,1,0\n"
        'test/ant/test1.png, "tail", 0, 0, 1\n'
    )
    (root / "boxes.csv").write_text("image,x,y,width,height\ntrain/cat/train0.png,2,3,20,10\n")
    (root / "masks" / "train" / "cat").mkdir(parents=True)
    Image.new("L", (40, 32), 255).save(root / "masks" / "train" / "cat" / "train0.png")
    return root


def test_parts_boxes_and_masks(annotated_tree):
    images = read(annotated_tree)
    assert images.part_names == ("left ear", "tail")
    records = {record.image_id: record for record in (*images.train, *images.test)}
    cat, ant, other = (
        records[name] for name in ("train/cat/train0.png", "test/ant/test1.png", "train/ant/train0.png")
    )
    np.testing.assert_array_equal(cat.part_points[0], (3.5, 5.0))
    np.testing.assert_array_equal(cat.part_visible, (True, False))
    np.testing.assert_array_equal(ant.part_points[1], (0.5, 0.5))
    np.testing.assert_array_equal(ant.part_visible, (False, True))
    np.testing.assert_array_equal(other.part_visible, (False, False))
    assert (cat.box, other.box) == (Box(2, 3, 22, 13), None)
    assert (cat.mask, other.mask) == (annotated_tree / "masks" / "train" / "cat" / "train0.png", None)
    assert object_pixels(Image.open(cat.mask)).all()


def test_notes_follow_the_images_of_one_tree(tmp_path):
    write_tree(tmp_path, ("",), ("cat", "ant"), 5)
    for name in ("cat", "ant"):
        write_image(tmp_path / "masks" / name / "x1.png")
    (tmp_path / "boxes.csv").write_text("IMAGE,Height,Width,y,x\n./cat/x1.png,4,3,2,1\nant\\x2.png,1,1,1,1\n")
    (tmp_path / "parts.csv").write_text("part,image,x,y\near,cat/x1.png,1,2\n")
    images = read(tmp_path)
    assert images.class_names == ("ant", "cat")
    records = {record.image_id: record for record in (*images.train, *images.test)}
    assert len(records) == 10
    assert records["cat/x1.png"].box == Box(1, 2, 4, 6)
    assert records["ant/x2.png"].box == Box(1, 1, 2, 2)
    assert records["cat/x1.png"].part_visible.all()
    assert records["ant/x1.png"].mask == tmp_path / "masks" / "ant" / "x1.png"


KINDS_OF_BOXES = {
    "corners": ("image,xmin,ymin,xmax,ymax\n{},1,2,4,6\n", "train/b/1.png"),
    "corners, short": ("image;x1;y1;x2;y2\n{};1,0;2;4;6\n", "train/b/1.png"),
    "short": ("image,x,y,w,h\n{},1,2,3,4\n", "train/b/1.png"),
    "without suffix": ("image,x,y,width,height\n{},1,2,3,4\n", "train/b/1"),
    "from elsewhere": ("image,x,y,width,height\n{},1,2,3,4\n", "/home/me/set/train/b/1.png"),
    "other capitals": ("image,x,y,width,height\n{},1,2,3,4\n", "TRAIN\\B\\1.PNG"),
    "only one": ("image,x,y,width,height,score\n{},1,2,3,4,1\ntrain/b/2.png,,,,,\n", "train/b/1.png"),
}


@pytest.mark.parametrize("kind", KINDS_OF_BOXES)
def test_boxes_are_read_as_those_in_a_table_of_labels(tmp_path, kind):
    for name in ("train/a/1.png", "train/b/1.png", "train/b/2.png", "test/b/3.png"):
        write_image(tmp_path / name)
    text, name = KINDS_OF_BOXES[kind]
    (tmp_path / "boxes.csv").write_text(text.format(name))
    assert {record.image_id: record.box for record in read(tmp_path).train if record.box} == {
        "train/b/1.png": Box(1, 2, 4, 6)
    }


def test_a_box_of_one_of_several_is_told(tmp_path):
    for name in ("train/a/1.png", "train/b/1.png", "test/b/3.png"):
        write_image(tmp_path / name)
    (tmp_path / "boxes.csv").write_text("image,x,y,w,h\n1.png,1,2,3,4\n")
    with pytest.raises(DataError, match=r"line 2: 1.png is train/a/1.png or train/b/1.png; name images by"):
        read(tmp_path)


@pytest.mark.parametrize("splits", [("",), ("train", "test")])
def test_a_class_may_be_called_masks(tmp_path, splits):
    write_tree(tmp_path, splits, ("masks", "no masks"), 4)
    images = read(tmp_path)
    assert images.class_names == ("masks", "no masks")
    assert {record.mask for record in images.train} == {None}


CAT = "train/cat/train0.png"
PARTS, BOXES = "image,part,x,y\n", "image,x,y,width,height\n"
WRONG = {
    "header of parts": ("parts.csv", "image,part,x\n", "line 1: wanted a header with image, part, x, y, got"),
    "nothing in parts": ("parts.csv", "", "line 1: wanted a header with image, part, x, y, got ''"),
    "colons": ("parts.csv", "image:part:x:y\n", "x:y' without image (separated by commas,"),
    "sep= after": ("parts.csv", f"sep=;\n{PARTS}", "line 2: wanted a header with image, part, x, y"),
    "a column twice": ("parts.csv", "image,part,x,y,x\n", "'image,part,x,y,x' with x twice"),
    "half a line below sep=": ("boxes.csv", f"sep=,\n{BOXES}{CAT},1\n", "line 3: wanted 5 fields, got 2"),
    "half a line": ("parts.csv", f"{PARTS}{CAT},ear,1\n", "line 2: wanted 4 fields, got"),
    "decimal commas": ("parts.csv", f"{PARTS}{CAT},ear,1,5,2,5\n", "6 separated by commas; decimal commas"),
    "open quote": ("parts.csv", f'{PARTS}"{CAT},ear,1,2\n' + 200000 * "x", "is a quotation mark not closed?"),
    "part of nothing": ("parts.csv", f"{PARTS}x.png,ear,1,2\n", "line 2: there is no image 'x.png'"),
    "part twice": ("parts.csv", f"{PARTS}{CAT},ear,1,2\n{CAT},ear,1,3\n", "line 3: part ear of train"),
    "part in words": ("parts.csv", f"{PARTS}\n{CAT},ear,left,2\n", "line 3: wanted x, y as numbers"),
    "part half seen": ("parts.csv", f"image,part,x,y,visible\n{CAT},ear,1,2,.5\n", "line 2: wanted 0 or 1"),
    "box of nothing": ("boxes.csv", f"{BOXES}{CAT},1,2,0,3\n", "line 2: wanted a box with a"),
    "box of words": ("boxes.csv", f"{BOXES}{CAT},1,2,x,3\n", "line 2: wanted x, y, width, height"),
    "box twice": ("boxes.csv", f"{BOXES}{CAT},1,2,3,3\n{CAT},1,2,3,3\n", "on line 2 already"),
    "no text": ("boxes.csv", b"PK\3\4\0\x81", "no text in UTF-8, UTF-16 (with its mark)"),
    "half of UTF-16": ("boxes.csv", b"\xff\xfei", "boxes.csv cannot be read: it is no text in UTF-8"),
    "nothing in UTF-16": ("boxes.csv", b"\xff\xfe", "line 1: wanted a header with image, x, y"),
    "mask of nothing": ("masks/cat/x.png", "", "x.png is the mask of no image: there is no cat/x.*"),
    "second mask": ("masks/train/cat/train0.bmp", "", "is a second mask of train/cat/train0.png; "),
    "mask of two": ("train/cat/train0.jpg", "", "is the mask of train/cat/train0.jpg or of"),
    "class without images": ("train/dog/notes.txt", "", "train/dog holds no image (AVIF, "),
    "class of the test": ("test/dog/x.png", "", "test/dog is a class that"),
}  # fmt: skip


@pytest.mark.parametrize("case", WRONG)
def test_an_error_names_file_and_line(annotated_tree, case):
    name, content, message = WRONG[case]
    path = annotated_tree / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(DataError) as raised:
        read(annotated_tree)
    assert message in str(raised.value)
    assert str(annotated_tree) in str(raised.value)
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize(
    ("splits", "wrong", "missing"),
    [
        (("training", "test"), "test", "train"),
        (("Train", "Test"), "Test", "train"),
        (("train", "Testing"), "Testing", "test"),
        (("val",), "val", "train"),
    ],
)
def test_a_split_of_another_name_is_no_class(tmp_path, splits, wrong, missing):
    write_tree(tmp_path, splits, ("cat", "ant"), 2)
    with pytest.raises(
        DataError, match=f"{wrong} holds folders like a split, but .* no {tmp_path / missing};"
    ):
        read(tmp_path)


def test_a_class_may_have_the_name_of_a_split(tmp_path):
    write_tree(tmp_path, ("",), ("val", "testing"), 2)
    assert read(tmp_path).class_names == ("testing", "val")


def test_too_few_images_for_a_test(tmp_path):
    write_tree(tmp_path, ("",), ("cat", "ant"), 1)
    with pytest.raises(DataError, match="has no test/, and too few images to set one aside from them"):
        read(tmp_path)


@pytest.mark.parametrize("name", ["nowhere", "empty", "heap"])
def test_no_tree_at_all(tmp_path, name):
    (tmp_path / "empty").mkdir()
    write_image(tmp_path / "heap" / "cat.png")
    with pytest.raises(
        DataError, match=r"looked for folders of images in .*with <class>/<image>, as dataset"
    ):
        read(tmp_path / name)


@pytest.mark.parametrize(
    ("mode", "values", "wanted"),
    [
        ("L", [0, 127, 128, 255], [0, 0, 1, 1]),
        ("L", [0, 1, 0, 1], [0, 1, 0, 1]),
        ("L", [0, 0, 0, 0], [0, 0, 0, 0]),
        ("P", [0, 1, 9, 200], [0, 1, 1, 1]),
        ("1", [0, 1, 1, 0], [0, 1, 1, 0]),
    ],
)
def test_masks_of_every_kind(tmp_path, mode, values, wanted):
    image = Image.fromarray(np.array(values, dtype=np.uint8).reshape(2, 2), "L")
    if mode == "P":
        image.putpalette([0, 0, 0] * 256)
    elif mode == "1":
        image = image.point([0] + [255] * 255).convert("1", dither=Image.Dither.NONE)
    image.save(tmp_path / "mask.png")
    found = object_pixels(Image.open(tmp_path / "mask.png"))
    np.testing.assert_array_equal(found.ravel(), np.array(wanted, dtype=bool))


def test_classes_of_too_few_images_are_left_out_and_named(tmp_path, caplog):
    write_tree(tmp_path, ("",), ("ant", "cat", "dog"), 6)
    write_tree(tmp_path, ("",), ("bee",), 2)
    whole, images = read(tmp_path), read(tmp_path, min_images=3)
    assert images.class_names == ("ant", "cat", "dog")
    assert images.small_classes == {"bee": 2}
    assert "classes of fewer than 3 images are left out: bee (2)" in caplog.text
    for split in ("train", "test"):
        old, new = (
            [(one.image_id, found.class_names[one.label]) for one in getattr(found, split)]
            for found in (whole, images)
        )
        assert new == [(name, label) for name, label in old if label != "bee"]
    assert "classes left out, with so few images: 1 (bee: 2)" in "\n".join(check_dataset(images).lines())
    assert read(tmp_path, min_images=2).class_names == whole.class_names
    with pytest.raises(DataError, match=r"no class has 7 images.*ant \(6\), bee \(2\)"):
        read(tmp_path, min_images=7)
    with pytest.raises(ConfigError, match=r"min-images: is for dataset\.name folder or csv, not for S"):
        read_dataset(DatasetConfig(name="synthbirds", root=str(tmp_path), min_images=2))
