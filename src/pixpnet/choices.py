"""The one look-up in a table of choices, and the one guess at what a misspelled name meant."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping
from typing import TypeVar

from pixpnet.errors import ConfigError

Value = TypeVar("Value")


def choose(table: Mapping[str, Value], name: str, *, what: str) -> Value:
    """The entry of a table.

    Raises:
        ConfigError: There is none; with all names, and the one that is spelled most like it.
    """
    if name not in table:
        raise ConfigError(f"{what}={name!r} is none of {', '.join(table)}{did_you_mean(name, table)}")
    return table[name]


def did_you_mean(wrong: str, names: Iterable[str], *, before: str = "") -> str:
    """``; did you mean X?`` for the name that is spelled most like ``wrong``, else "".

    >>> did_you_mean("cosin", ["l2", "cosine"]), did_you_mean("l3", ["l2", "cosine"]), did_you_mean("x", [])
    ('; did you mean cosine?', '; did you mean l2?', '')
    """
    cutoff = 0.6 if len(wrong) > 3 else 0.5  # one wrong letter of two (l3 for l2) makes them half alike
    near = nearest_names(wrong, names, most=1, cutoff=cutoff)
    return f"; did you mean {before}{near[0]}?" if near else ""


def nearest_names(wrong: str, names: Iterable[str], *, most: int = 5, cutoff: float = 0.4) -> list[str]:
    """The names that are spelled most like ``wrong``, best first; case is ignored.

    Args:
        cutoff: How alike they must be at least, from 0 to 1 (`difflib.SequenceMatcher.ratio`).
    """
    by_lower = {name.lower(): name for name in names}
    return [by_lower[match] for match in difflib.get_close_matches(wrong.lower(), by_lower, most, cutoff)]
