"""Figures as files."""

from __future__ import annotations

from pathlib import Path

from matplotlib import rc_context
from matplotlib.figure import Figure

__all__ = ["FIGURE_FORMATS", "save_figure"]

_DPI = 110
_MOST_PIXELS = 60_000
"""Of a side; matplotlib before 3.10 draws up to 65,535."""

FIGURE_FORMATS = {
    "png": {"Software": None},
    "pdf": {"CreationDate": None},
}
"""Suffix -> the metadata that would make two files of one figure differ, left out."""


def save_figure(figure: Figure, path: Path) -> Path:
    """Write a figure in the format of the path's suffix, and make its folder; a PDF's text stays text."""
    path.parent.mkdir(parents=True, exist_ok=True)
    suffix = path.suffix.removeprefix(".").lower()
    dpi = min(_DPI, _MOST_PIXELS / max(figure.get_size_inches()))
    with rc_context({"pdf.fonttype": 42}):
        figure.savefig(path, format=suffix, dpi=dpi, metadata=FIGURE_FORMATS[suffix])
    return path
