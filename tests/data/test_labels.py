"""Images whose classes stand in a table: columns, names, splits, groups and boxes, and what is refused."""

import logging
import re
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from real_layouts import write_image, write_lesions, write_table, write_tree

from pixpnet.config import DatasetConfig
from pixpnet.data import hold_out, open_splits, read_dataset, set_aside
from pixpnet.errors import ConfigError, DataError
from pixpnet.types import Box, ImageRecord


def read(root, **options):
    return read_dataset(DatasetConfig(**{"name": "csv", "root": str(root), **options}))


def ids(records):
    return [record.image_id for record in records]


def classes_of(images):
    return {record.image_id: images.class_names[record.label] for record in (*images.train, *images.test)}


FILES = ("a/1.jpg", "a/2.jpg", "b/3.jpg", "b/4.jpg", "5.jpg", "6.jpg")
WAYS = {
    "paths": FILES,
    "names": [name.rpartition("/")[2] for name in FILES],
    "without suffixes": [name.rpartition("/")[2][:-4] for name in FILES],
    "paths without suffixes": [name[:-4] for name in FILES],
    "paths from elsewhere": [f"/home/me/set/{name}" for name in FILES],
    "paths of Windows": ["D:\\set\\" + name.replace("/", "\\") for name in FILES],
    "paths from here": [f"./{name}" for name in FILES],
    "other capitals": [f"DIR/{name}".upper() for name in FILES],
    "other capitals, without suffixes": [name[:-4].upper() for name in FILES],
}


@pytest.mark.parametrize("way", WAYS)
def test_images_are_named_in_many_ways(tmp_path, way):
    lines = (f"{name},{'cat' if place % 2 else 'dog'}" for place, name in enumerate(WAYS[way]))
    write_table(tmp_path, FILES, "\n".join(["image,label", *lines]))
    images = read(tmp_path)
    assert images.class_names == ("cat", "dog")
    assert classes_of(images) == {name: ("dog", "cat")[place % 2] for place, name in enumerate(FILES)}
    assert all(record.path == tmp_path / record.image_id for record in images.train)
    assert images.left_out == {}


HEADERS = {
    "image,label": "image from image, label from label",
    "File Name,Class": "image from file name, label from class",
    "filename,species": "image from filename, label from species",
    "image_id,dx": "image from image_id, label from dx",
    "path,diagnosis": "image from path, label from diagnosis",
    "Image-Name,TARGET": "image from image-name, label from target",
    "isic_id,category": "image from isic_id, label from category",
    "id,breed": "image from id, label from breed",
}


@pytest.mark.parametrize("header", HEADERS)
@pytest.mark.parametrize("separator", ",;\t")
def test_columns_are_guessed_and_said_in_one_line(tmp_path, caplog, header, separator):
    caplog.set_level(logging.INFO, logger="pixpnet")
    text = f"{header},remark\n" + "".join(f"{name},{name[0]},x\n" for name in FILES[:4])
    write_table(tmp_path, FILES[:4], text.replace(",", separator))
    assert read(tmp_path).class_names == ("a", "b")
    assert f"labels.csv: {HEADERS[header]} (else: dataset.columns, dataset.group-by)" in caplog.text


def test_columns_are_taken_as_they_are_said(tmp_path):
    text = "label,scan no,kind,fold\n" + "".join(f"x,{name},{name[0]},train\n" for name in FILES[:4])
    write_table(tmp_path, FILES[:4], text)
    options = {"columns": "image=Scan No, label=kind"}
    assert read(tmp_path, **options).class_names == ("a", "b")
    with pytest.raises(DataError, match=r"labels.csv has no column 'sort' for label; it has label, scan"):
        read(tmp_path, columns="image=scan no,label=sort")
    with pytest.raises(DataError, match=r"no column with a usual name for the image .*columns image="):
        read(tmp_path)
    with pytest.raises(ConfigError, match=r"role='labels' is none of image, label, split; did you mean"):
        read(tmp_path, columns="image=scan no,labels=kind")
    with pytest.raises(ConfigError, match=r"dataset.columns is 'image'; give image=<column>"):
        read(tmp_path, columns="image")


def test_classes_that_are_numbers_stand_in_their_order(tmp_path):
    text = "image,label\n" + "".join(f"{place}.png,{place % 12}\n" for place in range(36))
    write_table(tmp_path, [f"{place}.png" for place in range(36)], text)
    assert read(tmp_path).class_names == tuple(map(str, range(12)))
    (tmp_path / "labels.csv").write_text(re.sub(r",(\d+)", lambda found: f",{int(found[1]) - 2}.0", text))
    assert read(tmp_path).class_names == tuple(f"{number}.0" for number in range(-2, 10))


