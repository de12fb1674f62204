"""``pixpnet data``: what it hands on, and what it prints."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image

from pixpnet.data import DATASETS


def test_list_names_every_data_set(pixpnet: Callable) -> None:
    assert pixpnet("data", "list") == (0, "".join(f"{name}\n" for name in DATASETS), "")


def test_synthbirds_renders_a_data_set(pixpnet: Callable, tmp_path: Path) -> None:
    out = tmp_path / "birds"
    line = f"--out {out} --classes 3 --size 48 --train-images 2 --test-images 1 --seed 5"
    ended = pixpnet("data", "synthbirds", *line.split())
    assert (ended.code, ended.out) == (0, f"{out}\n")
    pictures = sorted((out / "images").rglob("*.png"))
    assert len(pictures) == 3 * (2 + 1)
    assert Image.open(pictures[0]).size == (48, 48)
    assert len((out / "classes.txt").read_text().splitlines()) == 3


def test_synthbirds_defaults_are_those_of_training(
    pixpnet: Callable, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    asked: dict[str, object] = {}

    def render(root: Path, *, progress: Callable[[int, int], None], **parameters: int) -> Path:
        progress(1, 2)
        asked.update(parameters)
        return root

    monkeypatch.setattr("pixpnet.synthbirds.render_dataset", render)
    assert pixpnet("data", "synthbirds", "--out", tmp_path).code == 0
    assert asked == {"classes": 10, "size": 128, "train_images": 60, "test_images": 30, "seed": 0}
