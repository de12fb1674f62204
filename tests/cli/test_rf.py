"""``pixpnet rf``: the table and the JSON."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from pixpnet.cli.parser import image_size


def test_json_holds_every_layer_with_a_grid(pixpnet: Callable) -> None:
    ended = pixpnet("rf", "vgg11_bn", "--size", "64x32", "--json")
    assert (ended.code, ended.err) == (0, "")
    fields = json.loads(ended.out)
    assert list(fields)[:4] == ["conv_no_act1", "bn1", "conv1", "maxpool1"]
    assert fields["conv_no_act1"]["rows"][:2] == [[0, 2], [0, 3]]
    assert fields["maxpool1"]["columns"][-1] == [29, 32]
    assert (len(fields["maxpool2"]["rows"]), len(fields["maxpool2"]["columns"])) == (16, 8)
    assert "flatten" not in fields


def test_json_meets_the_golden_values(pixpnet: Callable, golden: Path) -> None:
    fields = json.loads(pixpnet("rf", "vgg11_bn", "--size", "64", "--json").out)
    expected = np.load(golden / "rf" / "vgg11_bn_64x64.npz")
    for layer in ("conv1", "maxpool1", "maxpool2", "maxpool3", "maxpool4", "maxpool5", "avgpool"):
        rows, columns = np.array(fields[layer]["rows"]), np.array(fields[layer]["columns"])
        grid = (len(rows), len(columns), 2)
        assert (expected[layer][..., :2] == np.broadcast_to(rows[:, None], grid)).all(), layer
        assert (expected[layer][..., 2:] == np.broadcast_to(columns[None], grid)).all(), layer


def test_table(pixpnet: Callable) -> None:
    ended = pixpnet("rf", "resnet18", "--size", "160x224")
    assert (ended.code, ended.err) == (0, "")
    rows = {line.split()[1]: line.split()[3::2] for line in ended.out.splitlines() if line.startswith("│")}
    assert list(rows)[:3] == ["conv1_no_act", "bn1", "conv1"]
    assert rows["conv1"][:2] == ["80×112", "2×2"]
    assert rows["conv1"][3] == "7×7"
    assert rows["layer4"][:2] == ["5×7", "32×32"]
    assert rows["layer4"][3] == "160×224"
    assert rows["layer4"][5] == "100.00"
    assert rows["avgpool"][:2] == ["1×1", "–×–"]
    assert rows["fc"][0] == "no"


@pytest.mark.parametrize(("text", "size"), [("224", (224, 224)), ("160x224", (160, 224)), ("9×8", (9, 8))])
def test_sizes_are_height_times_width(text: str, size: tuple[int, int]) -> None:
    assert image_size(text) == size
