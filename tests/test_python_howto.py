"""docs/howto/python.md and tools.md, executed from first block to last, where a run and two pictures are."""

from __future__ import annotations

import csv
import json
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from captum.attr import IntegratedGradients
from PIL import Image

from pixpnet import explain
from pixpnet.backbones import NETWORKS

DOCS = Path(__file__).parents[1] / "docs" / "howto"


@pytest.fixture
def place(tiny_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working directory, with what the pages speak of."""
    shutil.copytree(tiny_run, tmp_path / "RUN_DIR")
    (tmp_path / "photos").mkdir()
    for number, name in enumerate(("a.jpg", "b.jpg")):
        pixels = np.random.default_rng(number).integers(0, 256, (70, 90, 3), np.uint8)
        Image.fromarray(pixels).save(tmp_path / name)
        shutil.copy(tmp_path / name, tmp_path / "photos")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def executed(page: str) -> dict:
    """What is there after all blocks of a page."""
    names: dict = {"__name__": "howto"}
    text = (DOCS / page).read_text(encoding="utf-8")
    for block in re.findall(r"```python\n(.*?)```", text, flags=re.DOTALL):
        exec(compile(block, page, "exec"), names)
    return names


def test_the_howto_runs(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PIXPNET_CACHE", str(place / "cache"))
    monkeypatch.delitem(NETWORKS, "thin", raising=False)
    names = executed("python.md")
    monkeypatch.delitem(NETWORKS, "thin")
    assert names["similarities"].shape == (2, names["model"].network.num_prototypes)
    assert names["fitted"].class_names == ("lying", "standing")
    assert names["fitted"].config.model.feature_extractor == "thin"
    assert names["found"].image_index.tolist() == sorted(
        names["found"].image_index.tolist(), key=lambda number: number % 2
    )
    assert set(names["classifier"].classes_) == {"lying", "standing"}


def test_other_tools_get_what_they_want(place: Path) -> None:
    names = executed("tools.md")
    module, seen, target = names["module"], names["seen"], names["target"]
    start = torch.zeros_like(seen)
    with torch.no_grad():
        assert torch.equal(module(seen), names["model"].network(seen).logits)
        more = float((module(seen) - module(start))[0, target])
    assert names["attributions"].shape == seen.shape
    # In small steps, what the pixels add is what the logit has more than the baseline's.
    added = IntegratedGradients(module).attribute(
        seen, start, target=target, n_steps=1024, internal_batch_size=32
    )
    assert float(added.sum()) == pytest.approx(more, abs=0.2)
    assert abs(more) > 0.5

    with (place / "boxes.csv").open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    coco = json.loads((place / "evidence.json").read_text(encoding="utf-8"))
    assert [(one["file_name"], one["width"], one["height"]) for one in coco["images"]] == [
        ("photos/a.jpg", 90, 70),
        ("photos/b.jpg", 90, 70),
    ]
    files = {one["id"]: one["file_name"] for one in coco["images"]}
    classes = {one["id"]: one["name"] for one in coco["categories"]}
    assert len(rows) == len(coco["annotations"]) == 6
    for row, box in zip(rows, coco["annotations"], strict=True):
        left, top, width, height = box["bbox"]
        assert [float(row[name]) for name in ("left", "top", "right", "bottom")] == [
            *(left, top, left + width, top + height)
        ]
        assert box["area"] == width * height > 0
        assert (row["picture"], row["class"]) == (files[box["image_id"]], classes[box["category_id"]])
    evidence = explain(names["model"], "photos/a.jpg").evidence[0]
    assert coco["annotations"][0]["prototype"] == evidence.number
    left, top, right, bottom = evidence.box_in_picture
    assert coco["annotations"][0]["bbox"] == [left, top, right - left, bottom - top]
