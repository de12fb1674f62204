"""Profiles say where the time goes, and change nothing."""

import cProfile
import itertools
import json
import pstats
import re
import time

import pytest
import torch
from torch.optim.optimizer import register_optimizer_step_post_hook

from pixpnet.config import parse_config
from pixpnet.errors import ConfigError
from pixpnet.runs import load
from pixpnet.training import PROFILERS, resume, train

CPU = torch.device("cpu")


def phases(folder):
    rows = [re.split(r"\s{2,}", line) for line in (folder / "simple.txt").read_text().splitlines()[1:-1]]
    assert sum(float(share.strip("%")) for _, _, _, share, _ in rows) == pytest.approx(100, abs=0.5)
    assert {name: int(calls) for name, calls, *_ in rows} == {
        "other": 1,
        "training: waiting for images": 16,  # the end of an epoch is waited for, too
        "training: forward, backward, step": 4,
        "start of the prototypes": 1,
        "projection": 3,
        "readout": 3,
        "validation": 4,
        "checkpoint": 4,
        "test": 1,
        "thumbnails": 1,
        "sizes and speed": 1,
        "calibration": 1,
    }


def functions(folder):
    found = {name for _, _, name in pstats.Stats(str(folder / "advanced.pstats")).stats}
    assert {"train_epoch", "project_prototypes", "train_readout", "save_checkpoint"} <= found
    assert "Ordered by: internal time" in (folder / "advanced.txt").read_text()


def operations(folder):
    for stage, recorded in {"backbone": 2, "warm-up": 2, "joint": 3}.items():  # of 3, 3 and 6 steps
        events = json.loads((folder / f"pytorch-{stage}.json").read_text())["traceEvents"]
        steps = {e["name"] for e in events if e["name"].startswith("ProfilerStep#") and e.get("ph") == "X"}
        assert len(steps) == recorded, stage
        assert any(e["name"] == "aten::convolution" for e in events)
        lines = (folder / f"pytorch-{stage}.txt").read_text().splitlines()
        rows = [line for line in lines if line.lstrip().startswith(("aten::", "Optimizer"))]
        shares = [float(re.findall(r"([\d.]+)%", line)[0]) for line in rows]
        assert len(shares) > 10
        assert shares == sorted(shares, reverse=True)


@pytest.mark.parametrize(
    ("profiler", "check"), [("simple", phases), ("advanced", functions), ("pytorch", operations)]
)
def test_a_profiled_run_is_the_same_run(profiler, check, tiny_run, tiny_arguments, tmp_path):
    run = train(parse_config(tiny_arguments(tmp_path, profile="", profiler=profiler)), progress=False)
    check(run / "profile")
    assert all(file.name.startswith(profiler) for file in (run / "profile").iterdir())
    metrics = "csv/version_0/metrics.csv"
    assert (run / metrics).read_bytes() == (tiny_run / metrics).read_bytes()
    expected, actual = load(tiny_run).network.state_dict(), load(run).network.state_dict()
    assert all(torch.equal(expected[name], actual[name]) for name in expected)


def test_time_is_that_of_the_innermost_phase(tmp_path, monkeypatch):
    clock = itertools.count()  # a second passes whenever one looks
    monkeypatch.setattr(time, "perf_counter", lambda: float(next(clock)))
    profiler = PROFILERS["simple"](tmp_path / "made" / "simple", CPU)
    with profiler.running(), profiler.phase("outer"):  # seconds 0, 1
        with profiler.phase("inner"):  # 2
            pass  # 3
        with profiler.phase("inner"):  # 4
            pass  # 5
    assert profiler.seconds == {"other": 2, "outer": 3, "inner": 2}  # 6 ends outer, 7 the run
    assert profiler.calls == {"outer": 1, "inner": 2}
    assert (tmp_path / "made/simple.txt").read_text().splitlines()[-1].split() == ["all", "7.000"]


@pytest.mark.parametrize("name", PROFILERS)
def test_what_was_measured_is_written_after_an_error_too(name, tmp_path):
    profiler = PROFILERS[name](tmp_path / name, CPU)

    def failing():
        with profiler.running():
            profiler.stage("joint", steps=9)
            for _ in profiler.batches(range(4)):
                with profiler.phase("training"):
                    torch.ones(3).sum()
                profiler.step()
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        failing()
    assert any(file.suffix == ".txt" for file in tmp_path.iterdir())


def test_functions_within_another_profile_are_one_clear_error(tmp_path, monkeypatch):
    def taken(profile):  # as Python 3.12 has it
        raise ValueError("Another profiling tool is already active")

    monkeypatch.setattr(cProfile, "Profile", type("Taken", (cProfile.Profile,), {"enable": taken}))
    with pytest.raises(ConfigError, match="inside of another profiler"):
        PROFILERS["advanced"](tmp_path / "inner", CPU).start()


def test_a_single_step_is_recorded(tmp_path):
    profiler = PROFILERS["pytorch"](tmp_path / "pytorch", CPU)
    with pytest.warns(UserWarning, match="warmup"):
        profiler.stage("joint", steps=1)
    torch.ones(3).sum()
    profiler.step()
    assert "aten::sum" in (tmp_path / "pytorch-joint.txt").read_text()


SHORT = {"train__epochs": 2, "train__backbone_epochs": 0, "train__no_push_prototypes": ""}


def test_nothing_is_measured_unless_asked_for(tiny_arguments, tmp_path, caplog):
    arguments = tiny_arguments(tmp_path, profiler="advanced", **{**SHORT, "train__epochs": 1})
    run = train(parse_config(arguments), progress=False)
    assert not (run / "profile").exists()
    warnings = [record.getMessage() for record in caplog.records if record.levelname == "WARNING"]
    assert warnings == ["profiler advanced measures nothing without `profile`"]


def test_a_resumed_run_keeps_the_former_profile(tiny_arguments, tmp_path):
    steps = []

    def interrupt(*_):
        steps.append(1)
        if len(steps) == 5:  # of 3 an epoch
            raise KeyboardInterrupt

    handle = register_optimizer_step_post_hook(interrupt)
    with pytest.raises(KeyboardInterrupt):
        train(parse_config(tiny_arguments(tmp_path, profile="", **SHORT)), progress=False)
    handle.remove()
    (run,) = tmp_path.glob("synthbirds/protonet/*")
    former = (run / "profile/simple.txt").read_text()
    resume(run, progress=False)
    assert {file.name for file in (run / "profile").iterdir()} == {"simple.txt", "simple-from-epoch-2.txt"}
    assert (run / "profile/simple.txt").read_text() == former
