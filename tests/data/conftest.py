"""Small data sets on disk."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from real_layouts import write_layout


@pytest.fixture
def cub_folder(tmp_path: Path) -> Callable[..., Path]:
    """Writes a folder in the layout of CUB-200-2011, by default `birds`, and returns it."""

    def write(name: str = "birds", **options: int | tuple[int, int]) -> Path:
        return write_layout(tmp_path / name, **options)  # type: ignore[arg-type]

    return write
