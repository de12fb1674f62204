"""A run that is killed in the middle of an epoch and resumed ends as if nothing had happened, bit for bit."""

import shutil

import pytest
import torch
from killed import killed_run

from pixpnet.errors import CheckpointError
from pixpnet.runs import load
from pixpnet.training import resume


@pytest.mark.parametrize("at", [2, 5, 8], ids=["first-epoch", "warm-up", "joint"])
def test_killed_and_resumed(at, tiny_run, tiny_arguments, tmp_path):
    run = killed_run(tiny_arguments(tmp_path), tmp_path, step=at)
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
