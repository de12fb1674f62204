"""Whoever writes to a run, a folder or a table is alone; a second one ends with one line."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from torch.optim.optimizer import register_optimizer_step_post_hook

from pixpnet.errors import FileError
from pixpnet.files import sole_writer
from pixpnet.runs import RunDirectory, load

WRITERS = {
    "train --resume RUN": "RUN",
    "explain RUN": "RUN",
    "explain RUN --out OUT": "OUT",
    "explain RUN --out RUN/mine": "RUN",
    "verify RUN --trials 3": "RUN",
    "evaluate RUN --metrics sparsity": "RUN",
    "evaluate RUN --metrics sparsity --out OUT": "OUT",
    "report RUN": "RUN",
    "prototypes RUN disable 1": "RUN",
}
"""Command -> where it writes."""


@pytest.fixture
def run(tiny_run: Path, tmp_path: Path) -> Path:
    shutil.copytree(tiny_run, tmp_path / "run")
    return tmp_path / "run"


@pytest.mark.parametrize(("line", "where"), WRITERS.items())
def test_a_second_writer_ends_with_one_line(
    pixpnet: Callable, run: Path, tmp_path: Path, line: str, where: str
) -> None:
    (run / "results" / "scores.yaml").unlink()
    before = {path: path.read_bytes() for path in run.rglob("*") if path.is_file()}
    arguments = line.replace("RUN", str(run)).replace("OUT", str(tmp_path / "out")).split()
    held = {"RUN": run, "OUT": tmp_path / "out"}[where]
    with RunDirectory(run).writing() if where == "RUN" else sole_writer(held):
        ended = pixpnet(*arguments)
        (held / ".lock").unlink()
        assert {path: path.read_bytes() for path in run.rglob("*") if path.is_file()} == before
    assert (ended.code, ended.out) == (1, "")
    message = (
        f"{held} is being written to by process {os.getpid()}; wait until it has ended, or write elsewhere."
    )
    assert ended.err == f"pixpnet: error: {message}\n"


def test_readers_and_those_who_write_elsewhere_go_on(
    pixpnet: Callable, run: Path, tiny_run: Path, tmp_path: Path
) -> None:
    with RunDirectory(run).writing():
        assert pixpnet("compare", run, tiny_run).code == 0
        assert pixpnet("evaluate", run, "--metrics", "sparsity", "--out", tmp_path / "out").code == 0
        assert pixpnet("report", run, "--images", "1", "--out", tmp_path / "report.html").code == 0


def test_a_run_that_trains_is_its_own(pixpnet: Callable, tiny_arguments: Callable, tmp_path: Path) -> None:
    told = []

    def look(*_: object) -> None:
        try:
            with RunDirectory.newest(tmp_path).writing():
                pass
        except FileError as error:
            told.append(str(error))

    hook = register_optimizer_step_post_hook(look)
    try:
        once = {"train__epochs": 1, "train__backbone_epochs": 0}
        assert pixpnet("train", *tiny_arguments(tmp_path, **once)).code == 0
    finally:
        hook.remove()
    assert told
    assert all("is being written to" in one for one in told)


def test_a_table_of_goldilocks(pixpnet: Callable, birds: Path, tmp_path: Path) -> None:
    options = ["--dataset.root", birds, "--dataset.classes", 3, "--dataset.size", 64]
    options += ["--dataset.train-images", 10, "--dataset.test-images", 4, "--model.no-pretrained"]
    with sole_writer(tmp_path, name="table"):
        ended = pixpnet(
            *("goldilocks", "--models", "small_resnet", "--out", tmp_path / "table.csv"), *options
        )
    assert ended.code == 1
    assert "is being written to by process" in ended.err
    assert list(tmp_path.iterdir()) == []


def test_a_table_of_predictions(pixpnet: Callable, run: Path, tiny_run: Path, tmp_path: Path) -> None:
    image = load(tiny_run).image_set.test[0].path
    with sole_writer(tmp_path, name="table.csv"):
        ended = pixpnet("predict", run, image, "--out", tmp_path / "table.csv")
    assert ended.code == 1
    assert "is being written to by process" in ended.err
    assert not (tmp_path / "table.csv").exists()
