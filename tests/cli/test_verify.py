"""``pixpnet verify``: table, verdict, file and exit code."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from pixpnet.certificate import Certificate
from pixpnet.receptive_fields import ReceptiveField
from pixpnet.runs import Run, RunDirectory


@pytest.fixture
def run_copy(tiny_run: Path, tmp_path: Path) -> Path:
    """A run directory that may be written into."""
    return Path(shutil.copytree(tiny_run, tmp_path / "run"))


def test_a_good_run_passes(pixpnet: Callable, run_copy: Path) -> None:
    ended = pixpnet("verify", run_copy, "--trials", 9, "--seed", 4)
    file = run_copy / "results" / "certificate.json"
    assert ended.code == 0
    *table, verdict, path = ended.out.splitlines()
    assert verdict.startswith("Passed: in 9 trials nothing outside the displayed box")
    assert path == str(file)
    rows = [[cell.strip() for cell in line.strip("│").split("│")] for line in table if line.startswith("│")]
    assert [row[1] for row in rows] == 2 * ["noise", "zeros", "another image", "all"]
    assert [row[0] for row in rows if row[0]] == ["receptive field (displayed)", "upsampling, same area"]
    assert [row[2] for row in rows] == 2 * ["3", "3", "3", "9"]
    assert {row[4] for row in rows[:4]} == {"0.0 %"}
    certificate = Certificate.from_dict(json.loads(file.read_text()))
    assert (certificate.trials, certificate.seed, certificate.passed) == (9, 4, True)
    upsampling = certificate.overall("upsampling")
    assert rows[7][4] == f"{100 * upsampling.share_failing:.1f} %" != "0.0 %"
    first = file.read_text()
    assert pixpnet("verify", run_copy, "--trials", 9, "--seed", 4).code == 0
    assert file.read_text() == first


def test_a_failed_trial_is_exit_code_1(
    pixpnet: Callable, run_copy: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    true_field = Run.receptive_field

    def broken(run: Run) -> ReceptiveField:
        field = true_field(run)
        return replace(field, columns=(field.columns - 2).clip(0))

    monkeypatch.setattr(Run, "receptive_field", broken)
    ended = pixpnet("verify", run_copy, "--trials", 6)
    assert ended.code == 1
    *_, verdict, worst, _ = ended.out.splitlines()
    certificate = Certificate.from_dict(json.loads((run_copy / "results/certificate.json").read_text()))
    assert verdict == certificate.verdict
    assert verdict.startswith(f"Failed: in {certificate.failures} of 6 trials")
    assert certificate.worst_failure is not None
    assert worst.startswith(
        f"Worst: prototype {certificate.worst_failure.prototype} in test image "
        f"{certificate.worst_failure.image_id}, cell {certificate.worst_failure.cell}, box x "
    )


def test_a_checkpoint_that_lies_alone(pixpnet: Callable, tiny_run: Path, tmp_path: Path) -> None:
    (file,) = tiny_run.glob("csv/version_0/checkpoints/*.ckpt")
    shutil.copy(file, tmp_path / "lone.ckpt")
    ended = pixpnet("verify", tmp_path / "lone.ckpt", "--trials", 1)
    assert (ended.code, ended.out.splitlines()[-1]) == (0, str(tmp_path / "lone.certificate.json"))
    values = json.loads((tmp_path / "lone.certificate.json").read_text())
    assert [finding["replacement"] for finding in values["findings"]] == ["noise", "noise"]


@pytest.mark.parametrize("wrong", [["--trials", "0"], ["--trials", "x"], ["--seed", "-1"], ["--trails", "5"]])
def test_wrong_usage(pixpnet: Callable, tiny_run: Path, wrong: list[str]) -> None:
    ended = pixpnet("verify", tiny_run, *wrong)
    assert (ended.code, ended.out) == (2, "")
    assert ended.err.startswith("pixpnet: error: verify: ")
    assert wrong[0] in ended.err
    assert ended.err.count("\n") == 1


def test_no_run(pixpnet: Callable, tmp_path: Path) -> None:
    ended = pixpnet("verify", tmp_path / "none")
    assert (ended.code, ended.out) == (1, "")
    assert "no such run directory" in ended.err


@pytest.mark.parametrize("share", [-1.0, 1.05])
def test_a_prototype_that_is_not_its_patch(pixpnet: Callable, run_copy: Path, share: float) -> None:
    checkpoint = RunDirectory(run_copy).last_checkpoint()
    content = torch.load(checkpoint, weights_only=True)
    content["network"]["prototypes"][4] *= share
    torch.save(content, checkpoint)
    ended = pixpnet("verify", run_copy, "--trials", 3)
    assert ended.code == 1
    source = content["sources"][4]
    wanted = f"prototype 4 is not the patch that it should be at cell {source['cell']} of {source['path']}"
    assert wanted in ended.err
    assert ended.err.count("\n") == 1
    assert not (run_copy / "results" / "certificate.json").exists()
