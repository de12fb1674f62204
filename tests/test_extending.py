"""docs/howto/extend.md, executed: an outsider's five entries, trained with, explained and measured."""

import csv
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from pixpnet.runs import RunDirectory

DOCS = Path(__file__).parents[1] / "docs" / "howto" / "extend.md"


@pytest.fixture(scope="module")
def folder(birds, tmp_path_factory) -> Path:
    """Holds mine.py, all Python of the how-to, and shells/, the tests' birds in its data set's layout."""
    root = tmp_path_factory.mktemp("extending")
    blocks = re.findall(r"```python\n(.*?)```", DOCS.read_text(encoding="utf-8"), flags=re.DOTALL)
    (root / "mine.py").write_text("\n".join(blocks), encoding="utf-8")
    (root / "shells").mkdir()
    (root / "shells" / "images").symlink_to(birds / "images")
    is_training = dict(line.split() for line in (birds / "train_test_split.txt").read_text().splitlines())
    with (root / "shells" / "list.csv").open("w", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(["file", "species", "split"])
        for line in (birds / "images.txt").read_text().splitlines():
            number, path = line.split()
            split = "train" if is_training[number] == "1" else "test"
            rows.writerow([f"images/{path}", path.partition("/")[0], split])
    return root


def call(folder: Path, *arguments: str) -> subprocess.CompletedProcess:
    source = str(Path(__file__).parents[1] / "src")
    return subprocess.run(
        [sys.executable, "mine.py", *arguments],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": source},
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.fixture(scope="module")
def run_dir(folder, tiny_arguments) -> Path:
    options = {"dataset__name": "shells", "dataset__root": ".", "dataset__classes": None}
    options |= {"dataset__train_images": None, "dataset__test_images": None}
    options |= {"model__distance": "l1", "model__readout_type": "scaled-mean"}
    done = call(folder, "train", *tiny_arguments("logs", **options))
    assert done.returncode == 0, done.stderr
    return RunDirectory.newest(folder / "logs").path


def test_data_set_distance_and_head_are_trained_with(run_dir):
    directory = RunDirectory.open(run_dir)
    config = yaml.safe_load(directory.config_file.read_text())
    assert (config["dataset"]["name"], config["model"]["distance"]) == ("SHELLS", "l1")
    assert config["model"]["readout-type"] == "scaled-mean"
    assert 0 <= yaml.safe_load(directory.scores_file.read_text())["test_accuracy"] <= 1


def test_the_mapping_is_drawn(folder, run_dir):
    done = call(
        folder, "explain", str(run_dir), "--method", "nearest", "--out", "explanations", "--top-k", "1"
    )
    assert done.returncode == 0, done.stderr
    assert list((folder / "explanations").glob("*.png"))


def test_the_metric_is_measured(folder, run_dir):
    done = call(folder, "evaluate", str(run_dir), "--metrics", "length", "--methods", "nearest")
    assert done.returncode == 0, done.stderr
    (path,) = RunDirectory.open(run_dir).results.glob("interpretability.yaml")
    (measured,) = yaml.safe_load(path.read_text())["measurements"]
    assert measured["metric"] == "length"
    assert measured["values"]["length"]["count"] == 6
    assert measured["values"]["length"]["value"] > 0


def test_without_the_file_its_entries_are_named(folder, run_dir):
    done = subprocess.run(
        [sys.executable, "-m", "pixpnet", "explain", str(run_dir)],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[1] / "src")},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode != 0
    assert "l1" in done.stderr or "SHELLS" in done.stderr or "scaled-mean" in done.stderr, json.dumps(
        done.stderr
    )
    assert "Traceback" not in done.stderr
