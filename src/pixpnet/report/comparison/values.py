"""Numbers as people read them, with blanks that do not break."""

from __future__ import annotations

from collections.abc import Callable

from pixpnet.evaluation import words
from pixpnet.metrics import Estimate
from pixpnet.report.overview import duration

__all__ = ["MISSING", "in_words", "interval_in_words"]

MISSING = "–"


def in_words(value: float, unit: str) -> str:
    """A value in its unit, rounded.

    >>> in_words(12.345, "%").split(), in_words(593416, "parameters")
    (['12.3', '%'], '593,416')
    >>> in_words(375.2, "s").split(), in_words(174588904, "multiply-adds").split()
    (['6', 'min', '15', 's'], ['174.6', 'million'])
    """
    convert = WORDS.get(unit)
    return _unbroken(convert(value) if convert else words.number_in_words(value, unit))


def interval_in_words(estimate: Estimate, unit: str) -> str:
    """The 95 % interval; nothing where it has no width."""
    return words.interval_in_words(estimate, unit)


def _millions(value: float) -> str:
    return f"{value / 1e6:,.1f} million"


def _unbroken(text: str) -> str:
    return text.replace(" ", "\N{NO-BREAK SPACE}")


WORDS: dict[str, Callable[[float], str]] = {"multiply-adds": _millions, "s": duration}
"""Units that no metric has -> number to text."""
