"""The rooms that compute with arrays run under beartype, shapes included; the tests share a small run."""

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")

from jaxtyping import install_import_hook

CHECKED = ["certificate", "evaluation", "explanation", "metrics", "pixel_space", "projection", "prototypes"]
"""Rooms whose every call is held against its annotations; with all rooms tests take half as long again."""

HELD = {"off": [], "some": [f"pixpnet.{room}" for room in CHECKED], "all": ["pixpnet"]}
install_import_hook(HELD[os.environ.get("SHAPE_CHECKS", "some")], "shape_checking.check")

import shutil
from pathlib import Path

import pytest
import torch

from pixpnet.config import parse_config
from pixpnet.synthbirds import render_dataset

torch.set_num_threads(1)

GOLDEN = Path(__file__).parent / "golden"


@pytest.fixture
def golden() -> Path:
    """Folder of values computed by the original implementation."""
    return GOLDEN


@pytest.fixture(scope="module")
def l1_in_the_table():
    """A distance that an outsider adds: one class and one entry."""
    from distance_oracles import L1
    from pixpnet.prototypes import DISTANCES

    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(DISTANCES, "l1", L1())
        yield


CHROMIUM = ("chromium", "chromium-browser", "google-chrome")
SWITCHES = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)


@pytest.fixture(scope="session")
def chromium():
    """A headless Chromium with an empty profile."""
    from playwright.sync_api import sync_playwright

    program = next(filter(None, map(shutil.which, CHROMIUM)), None)
    if program is None:
        pytest.skip(f"no Chromium is installed ({', '.join(CHROMIUM)})")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=program, args=list(SWITCHES))
        yield browser
        browser.close()


TINY = {
    "seed": 7,
    "dataset.classes": 3,
    "dataset.size": 64,
    "dataset.train-images": 10,
    "dataset.test-images": 4,
    "dataset.val-size": 0.2,
    "dataset.workers": 0,
    "model.name": "protonet",
    "model.feature-extractor": "small_resnet",
    "model.feature-layer": "layer2",
    "model.no-pretrained": "",
    "model.num-prototypes": 6,
    "model.prototype-dim": 8,
    "model.readout-type": "linear",
    "model.distance": "cosine",
    "model.prototype-init": "data",
    "train.epochs": 4,
    "train.backbone-epochs": 1,
    "train.batch-size": 8,
    "train.push-every": 3,
    "train.readout-push-epochs": 2,
    "optimizer.name": "adam",
    "optimizer.lr": 3e-3,
    "optimizer.warmup-period": 1,
}


@pytest.fixture(scope="session")
def birds(tmp_path_factory) -> Path:
    """Root of a rendered data set of 3 classes, 10 training and 4 test images each, 64 pixels."""
    root = tmp_path_factory.mktemp("birds") / "set"
    render_dataset(root, classes=3, size=64, train_images=10, test_images=4, seed=0)
    return root


@pytest.fixture(scope="session")
def tiny_arguments(birds):
    """Command-line arguments of a run of a few seconds; options given here win."""

    def arguments(log_dir, /, **options) -> list[str]:
        changed = {name.replace("__", ".").replace("_", "-"): value for name, value in options.items()}
        merged = {**TINY, "dataset.root": birds, "log-dir": log_dir, **changed}
        pairs = ([f"--{name}", str(value)] for name, value in merged.items() if value is not None)
        return [part for pair in pairs for part in pair if part]

    return arguments


@pytest.fixture(scope="session")
def tiny_run(tiny_arguments, tmp_path_factory) -> Path:
    """A finished run's directory; treat it as read-only."""
    from pixpnet.training import train

    return train(parse_config(tiny_arguments(tmp_path_factory.mktemp("logs"))), progress=False)