def test_capitals_tell_apart_what_differs_in_nothing_else(tmp_path):
    files = ("set/A.jpg", "set/a.jpg", "set/b.jpg", "Set/b.jpg")
    write_table(tmp_path, files, "image,label\n" + "".join(f"{name},x\n" for name in files))
    if len(list(tmp_path.rglob("*.jpg"))) < 4:
        return  # the system tells no capitals apart
    assert set(classes_of(read(tmp_path))) == set(files)
    table = tmp_path / "labels.csv"
    table.write_text("image,label\nA,x\na,x\nset/b,x\n")
    assert set(classes_of(read(tmp_path))) == set(files[:3])
    table.write_text("image,label\nA,x\na,x\nSET/B,x\n")
    with pytest.raises(DataError, match=r"line 4: SET/B is .*et/b.jpg or .*et/b.jpg; name images by their"):
        read(tmp_path)


def test_small_classes_of_groups_have_a_test(tmp_path):
    lines = [f"{place}.jpg,{place // 6},p{place // 2}" for place in range(18)]
    write_table(
        tmp_path, [line.partition(",")[0] for line in lines], "image,label,patient\n" + "\n".join(lines)
    )
    images = read(tmp_path)
    assert Counter(record.label for record in images.test) == {0: 2, 1: 2, 2: 2}
    assert not {one.group for one in images.train} & {one.group for one in images.test}


SPLITS = {
    ("train", "test"): (2, 2),
    ("Training", "TESTING"): (2, 2),
    ("train", "val"): (2, 2),
    ("train", "validation"): (2, 2),
    ("train", "dev"): (2, 2),
}


@pytest.mark.parametrize("words", SPLITS)
@pytest.mark.parametrize("column", ["split", "Data Set", "subset", "partition"])
def test_a_column_of_splits(tmp_path, words, column):
    rows = (f"{name},{name[0]},{words[place % 2]}\n" for place, name in enumerate(FILES[:4]))
    write_table(tmp_path, FILES[:4], f"image,label,{column}\n" + "".join(rows))
    images = read(tmp_path)
    assert ids(images.train) == ["a/1.jpg", "b/3.jpg"]
    assert ids(images.test) == ["a/2.jpg", "b/4.jpg"]


def test_of_test_and_validation_the_test_counts(tmp_path, caplog):
    words = ("train", "test", "train", "val")
    rows = (f"{name},{name[0]},{words[place]}\n" for place, name in enumerate(FILES[:4]))
    write_table(tmp_path, FILES[:4], "image,label,split\n" + "".join(rows))
    images = read(tmp_path)
    assert (ids(images.train), ids(images.test)) == (["a/1.jpg", "b/3.jpg"], ["a/2.jpg"])
    assert "1 validation images are left aside (dataset.val-size" in caplog.text


BOXES = {
    "left,top,right,bottom": "2,3,22,13",
    "xmin,ymin,xmax,ymax": "2,3,22,13",
    "x1,y1,x2,y2": "2,3,22,13",
    "x,y,width,height": "2,3,20,10",
    "x,y,w,h": "2,3,20,10",
    "bbox_x,bbox_y,bbox_width,bbox_height": "2,3,20,10",
}


@pytest.mark.parametrize("columns", BOXES)
def test_boxes_in_the_table(tmp_path, columns):
    rows = (f"{name},{name[0]},{BOXES[columns] if name == 'a/1.jpg' else ',,,'}\n" for name in FILES[:4])
    write_table(tmp_path, FILES[:4], f"image,label,{columns}\n" + "".join(rows))
    images = read(tmp_path)
    boxes = {record.image_id: record.box for record in (*images.train, *images.test)}
    assert boxes == dict.fromkeys(FILES[:4]) | {"a/1.jpg": Box(2, 3, 22, 13)}


def test_parts_boxes_and_masks_beside_the_table(tmp_path):
    write_table(tmp_path, FILES[:4], "image,label\n" + "".join(f"{name},{name[0]}\n" for name in FILES[:4]))
    write_image(tmp_path / "masks/a/1.png")
    (tmp_path / "boxes.csv").write_text("image,x,y,width,height\na/1.jpg,1,2,3,4\n")
    (tmp_path / "parts.csv").write_text("image,part,x,y\na/1.jpg,ear,3,4\n")
    images = read(tmp_path)
    (record,) = [one for one in (*images.train, *images.test) if one.image_id == "a/1.jpg"]
    assert (record.box, record.mask) == (Box(1, 2, 4, 6), tmp_path / "masks/a/1.png")
    assert (images.part_names, record.part_visible.tolist(), images.left_out) == (("ear",), [True], {})


