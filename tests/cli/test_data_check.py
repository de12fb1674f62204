"""``pixpnet data prepare`` and ``check``: what they print, write and return."""

from __future__ import annotations

import os

import numpy as np
import pytest
from PIL import Image

SET = ["--classes", "3", "--size", "64", "--train-images", "10", "--test-images", "4"]


@pytest.fixture
def tree(tmp_path):
    """A folder of two classes, each with two training and one test image."""
    for split, count in (("train", 2), ("test", 1)):
        for label in ("cat", "dog"):
            folder = tmp_path / "tree" / split / label
            folder.mkdir(parents=True)
            for number in range(count):
                colour = (len(split) * 30, len(list(tmp_path.rglob("*.png"))), number)
                Image.new("RGB", (12, 9), colour).save(folder / f"{number}.png")
    return tmp_path / "tree"


def test_a_sound_set_ends_with_0_and_a_sheet(pixpnet, birds, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    ended = pixpnet("data", "check", "synth-birds", "--root", birds, *SET)
    assert (ended.code, ended.err) == (0, "")
    lines = ended.out.splitlines()
    assert lines[0] == f"SYNTHBIRDS in {birds}: 3 classes, 30 training and 12 test images"
    assert lines[-1] == "sheet of images: logs/data/synthbirds.png"
    with Image.open(tmp_path / "logs/data/synthbirds.png") as sheet:
        assert sheet.width > 1000
    assert [path.name for path in tmp_path.iterdir()] == ["logs"]


def test_damage_and_leaks_end_with_1(pixpnet, tree, tmp_path):
    out = tmp_path / "sheets" / "one.png"
    arguments = ("data", "check", "folder", "--root", tree, "--out", out)
    assert pixpnet(*arguments).code == 0
    image = (tree / "train/cat/0.png").read_bytes()
    (tree / "test/dog/0.png").write_bytes(image)
    ended = pixpnet(*arguments)
    assert ended.code == 1
    assert "images in training and in the test: 1 (train/cat/0.png = test/dog/0.png)" in ended.out
    assert ended.err.count("\n") == 1
    assert "0 damaged images, 1 in training and in the test, 1 of the same pixels in two classes" in ended.err
    (tree / "test/dog/0.png").write_bytes(image[:30])
    ended = pixpnet(*arguments)
    assert ended.code == 1
    assert "images that cannot be read: 1" in ended.out
    assert "1 damaged images, 0 in training" in ended.err
    assert out.exists()


def test_prepare_tells_what_is_there(pixpnet, tree):
    ended = pixpnet("data", "prepare", "folder", "--root", tree)
    assert ended == (0, f"FOLDER in {tree}: 2 classes, 4 training and 2 test images\n", "")


def test_prepare_hands_on_its_arguments(pixpnet, monkeypatch, tree):
    from pixpnet.data import datasets

    asked = []
    prepare = datasets.prepare

    def prepared(name, root, *, progress):
        progress(1, 2)
        asked.append((name, root))
        return prepare("folder", tree)

    monkeypatch.setattr(datasets, "prepare", prepared)
    assert pixpnet("data", "prepare", "CUB200").code == 0
    assert asked == [("CUB200", "data")]


@pytest.mark.parametrize("action", ["prepare", "check"])
def test_wrong_names_and_missing_sets_are_one_line(pixpnet, tmp_path, action):
    ended = pixpnet("data", action, "foldr", "--root", tmp_path)
    assert (ended.code, ended.err.count("\n")) == (2, 1)
    assert "did you mean FOLDER?" in ended.err
    ended = pixpnet("data", action, "imagenet", "--root", tmp_path)
    assert (ended.code, ended.err.count("\n")) == (1, 1)
    assert "IMAGENET was not found" in ended.err
    assert pixpnet("data", action).code == 2
    assert "NAME" in pixpnet("data", action, "--help").out


def test_a_sheet_needs_the_name_of_a_file(pixpnet, tree, tmp_path):
    (tmp_path / "file").touch()
    for out, wrong in (
        (tree, f"{tree} is a folder; give the name of a file"),
        (tmp_path / "file/one.png", f"{tmp_path}/file is a file; give a folder"),
    ):
        ended = pixpnet("data", "check", "folder", "--root", tree, "--out", out)
        assert ended == (2, "", f"pixpnet: error: data check: argument --out: {wrong}\n")


@pytest.mark.parametrize("place", ["train/cat", "test/dog", "train", "masks/train/cat"])
def test_a_pipe_among_the_images_holds_nothing_up(pixpnet, tree, tmp_path, place):
    (tree / place).mkdir(parents=True, exist_ok=True)
    for name in ("0.jpg", "pipe", "pipe.txt"):
        os.mkfifo(tree / place / name)
    ended = pixpnet("data", "check", "folder", "--root", tree, "--out", tmp_path / "sheet.png")
    assert ended.code == 0
    assert ("3 (pipe or device)" in ended.out) == (place != "train")


@pytest.mark.parametrize("splits", [("train", "test"), ("",)])
def test_one_class_is_an_error_as_in_training(pixpnet, tmp_path, splits):
    for split in splits:
        for number in range(3):
            path = tmp_path / "set" / split / "robin" / f"{number}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.new("RGB", (9, 9), (number, len(split), 0)).save(path)
    ended = pixpnet("data", "check", "folder", "--root", tmp_path / "set", "--out", tmp_path / "sheet.png")
    assert ended.code == 1
    assert "has one class, robin: there is nothing to tell it from. Is this the folder" in ended.err


def test_labels_in_a_table(pixpnet, tree, tmp_path):
    names = sorted(path.relative_to(tree).as_posix() for path in tree.rglob("*.png"))
    rows = "".join(f"{name};{'ab'[place % 2]};{place // 2}\n" for place, name in enumerate(names))
    (tree / "list.csv").write_text(f"scan;kind;camera\n{rows}")
    check = ("data", "check", "csv", "--root", tree, "--out", tmp_path / "sheet.png")
    ended = pixpnet(*check)
    assert (ended.code, ended.err.count("\n")) == (1, 1)
    assert "no column with a usual name for the image" in ended.err
    ended = pixpnet(*check, "--columns", "image=scan,label=kind", "--test-size", "0.4")
    assert ended.code == 0
    assert ended.out.startswith(f"CSV in {tree}: 2 classes, 4 training and 2 test images\n")
    ended = pixpnet(*check, "--columns", "image=scan,label=kind", "--group-by", "none")
    assert ended.code == 0
    (tree / names[0]).unlink()
    ended = pixpnet(*check, "--columns", "image=scan,label=kind")
    assert "1 of 6 are missing (dataset.on-unreadable skip leaves them out)" in ended.err
    ended = pixpnet(*check, "--columns", "image=scan,label=kind", "--on-unreadable", "skip")
    assert "1 missing, though the table names them" in ended.out
    assert pixpnet(*check, "--columns", "img=scan").code == 2


def test_pairs_that_are_almost_alike_have_a_sheet_of_their_own(pixpnet, tree, tmp_path):
    rng = np.random.default_rng(0)
    image = Image.fromarray(rng.integers(0, 256, (64, 64, 3), dtype=np.uint8))
    image.save(tree / "train/cat/noise.png")
    image.save(tree / "test/cat/noise.jpg", quality=95)
    ended = pixpnet("data", "check", "folder", "--root", tree, "--out", tmp_path / "sheet.png")
    assert ended.code == 0
    found = "images almost alike in training and in the test: 1 (train/cat/noise.png ~ test/cat/noise.jpg)"
    assert found in ended.out
    assert ended.out.endswith(f"sheet of images that are almost alike: {tmp_path / 'sheet-alike.png'}\n")
    with Image.open(tmp_path / "sheet-alike.png") as sheet:
        assert sheet.size == (2 * 206 + 6, 222 + 6)
