"""Figures as files."""

from __future__ import annotations

from io import BytesIO
from pathlib import Path

from matplotlib import rc_context
from matplotlib.figure import Figure

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
    _save(figure, path, path.suffix.removeprefix(".").lower())
    return path


def png_bytes(figure: Figure) -> bytes:
    """A figure as a PNG file, for a notebook: ``IPython.display.Image(png_bytes(figure))``."""
    buffer = BytesIO()
    _save(figure, buffer, "png")
    return buffer.getvalue()


def _save(figure: Figure, to: Path | BytesIO, suffix: str) -> None:
    dpi = min(_DPI, _MOST_PIXELS / max(figure.get_size_inches()))
    with rc_context({"pdf.fonttype": 42}):
        figure.savefig(to, format=suffix, dpi=dpi, metadata=FIGURE_FORMATS[suffix])
