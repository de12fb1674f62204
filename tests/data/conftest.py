"""Small data sets on disk."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image


def write_layout(
    root: Path, *, classes: int = 3, train: int = 4, test: int = 2, size: tuple[int, int] = (40, 32)
) -> Path:
    """A folder in the layout of CUB-200-2011: noise, a box and three parts per image."""
    rng = np.random.default_rng(0)
    width, height = size
    tables: dict[str, list[str]] = {
        "images.txt": [],
        "image_class_labels.txt": [],
        "train_test_split.txt": [],
        "bounding_boxes.txt": [],
        "parts/part_locs.txt": [],
    }
    image = 0
    for label in range(1, classes + 1):
        folder = f"{label:03d}.Class {label}"
        (root / "images" / folder).mkdir(parents=True)
        for number in range(train + test):
            image += 1
            path = f"{folder}/bird {number}.png"
            pixels = rng.integers(0, 256, (height, width, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(root / "images" / path)
            tables["images.txt"].append(f"{image} {path}")
            tables["image_class_labels.txt"].append(f"{image} {label}")
            tables["train_test_split.txt"].append(f"{image} {int(number < train)}")
            tables["bounding_boxes.txt"].append(f"{image} 4.0 6.0 {width - 10}.0 {height - 12}.0")
            tables["parts/part_locs.txt"] += [f"{image} 1 10.0 12.5 1", f"{image} 2 0.0 0.0 0"]
    tables["classes.txt"] = [f"{label} {label:03d}.Class {label}" for label in range(1, classes + 1)]
    tables["parts/parts.txt"] = ["1 beak", "2 left eye", "3 tail"]
    (root / "parts").mkdir()
    for name, lines in tables.items():
        (root / name).write_text("\n".join(lines) + "\n")
    return root


@pytest.fixture
def cub_folder(tmp_path: Path) -> Callable[..., Path]:
    """Writes a folder in the layout of CUB-200-2011, by default `birds`, and returns it."""

    def write(name: str = "birds", **options: int | tuple[int, int]) -> Path:
        return write_layout(tmp_path / name, **options)  # type: ignore[arg-type]

    return write
