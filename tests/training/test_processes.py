"""Several processes, and bf16: each run in a process of its own, since accelerate keeps state for life."""

import subprocess
import sys

import pytest
import torch
import yaml
from torch.nn import functional

from pixpnet.data import open_splits
from pixpnet.training import load

LAUNCH = [
    *(sys.executable, "-m", "accelerate.commands.launch", "--cpu", "--num_processes", "2"),
    *("--num_machines", "1", "--mixed_precision", "no", "--dynamo_backend", "no", "--main_process_port", "0"),
]


def run_once(command, log_dir):
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    (run,) = log_dir.glob("synthbirds/protonet/*")
    return run


def test_two_processes_project_as_one_does(tiny_arguments, tmp_path):
    """Without steps that change weights, both must find the same patches, head and scores."""
    still = {
        "train__epochs": 1,
        "train__backbone_epochs": 0,
        "optimizer__lr": 1e-30,
        "optimizer__fine_tune_lr": 1e-30,
        "optimizer__warmup_period": 1,
        "model__prototype_init": "data",
    }
    runs = []
    for name, prefix in (("one", [sys.executable]), ("two", LAUNCH)):
        arguments = tiny_arguments(tmp_path / name, **still)
        runs.append(run_once([*prefix, "-m", "pixpnet", "train", *arguments], tmp_path / name))
    one, two = (load(run) for run in runs)
    assert [(s.image_id, s.cell, s.sha256) for s in one.sources] == [
        (s.image_id, s.cell, s.sha256) for s in two.sources
    ]
    for name, tensor in one.network.state_dict().items():
        assert torch.allclose(tensor, two.network.state_dict()[name], atol=1e-6), name
    scores = [yaml.safe_load((run / "results/scores.yaml").read_text()) for run in runs]
    assert scores[0] == pytest.approx(scores[1], rel=1e-5)


def test_two_processes_train_one_network(tiny_arguments, tmp_path):
    arguments = tiny_arguments(tmp_path, train__epochs=2)
    run = load(run_once([*LAUNCH, "-m", "pixpnet", "train", *arguments], tmp_path))
    assert run.epoch == 2
    assert len(run.sources) == run.network.num_prototypes


def test_bf16_trains_but_projects_and_tests_in_float32(tiny_arguments, tmp_path):
    arguments = tiny_arguments(tmp_path, train__precision="bf16", train__epochs=2, train__backbone_epochs=0)
    directory = run_once([sys.executable, "-m", "pixpnet", "train", *arguments], tmp_path)
    run = load(directory)
    assert all(tensor.dtype != torch.bfloat16 for tensor in run.network.state_dict().values())
    assert len(run.sources) == run.network.num_prototypes
    test = open_splits(run.config.dataset, seed=7).test
    with torch.no_grad():
        logits = run.network(torch.stack([test[i].image for i in range(len(test))])).logits
    xent = functional.cross_entropy(logits, torch.tensor(test.labels))
    scores = yaml.safe_load((directory / "results/scores.yaml").read_text())
    assert scores["test_xent"] == pytest.approx(float(xent), rel=1e-5)
