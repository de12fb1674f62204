"""Every notebook is its paired text, without outputs."""

from __future__ import annotations

from pathlib import Path

import jupytext
import pytest

FOLDER = Path(__file__).parents[2] / "notebooks"
NAMES = sorted({path.stem for suffix in ("ipynb", "py") for path in FOLDER.glob(f"*.{suffix}")})


@pytest.mark.parametrize("name", NAMES)
def test_a_notebook_is_its_text_without_outputs(name: str) -> None:
    notebook, text = (jupytext.read(FOLDER / f"{name}.{suffix}") for suffix in ("ipynb", "py"))
    assert [(cell.cell_type, cell.source) for cell in notebook.cells] == [
        (cell.cell_type, cell.source) for cell in text.cells
    ]
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert code
    assert all(cell.outputs == [] and cell.execution_count is None for cell in code)
