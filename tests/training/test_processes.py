"""Several processes, and bf16: each run in a process of its own, since accelerate keeps state for life."""

import subprocess
import sys

import pytest
import torch
import yaml
from torch.nn import functional

from pixpnet.data import open_splits
from pixpnet.runs import load

# Not `accelerate launch --cpu`, which starts one process whatever its --num_processes is.
LAUNCH = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2"]


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
    for name, prefix in (("one", [sys.executable, "-m"]), ("two", [*LAUNCH, "-m"])):
        arguments = tiny_arguments(tmp_path / name, **still)
        runs.append(run_once([*prefix, "pixpnet", "train", *arguments], tmp_path / name))
    one, two = (load(run) for run in runs)
    assert [(s.image_id, s.cell, s.sha256) for s in one.sources] == [
        (s.image_id, s.cell, s.sha256) for s in two.sources
    ]
    for name, tensor in one.network.state_dict().items():
        # Two processes take two steps with the head, one takes three.
        atol = 2e-4 if name == "head.weight" else 1e-6
        assert torch.allclose(tensor, two.network.state_dict()[name], atol=atol), name
    scores = [yaml.safe_load((run / "results/scores.yaml").read_text()) for run in runs]
    assert scores[0] == pytest.approx(scores[1], rel=1e-3)


def assert_prototypes_are_patches(run):
    """Of the network that was saved, whichever process found the patch."""
    projection = open_splits(run.config.dataset, seed=7).projection
    index = {record.image_id: i for i, record in enumerate(projection.records)}
    assert len(run.sources) == run.network.num_prototypes
    for source in run.sources:
        with torch.no_grad():
            z = run.network.features(projection[index[source.image_id]].image[None])[0]
        patch = z[:, source.cell[0], source.cell[1]]
        assert torch.allclose(patch, run.network.prototypes[source.prototype, :, 0, 0], atol=1e-5)


def test_two_processes_train_one_network(tiny_arguments, tmp_path):
    arguments = tiny_arguments(tmp_path, train__epochs=3)
    run = load(run_once([*LAUNCH, "-m", "pixpnet", "train", *arguments], tmp_path))
    assert run.epoch == 3
    assert_prototypes_are_patches(run)


UNEQUAL_MEMORY = """
import os, sys
import torch
from torch.nn.modules.module import register_module_forward_pre_hook
from pixpnet.prototypes import PrototypeNetwork
from pixpnet.training import PooledClassifier, setup
torch.set_num_threads(1)
def limit(module, given):
    trains = isinstance(module, PooledClassifier | PrototypeNetwork) and torch.is_grad_enabled()
    if trains and len(given[0]) > 7 - 3 * int(os.environ["RANK"]):
        raise torch.OutOfMemoryError("too many")
register_module_forward_pre_hook(limit)
setup.require_gpu = lambda device: None  # there is none
from pixpnet.cli import main
sys.exit(main(["train", *sys.argv[1:]]))
"""


def test_two_processes_average_their_weights_and_take_the_smaller_batch(tiny_arguments, tmp_path):
    script = tmp_path / "unequal_memory.py"
    script.write_text(UNEQUAL_MEMORY)
    options = {"train__stochastic_weight_averaging": "", "train__hparam_tune": "", "profile": ""}
    arguments = tiny_arguments(tmp_path, **options)
    directory = run_once([*LAUNCH, str(script), *arguments], tmp_path)
    run = load(directory)
    assert run.config.train.batch_size == 4
    assert_prototypes_are_patches(run)
    assert [file.name for file in (directory / "profile").iterdir()] == ["simple.txt"]


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
