"""Estimates as text."""

from __future__ import annotations

from pixpnet.metrics import Estimate

__all__ = ["in_words"]


def in_words(estimate: Estimate, unit: str) -> tuple[str, str]:
    """A value with its unit, and its interval; what was counted has no interval.

    >>> in_words(Estimate(50.0, 40.04, 60.0, 100, 0), "%")
    ('50.0 %', '40.0 to 60.0')
    >>> in_words(Estimate(12.0, 12.0, 12.0, 12, 0), "images")
    ('12', '')
    """
    is_exact = estimate.low == estimate.value == estimate.high
    digits = 1 if unit == "%" else 0 if is_exact and estimate.value.is_integer() else 3
    value, low, high = (f"{number:.{digits}f}".replace("-", "−") for number in estimate[:3])
    return f"{value} {unit}" if unit == "%" else value, "" if is_exact else f"{low} to {high}"
