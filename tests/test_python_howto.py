"""docs/howto/python.md, executed from its first block to its last, where a run and two pictures are."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from pixpnet.backbones import NETWORKS

DOCS = Path(__file__).parents[1] / "docs" / "howto" / "python.md"


def test_the_howto_runs(tiny_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shutil.copytree(tiny_run, tmp_path / "RUN_DIR")
    for number, name in enumerate(("a.jpg", "b.jpg")):
        pixels = np.random.default_rng(number).integers(0, 256, (70, 90, 3), np.uint8)
        Image.fromarray(pixels).save(tmp_path / name)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PIXPNET_CACHE", str(tmp_path / "cache"))
    monkeypatch.delitem(NETWORKS, "thin", raising=False)
    names: dict = {"__name__": "howto"}
    blocks = re.findall(r"```python\n(.*?)```", DOCS.read_text(encoding="utf-8"), flags=re.DOTALL)
    for block in blocks:
        exec(compile(block, str(DOCS), "exec"), names)
    monkeypatch.delitem(NETWORKS, "thin")
    assert names["similarities"].shape == (2, names["model"].network.num_prototypes)
    assert names["fitted"].class_names == ("lying", "standing")
    assert names["fitted"].config.model.feature_extractor == "thin"
    assert names["found"].image_index.tolist() == sorted(
        names["found"].image_index.tolist(), key=lambda number: number % 2
    )
    assert set(names["classifier"].classes_) == {"lying", "standing"}
