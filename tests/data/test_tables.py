"""Tables as spreadsheets and pandas write them, read beside a folder of images."""

import numpy as np
import pytest
from real_layouts import write_tree

from pixpnet.config import DatasetConfig
from pixpnet.data import read_dataset
from pixpnet.errors import DataError
from pixpnet.types import Box

BOX = "image,x,y,width,height\ntrain/café/train0.png,2.5,3,20,10\n"
PART = "image,part,x,y,visible\ntrain/café/train0.png,ear,3,4,{}\n"

WRITTEN = {
    "commas": BOX.encode(),
    "semicolons": BOX.replace(",", ";").encode(),
    "tabs": BOX.replace(",", "\t").encode(),
    "bars": BOX.replace(",", "|").encode(),
    "decimal commas": BOX.replace(",", ";").replace("2.5", "2,5").encode(),
    "sep=,": f"sep=,\n{BOX}".encode(),
    "sep=; of Excel": f"sep=;\r\n{BOX.replace(',', ';')}".encode("utf-8-sig"),
    "sep= of a rare one": f"sep=:\n{BOX.replace(',', ':')}".encode(),
    "sep= in quotes, filled up": f'"sep=;";;;;\n{BOX.replace(",", ";")}'.encode(),
    "mark of UTF-8": BOX.encode("utf-8-sig"),
    "Windows-1252": BOX.encode("cp1252"),
    "Unicode text of Excel": BOX.replace(",", "\t").replace("\n", "\r\n").encode("utf-16"),
    "lines of old Macs": BOX.replace("\n", "\r").encode(),
    "no last newline": BOX.rstrip().encode(),
    "quotes everywhere": "".join(
        ",".join(f'"{field}"' for field in line.split(",")) + "\n" for line in BOX.splitlines()
    ).encode(),
    "index of pandas": "\n".join(
        f"{number}{line}" for number, line in zip((",", "0,"), BOX.splitlines(), strict=True)
    ).encode(),
    "empty columns at the end": BOX.replace("\n", ",,\n").encode(),
    "empty lines": BOX.replace("\n", "\n\n,,,,\n").encode(),
    "more columns, other order": (
        b"Height,remark,Width,Y,X,Image\n10,a,20,3,2.5,train/caf\xc3\xa9/train0.png\n"
    ),
    "decomposed letters": BOX.replace("é", "e\N{COMBINING ACUTE ACCENT}").encode(),
    "backslashes": BOX.replace("/", "\\").encode(),
}


@pytest.fixture
def root(tmp_path):
    return write_tree(tmp_path, ("train", "test"), ("café", "tea"), 1)


def read(root):
    images = read_dataset(DatasetConfig(name="folder", root=str(root)))
    (record,) = [record for record in images.train if record.image_id == "train/café/train0.png"]
    return record


@pytest.mark.parametrize("way", WRITTEN)
def test_a_table_is_read_however_it_was_written(root, way):
    (root / "boxes.csv").write_bytes(WRITTEN[way])
    assert read(root).box == Box(2.5, 3, 22.5, 13)


@pytest.mark.parametrize("way", ["cp1252", "utf-8", "utf-8-sig", "utf-16"])
def test_names_of_parts_have_their_letters(root, way):
    table = PART.format(1).replace("ear", "œil").replace(",", ";")
    (root / "parts.csv").write_bytes(table.encode(way))
    assert read_dataset(DatasetConfig(name="folder", root=str(root))).part_names == ("œil",)


FLAGS = {
    True: ("1", "1.0", "1.", "True", "true", "TRUE", "yes", "Y", "t", "", '"1"', '"True"'),
    False: ("0", "0.0", "0.00", "False", "false", "FALSE", "No", "n", "F", '"0"'),
}


@pytest.mark.parametrize(("text", "is_visible"), [(text, flag) for flag in FLAGS for text in FLAGS[flag]])
def test_yes_and_no_in_every_spelling(root, text, is_visible):
    (root / "parts.csv").write_text(PART.format(text))
    record = read(root)
    np.testing.assert_array_equal(record.part_visible, [is_visible])
    (root / "parts.csv").write_text(PART.format(text.replace(".", ",")).replace(",", ";", 8))
    np.testing.assert_array_equal(read(root).part_visible, [is_visible])


@pytest.mark.parametrize("text", ["2", "maybe", "-1", "0.5", "10", "nan"])
def test_other_words_are_told_what_is_accepted(root, text):
    (root / "parts.csv").write_text(PART.format(text))
    with pytest.raises(DataError) as raised:
        read(root)
    assert str(raised.value) == (
        f"{root / 'parts.csv'}, line 2: wanted 0 or 1 (visible), got {text!r} "
        "(true and false, yes and no are read, too)."
    )


def test_a_name_may_hold_separators_and_line_ends(root):
    (root / "parts.csv").write_text(PART.format(1).replace("ear", '"ear; left,\nor ""right"""'))
    images = read_dataset(DatasetConfig(name="folder", root=str(root)))
    assert images.part_names == ('ear; left,\nor "right"',)


def test_commas_are_no_decimal_points_between_commas(root):
    (root / "boxes.csv").write_text(BOX.replace("2.5", '"2,5"'))
    with pytest.raises(DataError, match=r"line 2: wanted x, y, width, height as numbers, got '2,5 3 20 10'"):
        read(root)


def test_a_table_that_is_a_folder_is_told(root):
    (root / "boxes.csv").mkdir()
    with pytest.raises(DataError, match=r"boxes.csv .* is no ordinary file. Wanted a table of lines `image,"):
        read(root)
