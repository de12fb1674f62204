"""The notebook runs on a small run."""

from __future__ import annotations

import base64
from io import BytesIO
from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient
from PIL import Image

NOTEBOOK = Path(__file__).parents[2] / "notebooks" / "explanation_viz.ipynb"


def test_the_notebook_runs(tiny_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PIXPNET_RUN_DIR", str(tiny_run.parent))
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    NotebookClient(notebook, kernel_name="python3", resources={"metadata": {"path": str(tmp_path)}}).execute()
    outputs = [output for cell in notebook.cells for output in cell.get("outputs", ())]
    printed = "".join(output.text for output in outputs if output.output_type == "stream")
    assert str(tiny_run) in printed
    shown, logit = (float(words.split()[-1]) for words in printed.splitlines()[-1].split(","))
    assert shown == pytest.approx(logit, abs=1e-3)
    pictures = [output.data["image/png"] for output in outputs if "image/png" in output.get("data", {})]
    assert len(pictures) == 4
    for picture in pictures:
        with Image.open(BytesIO(base64.b64decode(picture))) as image:
            assert image.width == 990
    assert list(tmp_path.iterdir()) == []
