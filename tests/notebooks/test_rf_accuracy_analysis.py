"""The notebook runs on a small table."""

from __future__ import annotations

import base64
from io import BytesIO
from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError
from PIL import Image

from pixpnet.goldilocks import Row, append_row

NOTEBOOK = Path(__file__).parents[2] / "notebooks" / "rf_accuracy_analysis.ipynb"

LAYERS = (
    ("resnet18", 1, "conv1", 0.30, 0.4),
    ("resnet18", 2, "layer2", 0.80, 12.0),
    ("resnet18", 3, "layer4", 0.90, 100.0),
    ("vgg11_bn", 1, "maxpool3", 0.70, 15.0),
    ("vgg11_bn", 2, "maxpool5", 0.95, 60.0),
)


@pytest.fixture
def table(tmp_path: Path) -> Path:
    """Two seeds of a probe, whose mean counts, and a finetuning."""
    path = tmp_path / "goldilocks.csv"
    for model, number, stage, accuracy, field in LAYERS:
        for mode, seed, change in (("probe", 0, 0.02), ("probe", 1, -0.02), ("finetune", 0, 0.0)):
            append_row(
                path,
                Row(
                    model=model,
                    stage_number=number,
                    stage=stage,
                    dataset="SYNTHBIRDS",
                    height=128,
                    width=128,
                    test_accuracy=accuracy + change,
                    test_accuracy_top5=1.0,
                    mean_rf=field,
                    max_rf=field,
                    parameters=1000 * number,
                    macs=10**6 * number,
                    mode=mode,
                    readout="average",
                    weights="pretrained",
                    seed=seed,
                    seconds=1.0,
                    version="0.1.0",
                ),
            )
    return path


def _execute(folder: Path) -> nbformat.NotebookNode:
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    NotebookClient(notebook, kernel_name="python3", resources={"metadata": {"path": str(folder)}}).execute()
    return notebook


def test_the_notebook_runs(table: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PIXPNET_GOLDILOCKS_CSV", str(table))
    outputs = [output for cell in _execute(tmp_path).cells for output in cell.get("outputs", ())]
    printed = "".join(output.text for output in outputs if output.output_type == "stream")
    assert f"{table}: 15 rows, 2 models" in printed
    assert "SYNTHBIRDS, 128, 128, probe, average: mean RF ≤ 30 %" in printed
    pictures = [output.data["image/png"] for output in outputs if "image/png" in output.get("data", {})]
    assert len(pictures) == 2
    for picture in pictures:
        with Image.open(BytesIO(base64.b64decode(picture))) as image:
            assert image.width == 1100
    tables = [
        [line.split()[1:] for line in output.data["text/plain"].splitlines()]
        for output in outputs
        if "text/html" in output.get("data", {})
    ]
    assert len(tables) == 7
    any_field, small, front, bought = (tables[number] for number in (2, 3, 5, 6))  # of the probe
    assert [line[:3] for line in any_field[1:3]] == [
        ["vgg11_bn", "maxpool5", "0.95"],
        ["resnet18", "layer4", "0.90"],
    ]
    assert [line[:3] for line in small[1:3]] == [
        ["resnet18", "layer2", "0.8"],
        ["vgg11_bn", "maxpool3", "0.7"],
    ]
    assert [line[1:4] for line in front[1:4]] == [
        ["0.30", "resnet18", "conv1"],
        ["0.80", "resnet18", "layer2"],
        ["0.95", "vgg11_bn", "maxpool5"],
    ]
    assert [line[-1] for line in bought[-3:]] == ["0.80", "0.80", "0.95"]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["goldilocks.csv"]


def test_a_missing_table_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PIXPNET_GOLDILOCKS_CSV", str(tmp_path / "none.csv"))
    with pytest.raises(CellExecutionError, match=r"There is no file .*none\.csv"):
        _execute(tmp_path)