def test_groups_stay_on_one_side(tmp_path, caplog):
    caplog.set_level(logging.INFO, logger="pixpnet")
    root = write_lesions(tmp_path)
    images = read(root, test_size=0.3)
    assert images.class_names == ("bkl", "mel", "nv")
    assert "image from image_id, label from dx, group from lesion_id" in caplog.text
    splits = open_splits(DatasetConfig(name="csv", root=str(root), test_size=0.3, val_size=0.25), seed=1)
    sides = [{one.group for one in part.records} for part in (splits.train, splits.validation, splits.test)]
    assert sum(map(len, sides)) == len(set.union(*sides)) == 12
    assert all(sides)
    for options, group in (({"group_by": "localization"}, "scalp"), ({"group_by": "none"}, None)):
        if group is None:
            assert {record.group for record in read(root, **options).train} == {None}
        else:
            with pytest.raises(
                DataError, match=r"too few images to set one aside: groups stay whole \(localization;"
            ):
                read(root, **options)
    with pytest.raises(DataError, match=r"no column 'patient' for group; it has lesion_id, image_id, dx"):
        read(root, group_by="patient")


GROUPED = st.lists(st.tuples(st.integers(0, 3), st.integers(0, 8)), min_size=1, max_size=60)


@given(of=GROUPED, share=st.floats(0.05, 0.9), seed=st.integers(0, 5))
def test_no_group_is_divided(of, share, seed):
    records = tuple(
        ImageRecord(f"{place}.png", Path(), label, group=f"{group}" if group else None)
        for place, (label, group) in enumerate(of)
    )
    for kept, drawn in (
        set_aside(records, share=share, seed=seed),
        hold_out(records, share=share, seed=seed),
    ):
        assert sorted([*kept, *drawn], key=records.index) == list(records)
        assert not {one.group for one in kept} & {one.group for one in drawn} - {None}
        assert {one.label for one in kept} == {label for label, _ in of}
        assert len(drawn) <= len(records) * share + 2 * 4 + 60 // 2


