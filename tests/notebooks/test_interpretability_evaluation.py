"""The notebooks run on a small run."""

from __future__ import annotations

import base64
import shutil
from io import BytesIO
from pathlib import Path

import nbformat
import numpy as np
import pytest
import yaml
from nbclient import NotebookClient
from PIL import Image

from pixpnet.metrics import Estimate
from pixpnet.pixel_space import MAPPING_TITLES

NOTEBOOKS = Path(__file__).parents[2] / "notebooks"
PICTURES = {"interpretability_evaluation": 2, "interpretability_evaluation_prp": 3}
MAPPINGS = {"receptive_field", "upsampling", "random"}


@pytest.mark.parametrize("name", PICTURES)
def test_the_notebook_runs(
    name: str, tiny_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = shutil.copytree(tiny_run, tmp_path / "logs" / tiny_run.name)
    here = tmp_path / "here"
    here.mkdir()
    for variable, value in (("RUN_DIR", str(run.parent)), ("SAMPLES", "2"), ("STEPS", "8")):
        monkeypatch.setenv(f"PIXPNET_{variable}", value)
    notebook = nbformat.read(NOTEBOOKS / f"{name}.ipynb", as_version=4)
    NotebookClient(notebook, kernel_name="python3", resources={"metadata": {"path": str(here)}}).execute()

    outputs = [output for cell in notebook.cells for output in cell.get("outputs", ())]
    printed = "".join(output.text for output in outputs if output.output_type == "stream")
    assert str(run) in printed
    pictures = [output.data["image/png"] for output in outputs if "image/png" in output.get("data", {})]
    assert len(pictures) == PICTURES[name]
    for picture in pictures:
        with Image.open(BytesIO(base64.b64decode(picture))) as image:
            assert image.width > 600
            assert len(np.unique(np.asarray(image.convert("L")))) > 20

    evaluation = yaml.safe_load((run / "results" / "interpretability.yaml").read_text())
    wanted = MAPPINGS | ({"prp"} if name.endswith("prp") else set())
    found = {(one["metric"], one["method"]): one for one in evaluation["measurements"]}
    metrics = ("consistency", "stability", "relevance_ordering")
    assert found.keys() == {(metric, method) for metric in metrics for method in wanted}
    tables = [output.data["text/html"] for output in outputs if "text/html" in output.get("data", {})]
    assert len(tables) == len(metrics)
    for metric, table in zip(metrics, tables, strict=True):
        for method in wanted:
            assert MAPPING_TITLES[method] in table
            for value in found[metric, method]["values"].values():
                estimate = Estimate(*(value[name] for name in Estimate._fields))
                number, interval = estimate.in_words(value["unit"])
                assert (f"{number} ({interval})" if interval else number) in table
    assert found["relevance_ordering", "random"]["settings"]["samples"] == 2
    assert list(here.iterdir()) == []
