"""Numbers as people read them."""

from __future__ import annotations

from collections.abc import Callable

__all__ = ["MISSING", "in_words"]

MISSING = "–"


def in_words(value: float, unit: str) -> str:
    """A value in its unit, rounded; the blank before a unit does not break.

    >>> in_words(12.345, "%").split(), in_words(0.12345, "share"), in_words(593416, "parameters")
    (['12.3', '%'], '0.123', '593,416')
    >>> in_words(2.345, "images"), in_words(375.2, "s"), in_words(174588904, "multiply-adds")
    ('2.3', '6 min 15 s', '174.6 million')
    """
    return WORDS.get(unit, _count)(value).replace(" ", "\N{NO-BREAK SPACE}").replace("-", "−")


def _percent(value: float) -> str:
    return f"{value + 0.0:.1f} %"


def _count(value: float) -> str:
    return f"{value:,.0f}" if value == round(value) else f"{value:,.1f}"


def _millions(value: float) -> str:
    return f"{value / 1e6:,.1f} million"


def _duration(value: float) -> str:
    minutes, seconds = divmod(round(value), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours} h {minutes} min"
    return f"{minutes} min {seconds} s" if minutes else f"{seconds} s"


def _decimals(value: float) -> str:
    return f"{value:.3f}"


def _factor(value: float) -> str:
    return f"{value:.2f} ×"


WORDS: dict[str, Callable[[float], str]] = {
    "%": _percent,
    "×": _factor,
    "share": _decimals,
    "": _decimals,
    "multiply-adds": _millions,
    "s": _duration,
}
"""Unit -> number to text; others count something."""
