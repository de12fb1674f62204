"""Whole runs on small copies of the public data sets, through the script and its configurations."""

import csv
import runpy
import sys
from pathlib import Path

import pytest
import yaml
from real_layouts import SYNSETS, write_cifar10, write_devkit, write_funnybirds, write_tree

ROOT = Path(__file__).parents[2]
CONFIGS = ROOT / "configs" / "protonets"

SMALL = {
    "model.feature-extractor": "small_resnet",
    "model.feature-layer": "layer2",
    "model.prototype-dim": 8,
    "train.epochs": 1,
    "train.backbone-epochs": 0,
    "train.batch-size": 8,
    "train.readout-push-epochs": 1,
    "dataset.augment-factor": 1,
    "optimizer.warmup-period": 0,
}
"""Makes a run on a few images one of seconds."""


def run(config: str, root: Path, log_dir: Path, monkeypatch, **options: object) -> Path:
    """What `python scripts/run_protonet.py` writes."""
    named = {name.replace("__", ".").replace("_", "-"): value for name, value in options.items()}
    arguments = [
        part
        for name, value in {"dataset.root": root, "log-dir": log_dir, "dataset.workers": 0, **named}.items()
        for part in (f"--{name}", str(value))
    ]
    script = ROOT / "scripts" / "run_protonet.py"
    line = [str(script), "-c", str(CONFIGS / config), "--model.no-pretrained", *arguments]
    monkeypatch.setattr(sys, "argv", line)
    with pytest.raises(SystemExit) as ended:
        runpy.run_path(str(script), run_name="__main__")
    assert ended.value.code == 0
    (scores,) = log_dir.glob("*/protonet/*/results/scores.yaml")
    return scores.parents[1]


SETS = {
    "cub": ("proto-cub200224-dummy.yaml", 3, {}),
    "cars": ("proto-cars224.yaml", 3, {}),
    "cifar10": ("proto-cifar10-dummy.yaml", 4, {}),
    "imagenette": ("proto-cifar10-dummy.yaml", 10, {"dataset__name": "imagenette"}),
    "folder": ("proto-cub200224-dummy.yaml", 2, {"dataset__name": "folder", "dataset__size": 64}),
    "funnybirds": ("proto-funnybirds.yaml", 2, {"dataset__size": 64}),
    "cub-layout": ("proto-funnybirds.yaml", 3, {"dataset__name": "cub-layout", "dataset__size": 64}),
}


@pytest.fixture
def layouts(tmp_path, cub_folder):
    """Writes the layout of a set and returns its root."""
    return {
        "cub": lambda: cub_folder("birds"),
        "cub-layout": lambda: cub_folder("birds"),
        "cars": lambda: write_devkit(tmp_path / "cars"),
        "cifar10": lambda: write_cifar10(tmp_path / "cifar").parent,
        "imagenette": lambda: write_tree(tmp_path / "ten", ("train", "val"), SYNSETS, 2),
        "folder": lambda: write_tree(tmp_path / "own", ("",), ("ant", "cat"), 6),
        "funnybirds": lambda: write_funnybirds(tmp_path / "funny"),
    }


@pytest.mark.parametrize("name", SETS)
def test_a_run_on_every_layout(tmp_path, monkeypatch, layouts, name):
    config, classes, options = SETS[name]
    small = {key.replace(".", "__").replace("-", "_"): value for key, value in SMALL.items()}
    directory = run(
        config,
        layouts[name](),
        tmp_path / "logs",
        monkeypatch,
        **{**small, "model__num_prototypes": 2 * classes, "dataset__val_size": 0.2, **options},
    )
    scores = yaml.safe_load((directory / "results" / "scores.yaml").read_text())
    assert 0 <= scores["test_accuracy"] <= 1
    written = yaml.safe_load((directory / "results" / "config.yaml").read_text())
    assert directory.parts[-3] == written["dataset"]["name"].lower()
    with (directory / "csv" / "version_0" / "metrics.csv").open() as file:
        assert any(row["test_accuracy"] for row in csv.DictReader(file))
    assert list((directory / "csv" / "version_0" / "checkpoints").glob("*.ckpt"))


@pytest.mark.slow
def test_the_dummy_configuration_as_it_is(tmp_path, monkeypatch, cub_folder):
    root = cub_folder("birds", classes=2, train=2, test=1)
    options = {"train__readout_push_epochs": 1, "run_id": "tiny"}
    directory = run("proto-cub200224-dummy.yaml", root, tmp_path / "logs", monkeypatch, **options)
    assert directory.parts[-3:-1] == ("cub200224__tiny", "protonet")
    written = yaml.safe_load((directory / "results" / "config.yaml").read_text())
    assert (written["model"]["feature-extractor"], written["model"]["num-prototypes"]) == ("vgg11_bn", 400)
