"""A run whose data has moved: every command says what to do, and then works."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from pixpnet import load
from pixpnet.config import config_from_yaml, config_to_yaml
from pixpnet.runs import load_checkpoint, save_checkpoint


@pytest.fixture
def moved(tiny_run, birds, tmp_path):
    """A run directory, and where its data lies now; the run looks for it where nothing is."""
    run = tmp_path / "run"
    shutil.copytree(tiny_run, run)
    (file,) = (run / "csv/version_0/checkpoints").glob("*.ckpt")
    saved = load_checkpoint(file)
    config = config_from_yaml(saved.config_yaml)
    # Of SynthBirds, which would be rendered anew, only the files.
    dataset = replace(config.dataset, name="CUB-LAYOUT", root=str(tmp_path / "gone"))
    save_checkpoint(replace(saved, config_yaml=config_to_yaml(replace(config, dataset=dataset))), file)
    return run, birds


@pytest.mark.parametrize(
    ("command", "options"),
    [
        ("explain", ["--format", "json"]),
        ("verify", ["--trials", "3"]),
        ("evaluate", ["--metrics", "sparsity"]),
        ("report", ["--images", "1"]),
    ],
)
def test_the_data_can_lie_elsewhere(pixpnet, moved, tmp_path, command, options):
    run, birds = moved
    ended = pixpnet(command, run, *options)
    assert ended.code == 1
    assert ended.err.startswith(
        f"pixpnet: error: CUB-LAYOUT was not found: looked for images.txt in {tmp_path}"
    )
    assert ended.err.count("\n") == 1
    assert "if it lies elsewhere now, give --dataset-root DIR" in ended.err
    there = pixpnet(command, run, *options, "--dataset-root", birds)
    assert there.code == 0, there.err
    assert Path(there.out.splitlines()[-1]).is_file()


def test_loading_takes_the_folder(moved, monkeypatch):
    run, birds = moved
    monkeypatch.chdir(birds.parent)
    loaded = load(run, dataset_root=birds.name)
    assert loaded.config.dataset.root == str(birds)
    assert len(loaded.read_dataset().train) == 30
    assert load(run).config.dataset.root.endswith("gone")