def test_a_share_of_small_groups_is_met():
    records = tuple(
        ImageRecord(f"{place}.png", Path(), place // 3 % 4, group=f"{place // 3}") for place in range(360)
    )
    for draw in (set_aside, hold_out):
        kept, drawn = draw(records, share=0.2, seed=0)
        counts = Counter(record.label for record in drawn)
        assert all(abs(counts[label] - 18) <= 1 for label in range(4))
        assert len(kept) + len(drawn) == 360


def test_what_is_not_in_the_table_is_left_out_and_said(tmp_path, caplog):
    write_table(tmp_path, FILES, "image,label\n" + "".join(f"{name},{name[0]}\n" for name in FILES[:4]))
    (tmp_path / "a/notes.txt").touch()
    assert len(classes_of(read(tmp_path))) == 4
    assert "files are left out: 2 without a line in the table, 1 .txt" in caplog.text


def test_missing_images_stop_or_are_left_out(tmp_path):
    text = "image,label\n" + "".join(f"{name},{name[0]}\n" for name in FILES[:4])
    write_table(tmp_path, FILES[:4], f"{text}c/7.jpg,a\nb/1.jpg,b\n")
    with pytest.raises(DataError, match=r"line 6: there is no image 'c/7.jpg' below .*and 2 of 6 are miss"):
        read(tmp_path)
    images = read(tmp_path, on_unreadable="skip")
    assert len(classes_of(images)) == 4
    assert images.left_out == {"missing, though the table names them": 2}


TABLE = "image,label\na/1.jpg,a\na/2.jpg,a\nb/3.jpg,b\nb/4.jpg,b\n"
WRONG = {
    "no label": (TABLE.replace("2.jpg,a", "2.jpg,"), "line 3: the label of a/2.jpg is empty"),
    "an image twice": (f"{TABLE}2,a\n", "line 6: 2 again; it stands on line 3 already"),
    "two images": (f"{TABLE}x,a\n", "line 6: x is a/x.png or b/x.png; name images by their path"),
    "no images at all": ("image,label\nu,a\nv,b\n", "line 2: there is no image 'u' below"),
    "no line": ("", "labels.csv is empty; wanted a header"),
    "nothing": ("image,label\n", "labels.csv has no line below its header"),
    "split": ("image,label,split\na/1.jpg,a,3\n", "line 2: wanted split as one of train, training, test"),
    "box": (
        "image,label,x,y,w,h\na/1.jpg,a,1,2,0,4\n",
        "line 2: wanted a box with a width and a height (x y w h)",
    ),
    "box in words": ("image,label,x,y,w,h\na/1.jpg,a,1,2,y,4\n", "line 2: wanted x, y, w, h as numbers"),
    "a class of the test": (
        "image,label,split\na/1.jpg,a,train\na/2.jpg,b,test\nb/3.jpg,c,train\n",
        "no image of class b is for training",
    ),
}


@pytest.mark.parametrize("case", WRONG)
def test_an_error_names_file_and_line(tmp_path, case):
    text, message = WRONG[case]
    write_table(tmp_path, (*FILES[:4], "a/x.png", "b/x.png"), text)
    with pytest.raises(DataError) as raised:
        read(tmp_path)
    assert f"{tmp_path / 'labels.csv'}" in str(raised.value)
    assert message in str(raised.value)


def test_which_table(tmp_path):
    write_table(tmp_path / "set", FILES[:4], TABLE)
    (tmp_path / "set/pixels.csv").write_text("p1,p2,target\n" + "1,2,3\n" * 9)
    assert read(tmp_path).root == tmp_path / "set"  # the only folder of the root
    (tmp_path / "set/more.tsv").write_text("file\tclass\n1\tx\n3\ty\n")
    with pytest.raises(DataError, match=r"several tables of labels \(labels.csv, more.tsv\); name one as da"):
        read(tmp_path)
    assert read(tmp_path / "set", table="labels.csv").class_names == ("a", "b")
    with pytest.raises(DataError, match=r"CSV was not found: looked for the table none\.csv in"):
        read(tmp_path, table="none.csv")
    (tmp_path / "other").mkdir()
    with pytest.raises(DataError, match=r"looked for a CSV file in .*one line for|a line for each image"):
        read(tmp_path)


def test_flat_folders_beside_a_table_are_no_classes(tmp_path):
    root = write_lesions(tmp_path)
    with pytest.raises(DataError) as raised:
        read(root, name="folder")
    assert str(raised.value) == (
        f"{root / 'HAM10000_metadata.csv'} gives the images other classes than the folders they lie in "
        "(part_1, part_2): image from image_id, label from dx, group from lesion_id. Take --dataset.name csv "
        "to read the classes from the table; if the folders are the classes, move the table elsewhere."
    )
    (root / "HAM10000_metadata.csv").rename(root / "table.txt")
    assert read(root, name="folder").class_names == ("part_1", "part_2")


IN_FOLDERS = [(name, f"{name}/x{number}.png") for name in ("ant", "cat") for number in range(3)]
AGREEING = {
    "the folders' classes": "path,label\n" + "".join(f"{path},{name}\n" for name, path in IN_FOLDERS),
    "numbers of them": "path,label\n"
    + "".join(f"{path},{len(path) + ord(name[0])}\n" for name, path in IN_FOLDERS),
    "of other images": "path,label\n" + "".join(f"pear{path},{path}\n" for _, path in IN_FOLDERS),
    "few of the images": "path,label\nant/x0.png,1\nant/x1.png,2\n",
    "no table of labels": "size,remark\n1,2\n",
    "half a line": "image,label\nx\n",
}


@pytest.mark.parametrize("case", AGREEING)
def test_a_table_that_agrees_does_not_matter(tmp_path, case):
    write_tree(tmp_path, ("",), ("ant", "cat"), 3)
    (tmp_path / "table.csv").write_text(AGREEING[case])
    assert read(tmp_path, name="folder").class_names == ("ant", "cat")


def test_a_heap_of_images_with_a_table_is_told_the_way(tmp_path):
    write_table(tmp_path, ("1.jpg", "2.jpg"), "image,label\n1,a\n2,b\n")
    with pytest.raises(DataError, match=r"Where a table tells the classes, take dataset\.name csv"):
        read(tmp_path, name="folder")


@pytest.mark.parametrize("option", ["table", "columns", "group_by"])
def test_options_of_tables_are_refused_for_sets_without_one(tmp_path, option):
    write_tree(tmp_path, ("train", "test"), ("a", "b"), 1)
    with pytest.raises(ConfigError, match=f"dataset.{option.replace('_', '-')}: is for dataset.name csv"):
        read(tmp_path, name="folder", **{option: "label"})
