"""``pixpnet train`` and ``demo``: what they hand to training, and how they end when interrupted."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from pixpnet.config import Config
from pixpnet.runs import load

ROOT = Path(__file__).parents[2]
REQUIRED = ["--model.name", "protonet", "--model.feature-extractor", "resnet18"]


@pytest.fixture
def trained(monkeypatch: pytest.MonkeyPatch) -> list[Config | Path]:
    """What training was asked to do, in place of doing it."""
    asked: list[Config | Path] = []

    def pretend(what: Config | Path, **options: object) -> Path:
        asked.extend((what, options) if options else (what,))
        return Path("the/run")

    monkeypatch.setattr("pixpnet.training.train", pretend)
    monkeypatch.setattr("pixpnet.training.resume", pretend)
    return asked


def test_train_gets_the_options_and_prints_the_run(pixpnet: Callable, trained: list[Config | Path]) -> None:
    assert pixpnet("train", *REQUIRED, "--train.epochs", "3") == (0, "the/run\n", "")
    (config,) = trained
    assert isinstance(config, Config)
    assert config.train.epochs == 3


@pytest.mark.parametrize(
    ("line", "root", "on_changed_data"),
    [
        ("--resume some/run", None, "stop"),
        ("--resume=some/run", None, "stop"),
        ("--dataset-root there --resume some/run", Path("there"), "stop"),
        ("--resume some/run --on-changed-data=continue", None, "continue"),
    ],
)
def test_resume(pixpnet: Callable, trained: list, line: str, root: Path | None, on_changed_data: str) -> None:
    assert pixpnet("train", *line.split()) == (0, "the/run\n", "")
    assert trained == [Path("some/run"), {"dataset_root": root, "on_changed_data": on_changed_data}]


@pytest.mark.parametrize(
    "line", ["--resume a b", "--resume a --seed 3", "--seed 3 --resume a", "--resume=a --debug"]
)
def test_a_resumed_run_keeps_its_options(pixpnet: Callable, trained: list, line: str) -> None:
    ended = pixpnet("train", *line.split())
    assert ended.code == 2
    assert ended.err.startswith("pixpnet: error: --resume: a run keeps its own options, so ")
    assert "pixpnet train --from a --train.epochs N" in ended.err
    assert trained == []


@pytest.mark.parametrize("line", ["--resume", "--from", "--from no/run --train.epochs 3"])
def test_no_run(pixpnet: Callable, trained: list, line: str) -> None:
    ended = pixpnet("train", *line.split())
    assert ended.code != 0
    assert "Traceback" not in ended.err
    assert trained == []


@pytest.mark.parametrize(("more", "backbone_epochs"), [("", 0), (" --train.backbone-epochs 1", 1)])
def test_a_run_is_trained_on_with_its_options(
    pixpnet: Callable, trained: list, tiny_run: Path, more: str, backbone_epochs: int
) -> None:
    assert pixpnet("train", *f"--train.epochs 2 --from {tiny_run}{more}".split()).code == 0
    (config,) = trained
    assert (config.train.epochs, config.train.backbone_epochs) == (2, backbone_epochs)
    assert (config.train.start_from, config.model.prototype_dim) == (str(tiny_run), 8)


def test_the_checkpoint_is_believed_not_a_file_beside_it(
    pixpnet: Callable, trained: list, tiny_run: Path, tmp_path: Path
) -> None:
    run = Path(shutil.copytree(tiny_run, tmp_path / "run"))
    file = run / "results" / "config.yaml"
    file.write_text(file.read_text().replace("prototype-dim: 8", "prototype-dim: 9"))
    assert "prototype-dim: 9" in file.read_text()
    assert load(run).config.model.prototype_dim == 8
    assert pixpnet("train", "--from", run).code == 0
    (config,) = trained
    assert config.model.prototype_dim == 8


def test_demo_trains_with_the_packaged_options_explains_and_reports(
    pixpnet: Callable, trained: list[Config | Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pixpnet.explanation.explain_images", lambda run_dir: [run_dir / "one.png"])
    monkeypatch.setattr("pixpnet.report.write_report", lambda run_dir: run_dir / "report.html")
    ended = pixpnet("demo", "--train.epochs", "70")
    assert ended == (0, "run: the/run\nexplanation: the/run/one.png\nreport: the/run/report.html\n", "")
    (config,) = trained
    assert isinstance(config, Config)
    assert (config.train.epochs, config.dataset.name, config.seed) == (70, "SYNTHBIRDS", 42)


def interrupted(run_dir: Path, *, epochs: int) -> Callable[..., Path]:
    """Training that is interrupted after some epochs."""

    def train(_: object, **__: object) -> Path:
        checkpoints = run_dir / "csv" / "version_0" / "checkpoints"
        checkpoints.mkdir(parents=True)
        for epoch in range(1, epochs + 1):
            (checkpoints / f"epoch={epoch}-step={epoch * 10}.ckpt").touch()
        raise KeyboardInterrupt

    return train


def test_an_interrupted_run_names_its_last_good_checkpoint(
    pixpnet: Callable, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    older = tmp_path / "zebras" / "protonet" / "2026-12-31T00_00_00"
    older.mkdir(parents=True)
    run_dir = tmp_path / "synthbirds" / "protonet" / "2026-11-22T18_15_38"
    monkeypatch.setattr("pixpnet.training.train", interrupted(run_dir, epochs=1))
    ended = pixpnet("train", *REQUIRED, "--log-dir", tmp_path)
    checkpoint = run_dir / "csv" / "version_0" / "checkpoints" / "epoch=1-step=10.ckpt"
    assert (ended.code, ended.out) == (130, "")
    assert ended.err == (
        f"pixpnet: interrupted: the last good checkpoint is {checkpoint}; "
        f"go on with: pixpnet train --resume {run_dir}\n"
    )


def test_an_interrupted_resumption_and_a_run_without_checkpoints(
    pixpnet: Callable, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    run_dir = tmp_path / "run"
    monkeypatch.setattr("pixpnet.training.resume", interrupted(run_dir, epochs=0))
    assert pixpnet("train", "--resume", run_dir) == (
        130,
        "",
        f"pixpnet: interrupted: {run_dir} holds no checkpoint yet, no epoch was complete\n",
    )


def test_interrupted_before_anything_was_written(
    pixpnet: Callable, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def train(_: object, **__: object) -> Path:
        raise KeyboardInterrupt

    monkeypatch.setattr("pixpnet.training.train", train)
    ended = pixpnet("train", *REQUIRED, "--log-dir", tmp_path / "logs")
    assert ended == (130, "", "pixpnet: interrupted: nothing was begun\n")


def test_the_script_is_the_command() -> None:
    script = ROOT / "scripts" / "run_protonet.py"
    ended = subprocess.run(
        [sys.executable, script, "--train.epoch", "3"], capture_output=True, text=True, check=False
    )
    assert ended.returncode == 2
    assert ended.stderr.startswith("pixpnet: error: unknown option --train.epoch ")
