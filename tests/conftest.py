"""Shapes in signatures are checked in tests: every annotated function of pixpnet runs under beartype."""

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")

from jaxtyping import install_import_hook

install_import_hook("pixpnet", "shape_checking.check")

from pathlib import Path

import pytest
import torch

torch.set_num_threads(1)

GOLDEN = Path(__file__).parent / "golden"


@pytest.fixture
def golden() -> Path:
    """Folder of values computed by the original implementation."""
    return GOLDEN
