"""Estimates as text."""

from __future__ import annotations

from pixpnet.metrics import Estimate

__all__ = ["in_words", "interval_in_words", "number_in_words"]

DIGITS = {"%": 1, "×": 2, "share": 3, "": 3}
"""Unit -> digits after the point; other units count something."""

SIGNS = ("%", "×")
"""Units that stand behind a number."""


def number_in_words(value: float, unit: str) -> str:
    """A value with its unit.

    >>> number_in_words(12.345, "%"), number_in_words(2.345, "×"), number_in_words(0.12345, "share")
    ('12.3 %', '2.35 ×', '0.123')
    >>> number_in_words(1234.0, "images"), number_in_words(2.345, "prototypes")
    ('1,234', '2.3')
    """
    return f"{_number(value, unit)} {unit}" if unit in SIGNS else _number(value, unit)


def interval_in_words(estimate: Estimate, unit: str) -> str:
    """The 95 % interval; nothing where it has no width, as of what was counted.

    >>> interval_in_words(Estimate(50.0, 40.04, 60.0, 100, 0), "%")
    '40.0 to 60.0'
    """
    if estimate.low == estimate.high:
        return ""
    return f"{_number(estimate.low, unit)} to {_number(estimate.high, unit)}"


def in_words(estimate: Estimate, unit: str) -> tuple[str, str]:
    """A value with its unit, and its interval.

    >>> in_words(Estimate(12.0, 12.0, 12.0, 12, 0), "images")
    ('12', '')
    """
    return number_in_words(estimate.value, unit), interval_in_words(estimate, unit)


def _number(value: float, unit: str) -> str:
    digits = DIGITS.get(unit, 0 if float(value).is_integer() else 1)
    return f"{value + 0.0:,.{digits}f}".replace("-", "−")
