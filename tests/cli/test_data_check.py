"""``pixpnet data prepare`` and ``check``: what they print, write and return."""

from __future__ import annotations

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
    assert "0 damaged images and 1 in training and in the test" in ended.err
    (tree / "test/dog/0.png").write_bytes(image[:30])
    ended = pixpnet(*arguments)
    assert ended.code == 1
    assert "images that cannot be read: 1" in ended.out
    assert "1 damaged images and 0 in" in ended.err
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
