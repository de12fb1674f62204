import time
from contextlib import nullcontext
from dataclasses import replace
from datetime import datetime
from types import SimpleNamespace

import pytest
import torch
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from torch import nn

from pixpnet.config import Config, ModelConfig
from pixpnet.errors import CheckpointError, FileError
from pixpnet.files import write_atomically, write_text
from pixpnet.runs import MetricsFile, RunDirectory
from pixpnet.training import RunLogs

NOW = datetime(2026, 11, 22, 18, 15, 38)


def config(tmp_path, **options):
    return replace(Config(log_dir=str(tmp_path), model=ModelConfig(name="protonet")), **options)


def test_names_follow_data_set_run_and_time(tmp_path):
    first = RunDirectory.create(config(tmp_path, run_id="mine"), now=NOW)
    assert first.path == tmp_path / "synthbirds__mine" / "protonet" / "2026-11-22T18_15_38"
    second = RunDirectory.create(config(tmp_path, run_id="mine"), now=NOW)
    assert second.path.name == "2026-11-22T18_15_38_1"
    third = RunDirectory.create(config(tmp_path, run_id="mine"), now=NOW)
    assert third.path.name == "2026-11-22T18_15_38_2"
    debug = RunDirectory.create(config(tmp_path, debug=True), now=NOW)
    assert debug.path.parts[-3] == "synthbirds_DEBUG"


def test_what_is_not_a_run_is_refused(tmp_path):
    with pytest.raises(CheckpointError, match="no such run directory"):
        RunDirectory.open(tmp_path / "nothing")
    with pytest.raises(CheckpointError, match="is not a run directory"):
        RunDirectory.open(tmp_path)


def test_the_newest_run_of_a_folder_by_its_time_not_its_folder(tmp_path):
    with pytest.raises(CheckpointError, match="there is no run in"):
        RunDirectory.newest(tmp_path)
    for place in ("z/protonet/2026-11-22T18_15_38", "a/protonet/2026-11-23T01_00_00"):
        write_text(tmp_path / place / "results" / "config.yaml", "")
    assert RunDirectory.newest(tmp_path).path == tmp_path / "a/protonet/2026-11-23T01_00_00"
    assert RunDirectory.newest(tmp_path / "z/protonet/2026-11-22T18_15_38").path.name.endswith("18_15_38")


def test_the_last_checkpoint_is_that_of_the_latest_epoch(tmp_path):
    run = RunDirectory(tmp_path)
    with pytest.raises(CheckpointError, match="holds no checkpoint"):
        run.last_checkpoint()
    run.checkpoints.mkdir(parents=True)
    for epoch in (9, 10, 2):
        run.checkpoint_file(epoch=epoch, step=epoch * 7).touch()
    (run.checkpoints / ".epoch=11-step=77.ckpt.tmp").touch()
    assert run.last_checkpoint().name == "epoch=10-step=70.ckpt"


def test_the_chosen_checkpoint_moves_with_its_run(tmp_path):
    run = RunDirectory(tmp_path / "moved")
    assert run.chosen_checkpoint() is None
    old = RunDirectory(tmp_path / "run").checkpoint_file(epoch=2, step=14)
    write_text(run.best_model_file, f"{old}\n")
    assert run.chosen_checkpoint() == run.checkpoint_file(epoch=2, step=14)


def test_a_failed_write_leaves_the_last_good_version(tmp_path):
    path = tmp_path / "file.txt"
    write_text(path, "good")

    def half_then_full_disk(file):
        file.write(b"half")
        raise OSError(28, "No space left on device")

    with pytest.raises(FileError, match="No space left"):
        write_atomically(path, half_then_full_disk)
    with pytest.raises(KeyboardInterrupt):
        write_atomically(path, lambda file: (_ for _ in ()).throw(KeyboardInterrupt))
    assert path.read_text() == "good"
    assert list(tmp_path.iterdir()) == [path]


def test_metrics_rows_leave_empty_what_was_not_logged_and_can_be_cut_back(tmp_path):
    metrics = MetricsFile(tmp_path / "metrics.csv", ["a", "b"])
    metrics.append(epoch=1, step=10, values={"b": 0.5})
    size = metrics.size
    metrics.append(epoch=2, step=20, values={"a": 1.0})
    assert metrics.path.read_text() == "epoch,step,a,b\n1,10,,0.5\n2,20,1.0,\n"
    metrics.cut_back(size)
    reopened = MetricsFile(metrics.path, ["a", "b"])
    reopened.append(epoch=2, step=20, values={"a": 2.0})
    assert metrics.path.read_text() == "epoch,step,a,b\n1,10,,0.5\n2,20,2.0,\n"


def test_tensorboard_forgets_what_came_after_the_step_that_a_run_goes_on_from(tmp_path):
    directory = RunDirectory(tmp_path)
    for resumed_at, steps in ((None, (1, 2, 3)), (1, (2,))):
        time.sleep(1.1 if resumed_at else 0)  # files of events are sorted by the second in their names
        logs = RunLogs(
            directory, config(tmp_path), columns=["train_accuracy"], active=True, resumed_at=resumed_at
        )
        for step in steps:
            logs.log({"train_accuracy": step / 10}, epoch=step, step=step)
        logs.close()
    events = EventAccumulator(str(directory.tensorboard))
    events.Reload()
    assert [event.step for event in events.Scalars("train_accuracy")] == [1, 2]


@pytest.mark.parametrize("fails", [False, True])
def test_histograms_leave_a_frozen_backbone_in_eval_mode(fails, tmp_path):
    class Network(nn.Module):
        def __init__(self):
            super().__init__()
            self.backbone, self.add_on = nn.Conv2d(3, 4, 1), nn.Conv2d(4, 2, 1)

        def forward(self, images):
            modes.append(self.training)
            if fails:
                raise MemoryError
            values = self.add_on(self.backbone(images)).mean((2, 3))
            return SimpleNamespace(similarities=values, logits=values)

    modes, network = [], Network()
    network.backbone.eval()
    logs = RunLogs(RunDirectory(tmp_path), config(tmp_path), columns=[], active=True)
    with pytest.raises(MemoryError) if fails else nullcontext():
        logs.histograms(network, torch.rand(2, 3, 4, 4), step=1)
    logs.close()
    assert modes == [False]
    assert (network.training, network.backbone.training, network.add_on.training) == (True, False, True)
