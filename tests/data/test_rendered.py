"""SynthBirds is rendered once, into a folder of its parameters, whoever else wants it too."""

import json
import multiprocessing
import shutil

import pytest

from pixpnet.config import DatasetConfig
from pixpnet.data import read_dataset
from pixpnet.errors import ConfigError, DataError
from pixpnet.synthbirds import render_dataset

TINY = {"name": "synth-birds", "classes": 2, "size": 32, "train_images": 2, "test_images": 1, "seed": 7}


def read(root, **options):
    told = []
    images = read_dataset(
        DatasetConfig(root=str(root), **{**TINY, **options}), progress=lambda *done: told.append(done)
    )
    return images, told


def test_rendered_once_and_again_for_other_parameters(tmp_path):
    images, told = read(tmp_path)
    assert told[-1] == (6, 6)
    assert (images.num_classes, len(images.train), len(images.test)) == (2, 4, 2)
    assert len(images.part_names) == 15
    again, told = read(tmp_path)
    assert (again.root, told) == (images.root, [])
    other, told = read(tmp_path, seed=8)
    assert told[-1] == (6, 6)
    assert other.root != images.root
    assert other.root.parent == images.root.parent == tmp_path / "synthbirds"


def test_a_rendered_set_may_be_the_root(tmp_path):
    root = read(tmp_path)[0].root
    images, told = read(root)
    assert (images.root, told) == (root, [])
    with pytest.raises(DataError, match=r"another SynthBirds .*: it has train-images 2, seed 7\. Ask for"):
        read(root, train_images=3, seed=8)
    (root / "attributes.json").write_text(json.dumps({"parameters": {"classes": 2}}))
    with pytest.raises(DataError, match=r"attributes\.json does not tell what SynthBirds was rendered with"):
        read(root)


def test_wrong_parameters(tmp_path):
    with pytest.raises(ConfigError, match="classes must be from 1 to 200"):
        read(tmp_path, classes=0)
    assert list(tmp_path.iterdir()) == []


def test_where_nothing_can_be_written(tmp_path):
    (tmp_path / "synthbirds").write_text("a file where the folder should be")
    with pytest.raises(DataError, match="cannot be written"):
        read(tmp_path)


def test_two_runs_at_once(tmp_path):
    context = multiprocessing.get_context("fork")
    with context.Pool(2) as pool:
        roots = pool.starmap(_root, [(tmp_path, start) for start in range(2)], chunksize=1)
    assert roots[0] == roots[1]
    assert [entry.name for entry in roots[0].parent.iterdir()] == [roots[0].name]


def _root(root, _):
    return read(root)[0].root


def test_the_other_run_was_first(tmp_path):
    """The folder of another run, of a machine that knows nothing of this one's locks, appears meanwhile."""
    others = read(tmp_path / "elsewhere")[0].root
    (others / "other").touch()
    root, told = tmp_path / "here", []

    def progress(*done):
        told.append(done)
        shutil.copytree(others, root / others.relative_to(tmp_path / "elsewhere"))

    images = read_dataset(DatasetConfig(root=str(root), **TINY), progress=progress)
    assert told == [(6, 6)]
    assert (images.root / "other").is_file()
    assert list(images.root.parent.iterdir()) == [images.root]


def test_something_else_came_first(tmp_path):
    def progress(*done):
        (tmp_path / "set").mkdir()
        (tmp_path / "set" / "other").touch()

    options = {name: value for name, value in TINY.items() if name != "name"}
    with pytest.raises(DataError, match="set holds something else than SynthBirds with classes=2"):
        render_dataset(tmp_path / "set", **options, progress=progress)
    assert [path.name for path in tmp_path.rglob("*")] == ["set", "other"]
