"""Figures of explanations: of one image, of a contrast of two classes, and of all prototypes of a class."""

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

# The sides of images and patches, and the gaps between them, in inches.
_ROWS = (1.5, 1.1, 0.13)
_CONTRAST = (1.2, 0.82, 0.1)
_ATLAS = (1.25, 0.78, 0.1)

_ATLAS_COLUMNS = 4
_ROW_LETTERS, _CONTRAST_LETTERS, _COLUMN_LETTERS, _ATLAS_LETTERS = 21, 58, 54, 30
"""How many fit: in the names of a row and of a contrast, a column's title, and an atlas's caption."""


@dataclass(frozen=True)
class EvidenceRow:
    """What one prototype says about the image: for a class, or for a class rather than for another."""

    seen: Picture
    """The image and the box of its most similar patch."""
    source: Picture | None
    """The training image that the prototype is a patch of."""
    map: Float[np.ndarray, "H W"] | None
    """Laid over the image, if there is one."""
    prototype: int
    class_name: str
    similarity: float
    weight: float
    other_weight: float = 0.0
    """Of the prototype for the other class."""

    @property
    def contribution(self) -> float:
        """Similarity times weight, less what the other class gets."""
        return self.similarity * (self.weight - self.other_weight)

    @property
    def mapped(self) -> Picture:
        """The image under its map."""
        image = self.seen.image if self.map is None else overlay(self.seen.image, self.map)
        return Picture(image, self.seen.box)


def evidence_figure(
    rows: Sequence[EvidenceRow], *, title: str, note: str, map_title: str, footer: str
) -> Figure:
    """This patch of this image looks like that prototype of that training image, and adds so much."""
    heading, footing, (image, patch, gap) = LINE + 0.06, 0.25, _ROWS
    page = Page(title, note, body=heading + len(rows) * (image + gap) + footing)
    sides = (image, patch, patch, image, image)
    columns = [MARGIN + sum(sides[:number]) + number * gap for number in range(len(sides) + 1)]
    titles = ("this image", "this patch", "looks like", "of this training image", map_title)
    for x, side, words in zip(columns, sides, titles, strict=False):
        page.text(words, x=x + side / 2, y=page.top + LINE - 0.03, heading=True)
    largest = max((abs(row.contribution) for row in rows), default=0.0) or 1.0
    for number, row in enumerate(rows):
        y = page.top + heading + number * (image + gap)
        _draw_evidence(page, row, columns, y=y, largest=largest)
    page.text(footer, x=MARGIN, y=page.height - footing)
    return page.figure


def _draw_evidence(
    page: Page, row: EvidenceRow, columns: Sequence[float], *, y: float, largest: float
) -> None:
    seen, patch, prototype, training, heat, words = columns
    large, small, _ = _ROWS
    middle = y + (large - small) / 2
    page.picture(row.seen, THIS_IMAGE, x=seen, y=y, side=large)
    page.patch(row.seen, THIS_IMAGE, x=patch, y=middle, side=small)
    if row.source is not None:
        page.patch(row.source, TRAINING_IMAGE, x=prototype, y=middle, side=small)
        page.picture(row.source, TRAINING_IMAGE, x=training, y=y, side=large)
    page.picture(row.mapped, THIS_IMAGE, x=heat, y=y, side=large)
    name = wrapped(row.class_name, _ROW_LETTERS)
    page.text(f"prototype {row.prototype}\n{name}", x=words, y=y + 0.02)
    sum_ = f"similarity {decimal(row.similarity)}\n× weight {decimal(row.weight)}"
    page.text(sum_, x=words, y=y + 0.72)
    page.text(f"= {decimal(row.contribution, sign='+')}", x=words, y=y + 1.06, bold=True)
    page.bar(row.contribution / largest, x=words, y=y + 1.3, width=1.3)


@dataclass(frozen=True)
class ContrastColumn:
    """One of the two classes."""

    title: str
    rows: Sequence[EvidenceRow]


def contrast_figure(
    left: ContrastColumn, right: ContrastColumn, *, title: str, note: str, footer: str
) -> Figure:
    """The prototypes that speak most for either of two classes."""
    titles = [wrapped(column.title, _COLUMN_LETTERS, lines=2) for column in (left, right)]
    heading, footing = LINE * max(len(words.splitlines()) for words in titles) + 0.08, 0.25
    height = _CONTRAST[0] + 2 * LINE + 0.16
    page = Page(title, note, body=heading + max(1, len(left.rows), len(right.rows)) * height + footing)
    for x, words, column in zip((MARGIN, WIDTH / 2 + MARGIN), titles, (left, right), strict=True):
        page.text(words, x=x, y=page.top, bold=True)
        for number, row in enumerate(column.rows):
            _draw_contrast(page, row, x=x, y=page.top + heading + number * height)
    page.text(footer, x=MARGIN, y=page.height - footing)
    return page.figure


def _draw_contrast(page: Page, row: EvidenceRow, *, x: float, y: float) -> None:
    large, small, gap = _CONTRAST
    middle = y + (large - small) / 2
    page.picture(row.mapped, THIS_IMAGE, x=x, y=y, side=large)
    page.patch(row.seen, THIS_IMAGE, x=x + large + gap, y=middle, side=small)
    if row.source is not None:
        right = x + large + small + 2 * gap
        page.patch(row.source, TRAINING_IMAGE, x=right, y=middle, side=small)
        page.picture(row.source, TRAINING_IMAGE, x=right + small + gap, y=y, side=large)
    name = wrapped(f"prototype {row.prototype}, {row.class_name}", _CONTRAST_LETTERS, lines=1)
    own, other = (decimal(weight) for weight in (row.weight, row.other_weight))
    counted = f"{decimal(row.similarity)} × ({own} − {other})".replace("− −", "+ ")
    page.text(f"{name}\n{counted} = {decimal(row.contribution, sign='+')}", x=x, y=y + large + 0.05)


@dataclass(frozen=True)
class AtlasEntry:
    """One prototype."""

    source: Picture
    """Its training image, and the box of its patch there."""
    caption: str
    """In two lines at most."""


def atlas_figure(entries: Sequence[AtlasEntry], *, title: str, note: str) -> Figure:
    """The prototypes in their training images, each with its patch beside it."""
    large, small, gap = _ATLAS
    captions = [wrapped(entry.caption, _ATLAS_LETTERS, lines=2) for entry in entries]
    row_height = large + LINE * max((len(words.splitlines()) for words in captions), default=1) + 0.2
    page = Page(title, note, body=-(-len(entries) // _ATLAS_COLUMNS) * row_height)
    for number, (entry, caption) in enumerate(zip(entries, captions, strict=True)):
        row, column = divmod(number, _ATLAS_COLUMNS)
        x, y = MARGIN + column * (WIDTH - MARGIN) / _ATLAS_COLUMNS, page.top + row * row_height
        page.picture(entry.source, TRAINING_IMAGE, x=x, y=y, side=large)
        page.patch(
            entry.source,
            TRAINING_IMAGE,
            x=x + large + gap,
            y=y + (large - small) / 2,
            side=small,
        )
        page.text(caption, x=x, y=y + large + 0.05)
    return page.figure
