"""The parts of a figure (pictures with boxes, patches, maps and words, placed in inches), and its file."""

from __future__ import annotations

import math
import textwrap
import unicodedata
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import IO

import matplotlib
import numpy as np
from jaxtyping import Float, UInt8
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from pixpnet.files import write_atomically
from pixpnet.fonts import drawable
from pixpnet.types import Box
from pixpnet.words import visible

WIDTH = 9.0
"""Inches: 100 pixels each in a README, which is some 900 pixels wide."""
MARGIN = 0.1
LINE = 0.16
"""Inches from one line of small text to the next."""
SMALL, LARGE = 8.5, 11.0
"""Points."""

DPI = 110
"""Dots an inch of a figure's pixels, where nothing else is said."""
_MOST_PIXELS = 60_000
"""Of a side; matplotlib before 3.10 draws up to 65,535."""

FIGURE_FORMATS = {
    "png": {"Software": None},
    "pdf": {"CreationDate": None},
}
"""Suffix -> the metadata that would make two files of one figure differ, left out."""


@dataclass(frozen=True)
class Mark:
    """How a box is drawn; the line styles differ as well as the colours."""

    colour: str
    line_style: str | tuple[float, tuple[float, ...]]


# Okabe and Ito's palette, which colour-blind readers can tell apart.
THIS_IMAGE = Mark("#E69F00", "solid")
TRAINING_IMAGE = Mark("#56B4E9", (0.0, (3.0, 1.0)))


@dataclass(frozen=True)
class Picture:
    """An image and the box in it that is meant."""

    image: UInt8[np.ndarray, "H W 3"]
    box: Box


def crop(image: UInt8[np.ndarray, "H W 3"], box: Box) -> UInt8[np.ndarray, "h w 3"]:
    """The pixels that a box touches."""
    return image[math.floor(box.top) : math.ceil(box.bottom), math.floor(box.left) : math.ceil(box.right)]


def overlay(
    image: UInt8[np.ndarray, "H W 3"], values: Float[np.ndarray, "H W"]
) -> UInt8[np.ndarray, "H W 3"]:
    """The image in grey under a map's colours: clear where the map is least, yellow in its top hundredth."""
    low, high = float(values.min()), float(np.quantile(values, 0.99))
    if high <= low:  # a map of a few pixels
        high = float(values.max())
    strength = np.clip((values - low) / (high - low), 0, 1) if high > low else np.zeros_like(values)
    grey = (image @ np.array([0.299, 0.587, 0.114]))[..., None]
    colours = 255 * matplotlib.colormaps["viridis"](strength)[..., :3]
    share = 0.65 * strength[..., None]
    return ((1 - share) * grey + share * colours).round().astype(np.uint8)


