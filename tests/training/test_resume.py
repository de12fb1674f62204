"""A run that is killed in the middle of an epoch and resumed ends as if nothing had happened, bit for bit."""

import shutil
import signal
import subprocess
import sys

import pytest
import torch

from pixpnet.errors import CheckpointError
from pixpnet.runs import load
from pixpnet.training import resume

KILLED_AT = """
import os, signal, sys
import torch
torch.set_num_threads(1)
from pixpnet.training import tools
step, seen = tools.EpochBar.step, []
def killing(self, meter):
    seen.append(1)
    if len(seen) == {at}:
        os.kill(os.getpid(), signal.SIGKILL)
    step(self, meter)
tools.EpochBar.step = killing
from pixpnet.cli import main
main(["train", *sys.argv[1:]])
"""


@pytest.mark.parametrize("at", [2, 5, 8], ids=["first-epoch", "warm-up", "joint"])
def test_killed_and_resumed(at, tiny_run, tiny_arguments, tmp_path):
    done = subprocess.run(
        [sys.executable, "-c", KILLED_AT.format(at=at), *tiny_arguments(tmp_path)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == -signal.SIGKILL, done.stderr
    (run,) = tmp_path.glob("synthbirds/protonet/*")
    if at < 4:  # the first epoch was not completed
        with pytest.raises(CheckpointError, match="not one of its epochs"):
            resume(run, progress=False)
        return
    resume(run, progress=False)
    assert (run / "csv/version_0/metrics.csv").read_text() == (
        tiny_run / "csv/version_0/metrics.csv"
    ).read_text()
    expected, actual = load(tiny_run), load(run)
    for name, tensor in expected.network.state_dict().items():
        assert torch.equal(tensor, actual.network.state_dict()[name]), name
    assert actual.sources == expected.sources


def test_a_complete_run_has_nothing_to_resume(tiny_run):
    with pytest.raises(CheckpointError, match="is complete"):
        resume(tiny_run, progress=False)


def test_a_metrics_file_that_lost_rows_is_refused(tiny_run, tmp_path):
    run = tmp_path / "run"
    shutil.copytree(tiny_run, run)
    (run / "results/scores.yaml").unlink()
    metrics = run / "csv/version_0/metrics.csv"
    metrics.write_bytes(metrics.read_bytes()[:100])
    with pytest.raises(CheckpointError, match="has 100 bytes"):
        resume(run, progress=False)
    metrics.unlink()
    with pytest.raises(CheckpointError, match="is missing"):
        resume(run, progress=False)
    assert not metrics.exists()
