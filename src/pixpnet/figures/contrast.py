"""Why one class and not another: the evidence for both, side by side."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float
from matplotlib.figure import Figure

from pixpnet.figures.panels import (
    LINE,
    MARGIN,
    THIS_IMAGE,
    TRAINING_IMAGE,
    WIDTH,
    Page,
    Picture,
    overlay,
    wrapped,
)
from pixpnet.words import decimal

_IMAGE, _PATCH, _GAP = 1.2, 0.82, 0.1
_ROW = _IMAGE + 2 * LINE + 0.16
_NAME_LETTERS = 58
_TITLE_LETTERS = 54


@dataclass(frozen=True)
class ContrastRow:
    """A prototype that speaks for one class rather than for the other."""

    seen: Picture
    """The image and the box of its most similar patch."""
    source: Picture | None
    """The training image that the prototype is a patch of."""
    map: Float[np.ndarray, "H W"] | None
    """Laid over the image, if there is one."""
    prototype: int
    class_name: str
    similarity: float
    weights: tuple[float, float]
    """For the class that it speaks for, and for the other."""


@dataclass(frozen=True)
class ContrastColumn:
    """One of the two classes."""

    title: str
    rows: Sequence[ContrastRow]


def contrast_figure(
    left: ContrastColumn, right: ContrastColumn, *, title: str, note: str, footer: str
) -> Figure:
    """The prototypes that speak most for either of two classes."""
    titles = [wrapped(column.title, _TITLE_LETTERS, lines=2) for column in (left, right)]
    heading, footing = LINE * max(len(words.splitlines()) for words in titles) + 0.08, 0.25
    page = Page(title, note, body=heading + max(1, len(left.rows), len(right.rows)) * _ROW + footing)
    for x, words, column in zip((MARGIN, WIDTH / 2 + MARGIN), titles, (left, right), strict=True):
        page.text(words, x=x, y=page.top, bold=True)
        for number, row in enumerate(column.rows):
            _draw_row(page, row, x=x, y=page.top + heading + number * _ROW)
    page.text(footer, x=MARGIN, y=page.height - footing)
    return page.figure


def _draw_row(page: Page, row: ContrastRow, *, x: float, y: float) -> None:
    middle = y + (_IMAGE - _PATCH) / 2
    image = row.seen.image if row.map is None else overlay(row.seen.image, row.map)
    page.picture(Picture(image, row.seen.box), THIS_IMAGE, x=x, y=y, side=_IMAGE)
    page.patch(row.seen, THIS_IMAGE, x=x + _IMAGE + _GAP, y=middle, side=_PATCH)
    if row.source is not None:
        right = x + _IMAGE + _PATCH + 2 * _GAP
        page.patch(row.source, TRAINING_IMAGE, x=right, y=middle, side=_PATCH)
        page.picture(row.source, TRAINING_IMAGE, x=right + _PATCH + _GAP, y=y, side=_IMAGE)
    difference = row.similarity * (row.weights[0] - row.weights[1])
    name = wrapped(f"prototype {row.prototype}, {row.class_name}", _NAME_LETTERS, lines=1)
    own, other = (decimal(weight) for weight in row.weights)
    counted = f"{decimal(row.similarity)} × ({own} − {other})".replace("− −", "+ ")
    page.text(f"{name}\n{counted} = {decimal(difference, sign='+')}", x=x, y=y + _IMAGE + 0.05)
