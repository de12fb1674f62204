"""``pixpnet rf``: tables, JSON, and the page of the documentation that it prints."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from pixpnet.goldilocks import zoo

PAGE = Path(__file__).parents[2] / "docs" / "receptive_fields.md"
FEW = ["resnet18", "small_resnet", "squeezenet1_1", "vgg11", "vgg11_bn"]


@pytest.fixture
def few(monkeypatch: pytest.MonkeyPatch) -> None:
    """Few backbones, beside our own."""
    monkeypatch.setattr("pixpnet.goldilocks.zoo", lambda: [name for name in FEW if name != "small_resnet"])


def _rows(markdown: str) -> dict[str, list[list[str]]]:
    """Backbone -> its rows: stage, grid, stride, mean and max RF."""
    found: dict[str, list[list[str]]] = {}
    names: list[str] = []
    for line in markdown.splitlines():
        if not line.startswith("| ") or line.startswith("| backbone"):
            continue
        first, *cells = (cell.strip() for cell in line.strip("|").split("|"))
        names = first.split(", ") if first else names
        for name in names:
            found.setdefault(name, []).append(cells)
    return found


def test_json_holds_every_layer_with_a_grid(pixpnet: Callable) -> None:
    ended = pixpnet("rf", "vgg11_bn", "--size", "64x32", "--json")
    assert (ended.code, ended.err) == (0, "")
    fields = json.loads(ended.out)
    assert list(fields)[:4] == ["conv_no_act1", "bn1", "conv1", "maxpool1"]
    assert fields["conv_no_act1"]["rows"][:2] == [[0, 2], [0, 3]]
    assert fields["maxpool1"]["columns"][-1] == [29, 32]
    assert (len(fields["maxpool2"]["rows"]), len(fields["maxpool2"]["columns"])) == (16, 8)
    assert "flatten" not in fields


def test_json_of_layers_meets_the_golden_values(pixpnet: Callable, golden: Path) -> None:
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


def test_the_page_is_what_the_code_gives(pixpnet: Callable, monkeypatch: pytest.MonkeyPatch) -> None:
    names = ["densenet121", *FEW]
    monkeypatch.setattr("pixpnet.goldilocks.zoo", lambda: [name for name in names if name != "small_resnet"])
    page = PAGE.read_text(encoding="utf-8")
    ended = pixpnet("rf", "--all", "--markdown")
    assert (ended.code, ended.err) == (0, "")
    written, computed = _rows(page), _rows(ended.out)
    assert list(computed) == names
    assert {name: written[name] for name in computed} == computed
    assert page.partition("\n| ")[0] == ended.out.partition("\n| ")[0]
    assert "`pixpnet rf --all --markdown`" in page


def test_the_page_has_all_backbones() -> None:
    names = list(_rows(PAGE.read_text(encoding="utf-8")))
    assert sorted(names) == sorted([*zoo(), "small_resnet"])
    assert names[:2] == ["densenet121", "densenet161"]


def test_the_page_is_linked() -> None:
    explanation = PAGE.parent / "explanation" / PAGE.name
    assert "(../receptive_fields.md)" in explanation.read_text(encoding="utf-8")


def test_backbones_come_in_the_order_of_their_numbers(
    pixpnet: Callable, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pixpnet.goldilocks.zoo", lambda: ["vgg11", "resnet101", "resnet18"])
    ended = pixpnet("rf", "--all", "--size", "32", "--json")
    assert list(json.loads(ended.out)) == ["resnet18", "resnet101", "small_resnet", "vgg11"]


@pytest.mark.usefixtures("few")
def test_json_of_stages_meets_the_golden_values(pixpnet: Callable, golden: Path) -> None:
    ended = pixpnet("rf", "--all", "--size", "64", "--json")
    assert (ended.code, ended.err) == (0, "")
    fields = json.loads(ended.out)
    assert list(fields) == FEW
    expected = np.load(golden / "rf" / "vgg11_bn_64x64.npz")
    assert "maxpool3" in fields["vgg11_bn"]
    for stage, found in fields["vgg11_bn"].items():
        if stage == "classifier":
            assert (found["grid"], found["mean_percent"], found["stride"]) == ([1, 1], 100, [None, None])
            continue
        top, bottom, left, right = np.moveaxis(expected[stage], -1, 0)
        percents = (bottom - top) * (right - left) * 100 / 64**2
        assert found["grid"] == list(percents.shape)
        assert found["mean_percent"] == pytest.approx(percents.mean())
        assert found["max_percent"] == pytest.approx(percents.max())
    assert fields["resnet18"]["layer2"]["stride"] == [8, 8]


@pytest.mark.usefixtures("few")
def test_table_puts_equal_backbones_together(pixpnet: Callable) -> None:
    ended = pixpnet("rf", "--all", "--size", "64x96")
    assert (ended.code, ended.err) == (0, "")
    assert "64×96" in ended.out
    assert "vgg11, vgg11_bn" in ended.out
    assert ended.out.count("maxpool4") == 1
    row = next(line for line in ended.out.splitlines() if "layer3" in line)
    assert [cell.strip() for cell in row.split("│")][3:5] == ["4×6", "16×16"]


@pytest.mark.usefixtures("few")
def test_the_page_of_another_size_names_its_command(pixpnet: Callable) -> None:
    ended = pixpnet("rf", "--all", "--size", "64x96", "--markdown")
    assert "`pixpnet rf --all --size 64x96 --markdown`" in ended.out
    assert "64×96 pixels" in ended.out
    assert list(_rows(ended.out)) == FEW


@pytest.mark.usefixtures("few")
def test_backbones_that_do_not_take_the_size_are_left_out(pixpnet: Callable) -> None:
    ended = pixpnet("rf", "--all", "--size", "16", "--json")
    assert ended.code == 0
    assert list(json.loads(ended.out)) == FEW[:2]
    assert [
        line.partition(" is left out: the network cannot run")[0] for line in ended.err.splitlines()
    ] == FEW[2:]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("", "rf: give a BACKBONE or --all, not neither"),
        ("resnet18 --all", "rf: give a BACKBONE or --all, not resnet18 and --all"),
        ("resnet18 --markdown", "rf: --markdown is for --all, without --json"),
        ("--all --json --markdown", "rf: --markdown is for --all, without --json"),
    ],
)
def test_wrong_combinations(arguments: str, message: str, pixpnet: Callable) -> None:
    ended = pixpnet("rf", *arguments.split())
    assert (ended.code, ended.out, ended.err) == (2, "", f"pixpnet: error: {message}\n")
