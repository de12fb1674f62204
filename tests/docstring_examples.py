"""Names in the examples of docstrings, as docs/reference/api.md tells them (a plugin of pytest)."""

import os
import shutil
from pathlib import Path

import pytest
import torch
from torch import nn

import pixpnet


@pytest.fixture(autouse=True)
def names(doctest_namespace, tmp_path):
    """A copy of a run, pictures, and a place to write to, new ones for every example."""
    run = shutil.copytree(os.environ["RUN_DIR"], tmp_path / "run")
    photos = Path(os.environ["PHOTOS"])
    doctest_namespace |= {"pixpnet": pixpnet, "torch": torch, "nn": nn, "RUN_DIR": run, "OUT": tmp_path}
    doctest_namespace |= {"PHOTOS": photos, "PHOTO": min(photos.rglob("*.png"))}
