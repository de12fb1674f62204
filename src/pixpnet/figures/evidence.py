"""The explanation of one image: a row for each prototype."""

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
    Page,
    Picture,
    overlay,
    wrapped,
)
from pixpnet.words import decimal

_IMAGE, _PATCH, _GAP = 1.5, 1.1, 0.13
_COLUMNS = tuple(
    float(x) for x in np.cumsum([MARGIN, *(side + _GAP for side in (_IMAGE, _PATCH, _PATCH, _IMAGE, _IMAGE))])
)
_NAME_LETTERS = 21


@dataclass(frozen=True)
class EvidenceRow:
    """What one prototype says about the image."""

    seen: Picture
    """The image and the box of its most similar patch."""
    source: Picture | None
    """The training image that the prototype is a patch of."""
    map: Float[np.ndarray, "H W"]
    prototype: int
    class_name: str
    similarity: float
    weight: float

    @property
    def contribution(self) -> float:
        """Similarity times weight."""
        return self.similarity * self.weight


def evidence_figure(
    rows: Sequence[EvidenceRow], *, title: str, note: str, map_title: str, footer: str
) -> Figure:
    """This patch of this image looks like that prototype of that training image, and adds so much."""
    heading, footing = LINE + 0.06, 0.25
    page = Page(title, note, body=heading + len(rows) * (_IMAGE + _GAP) + footing)
    titles = ("this image", "this patch", "looks like", "of this training image", map_title)
    for x, side, words in zip(_COLUMNS, (_IMAGE, _PATCH, _PATCH, _IMAGE, _IMAGE), titles, strict=False):
        page.text(words, x=x + side / 2, y=page.top + LINE - 0.03, heading=True)
    largest = max((abs(row.contribution) for row in rows), default=0.0) or 1.0
    for number, row in enumerate(rows):
        _draw_row(page, row, y=page.top + heading + number * (_IMAGE + _GAP), largest=largest)
    page.text(footer, x=MARGIN, y=page.height - footing)
    return page.figure


def _draw_row(page: Page, row: EvidenceRow, *, y: float, largest: float) -> None:
    image, patch, prototype, training, heat, words = _COLUMNS
    middle = y + (_IMAGE - _PATCH) / 2
    page.picture(row.seen, THIS_IMAGE, x=image, y=y, side=_IMAGE)
    page.patch(row.seen, THIS_IMAGE, x=patch, y=middle, side=_PATCH)
    if row.source is not None:
        page.patch(row.source, TRAINING_IMAGE, x=prototype, y=middle, side=_PATCH)
        page.picture(row.source, TRAINING_IMAGE, x=training, y=y, side=_IMAGE)
    mapped = Picture(overlay(row.seen.image, row.map), row.seen.box)
    page.picture(mapped, THIS_IMAGE, x=heat, y=y, side=_IMAGE)
    name = wrapped(row.class_name, _NAME_LETTERS)
    page.text(f"prototype {row.prototype}\n{name}", x=words, y=y + 0.02)
    sum_ = f"similarity {decimal(row.similarity)}\n× weight {decimal(row.weight)}"
    page.text(sum_, x=words, y=y + 0.72)
    page.text(f"= {decimal(row.contribution, sign='+')}", x=words, y=y + 1.06, bold=True)
    page.bar(row.contribution / largest, x=words, y=y + 1.3, width=1.3)
