"""Every prototype of a class, where it comes from."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from matplotlib.figure import Figure

from pixpnet.figures.panels import LINE, MARGIN, TRAINING_IMAGE, WIDTH, Page, Picture, wrapped

_COLUMNS = 4
_IMAGE, _PATCH, _GAP = 1.25, 0.78, 0.1
_LETTERS = 30


@dataclass(frozen=True)
class AtlasEntry:
    """One prototype."""

    source: Picture
    """Its training image, and the box of its patch there."""
    caption: str
    """In two lines at most."""


def atlas_figure(entries: Sequence[AtlasEntry], *, title: str, note: str) -> Figure:
    """The prototypes in their training images, each with its patch beside it."""
    captions = [wrapped(entry.caption, _LETTERS, lines=2) for entry in entries]
    row_height = _IMAGE + LINE * max((len(words.splitlines()) for words in captions), default=1) + 0.2
    page = Page(title, note, body=-(-len(entries) // _COLUMNS) * row_height)
    for number, (entry, caption) in enumerate(zip(entries, captions, strict=True)):
        row, column = divmod(number, _COLUMNS)
        x, y = MARGIN + column * (WIDTH - MARGIN) / _COLUMNS, page.top + row * row_height
        page.picture(entry.source, TRAINING_IMAGE, x=x, y=y, side=_IMAGE)
        page.patch(
            entry.source, TRAINING_IMAGE, x=x + _IMAGE + _GAP, y=y + (_IMAGE - _PATCH) / 2, side=_PATCH
        )
        page.text(caption, x=x, y=y + _IMAGE + 0.05)
    return page.figure
