"""Class names as people read them."""

from __future__ import annotations

import re
from collections.abc import Sequence

__all__ = ["readable_names"]


def readable_names(names: Sequence[str]) -> tuple[str, ...]:
    """Without the number in front and without underscores, unless two classes would then be called the same.

    >>> readable_names(["001.Blue_Wren", "002.Red_Wren"])
    ('Blue Wren', 'Red Wren')
    >>> readable_names(["1.Wren", "2.Wren"])
    ('1.Wren', '2.Wren')
    """
    short = tuple(re.sub(r"^\d+[. _-]+(?=\D)", "", name).replace("_", " ").strip() for name in names)
    return short if all(short) and len(set(short)) == len(names) else tuple(names)