def wrapped(text: str, width: int, *, lines: int = 3) -> str:
    """Text in at most so many lines; class names may break at their underscores.

    Signs of East Asian scripts are as wide as two others.
    """
    text = visible(text.replace("_", " "))
    wide = sum(unicodedata.east_asian_width(sign) in "WF" for sign in text)
    width = max(2, width * len(text) // (len(text) + wide)) if wide else width
    return "\n".join(textwrap.wrap(text, width, max_lines=lines, placeholder=" …"))


class ShownFigure(Figure):
    """A figure that a notebook shows without being asked to, by no state of pyplot's."""

    def _repr_png_(self) -> bytes:
        return png_bytes(self)


class Page:
    """A figure whose parts are placed in inches from its top left corner, below a title and a note."""

    def __init__(self, title: str, note: str, *, body: float) -> None:
        title, note = wrapped(title, 88), wrapped(note, 125)
        after_title = 0.12 + 0.2 * len(title.splitlines())
        self.top = after_title + LINE * len(note.splitlines()) + 0.12
        """Where the body starts."""
        self.height = self.top + body
        self.figure = ShownFigure(figsize=(WIDTH, self.height))
        self.figure.set_label(" ".join(title.split()))
        self.text(title, x=MARGIN, y=0.1, size=LARGE, bold=True)
        self.text(note, x=MARGIN, y=after_title)

    def text(
        self, text: str, *, x: float, y: float, size: float = SMALL, bold: bool = False, heading: bool = False
    ) -> None:
        """Write text from (x, y) to the right and down; signs such as $ stand for themselves.

        A heading is one line, about x and above y.
        """
        text, fonts = drawable(text)
        self.figure.text(
            x / WIDTH,
            1 - y / self.height,
            text,
            fontfamily=fonts,
            fontsize=size,
            fontweight="bold" if bold else "normal",
            ha="center" if heading else "left",
            va="baseline" if heading else "top",
            linespacing=1.25,
            parse_math=False,
        )

    def picture(self, picture: Picture, mark: Mark, *, x: float, y: float, side: float) -> None:
        """An image with its box, framed thinner where the image is small."""
        axes = self._axes(picture.image, x=x, y=y, side=side)
        box = picture.box
        wide = 2.3 * side**0.5
        for width, colour, style in ((wide, "black", "solid"), (0.55 * wide, mark.colour, mark.line_style)):
            axes.add_patch(
                Rectangle(
                    (box.left, box.top),
                    box.right - box.left,
                    box.bottom - box.top,
                    fill=False,
                    edgecolor=colour,
                    linestyle=style,
                    linewidth=width,
                    clip_on=False,
                )
            )

    def patch(self, picture: Picture, mark: Mark, *, x: float, y: float, side: float) -> None:
        """The pixels in a picture's box, framed; nothing where the box is empty."""
        pixels = crop(picture.image, picture.box)
        if pixels.size:
            whole = Box(0, 0, pixels.shape[1], pixels.shape[0])
            self.picture(Picture(pixels, whole), mark, x=x, y=y, side=side)

    def bar(self, share: float, *, x: float, y: float, width: float) -> None:
        """A bar as long as a share of the width; below zero it is hatched."""
        axes = self._place(x, y, width, 0.1)
        axes.set_xlim(0, 1)
        colour, hatch = ("#0072B2", "") if share >= 0 else ("white", "//////")
        axes.barh(0, abs(share), height=1.0, facecolor=colour, edgecolor="#0072B2", hatch=hatch)

    def _place(self, x: float, y: float, width: float, height: float) -> Axes:
        bottom = 1 - (y + height) / self.height
        axes = self.figure.add_axes((x / WIDTH, bottom, width / WIDTH, height / self.height))
        axes.set_axis_off()
        return axes

    def _axes(self, image: np.ndarray, *, x: float, y: float, side: float) -> Axes:
        height, width = (side * edge / max(image.shape[:2]) for edge in image.shape[:2])
        axes = self._place(x + (side - width) / 2, y + (side - height) / 2, width, height)
        axes.imshow(
            image,
            interpolation="nearest",
            aspect="auto",
            extent=(0, image.shape[1], image.shape[0], 0),
        )
        return axes


def save_figure(figure: Figure, path: Path, *, dpi: int | None = None) -> Path:
    """Write a figure in the format of the path's suffix, and make its folder; a PDF's text stays text."""
    write_atomically(path, lambda file: _save(figure, file, path.suffix.removeprefix(".").lower(), dpi))
    return path


def png_bytes(figure: Figure) -> bytes:
    """A figure as a PNG file, for a notebook: ``IPython.display.Image(png_bytes(figure))``."""
    buffer = BytesIO()
    _save(figure, buffer, "png")
    return buffer.getvalue()


def _save(figure: Figure, to: IO[bytes] | BytesIO, suffix: str, dpi: int | None = None) -> None:
    """The figure's label, if it has one, is the title that the file holds for those who don't see it."""
    dpi = min(dpi or DPI, _MOST_PIXELS / max(figure.get_size_inches()))
    title = str(figure.get_label())
    metadata = FIGURE_FORMATS[suffix] | ({"Title": title} if title else {})
    with rc_context({"pdf.fonttype": 42}):
        figure.savefig(to, format=suffix, dpi=dpi, metadata=metadata)
