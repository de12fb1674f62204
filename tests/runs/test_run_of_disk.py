"""The data set of a trained network: it must be the one that it was trained on."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from pixpnet import load
from pixpnet.data import DATASETS
from pixpnet.errors import CheckpointError, DataError, MissingDataError
from pixpnet.runs import Run, RunDirectory


@pytest.fixture
def run(tiny_run: Path) -> Run:
    return load(tiny_run)


def test_the_data_set_of_the_run_is_taken(run: Run) -> None:
    assert run.read_dataset().class_names == run.class_names


@pytest.mark.parametrize(
    ("classes", "words"),
    [(("a",), "has 3 classes, not the 1 that"), (("a", "b", "c"), "has other classes than those that")],
)
def test_a_data_set_with_other_classes_is_refused(run: Run, classes, words) -> None:
    with pytest.raises(DataError, match=rf"{words} the network was trained on\. This is the data of"):
        replace(run, class_names=classes).read_dataset()


def test_changed_images_of_prototypes_are_refused(run: Run, tmp_path: Path) -> None:
    """The data set is moved: root and image are the copy's."""
    copy = tmp_path / "birds"
    shutil.copytree(run.config.dataset.root, copy)
    moved = load(run.checkpoint, dataset_root=copy)
    root = moved.read_dataset().root
    image = copy / moved.sources[0].path
    with image.open("ab") as file:
        file.write(b"x")
    with pytest.raises(DataError, match=r"has changed since prototype \d+ was projected"):
        moved.read_dataset()
    assert root.is_relative_to(copy)


def test_a_missing_image_of_a_prototype_is_named(run: Run) -> None:
    sources = (replace(run.sources[0], image_id="999"), *run.sources[1:])
    with pytest.raises(DataError, match=r"no training image 999 .*, which prototype 0 was projected onto"):
        replace(run, sources=sources).read_dataset()


@pytest.mark.parametrize("name", [name for name, spec in DATASETS.items() if spec.archive is None])
def test_a_data_set_that_is_gone_is_told_from_a_damaged_one(run: Run, tmp_path: Path, name: str) -> None:
    """Also one that could be rendered, but not there."""
    (tmp_path / "file").touch()
    dataset = replace(run.config.dataset, name=name, root=str(tmp_path / "file" / "below"))
    with pytest.raises(MissingDataError, match=r"This is the data of the run"):
        replace(run, config=replace(run.config, dataset=dataset)).read_dataset()


def test_a_dataset_root_that_is_not_there_is_not_made(run: Run, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"there is no folder .*nope"):
        load(run.checkpoint, dataset_root=tmp_path / "nope")
    assert not (tmp_path / "nope").exists()


def test_damaged_run_directories_say_what_is_wrong(tiny_run: Path, tmp_path: Path) -> None:
    copy = tmp_path / "run"
    shutil.copytree(tiny_run, copy)
    directory = RunDirectory(copy)
    with pytest.raises(CheckpointError, match=r"config\.yaml is a file; give the folder of a run"):
        load(directory.config_file)
    directory.best_model_file.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(CheckpointError, match=r"best_model_path\.txt is damaged"):
        load(copy)
    directory.best_model_file.unlink()
    shutil.rmtree(directory.checkpoints)
    with pytest.raises(CheckpointError, match="is a finished run, but its checkpoints are gone"):
        load(copy)
