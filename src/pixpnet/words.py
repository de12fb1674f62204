"""Numbers and names as people read them."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence

NO_BREAK = "\N{NO-BREAK SPACE}"

_JOINERS = "\N{ZERO WIDTH JOINER}\N{ZERO WIDTH NON-JOINER}"

_DIGITS = {"%": 1, "×": 2, "share": 3, "": 3}
"""Unit -> digits after the point; other units count something."""

_SIGNS = ("%", "×")
"""Units that stand behind a number."""


def number_in_words(value: float, unit: str = "") -> str:
    """A value with its unit.

    >>> number_in_words(12.345, "%"), number_in_words(2.345, "×"), number_in_words(0.12345, "share")
    ('12.3 %', '2.35 ×', '0.123')
    >>> number_in_words(1234.0, "images"), number_in_words(2.345, "prototypes")
    ('1,234', '2.3')
    >>> number_in_words(375.2, "s"), number_in_words(174588904, "multiply-adds")
    ('6 min 15 s', '174.6 million')
    """
    if unit == "s":
        return duration(value)
    if unit == "multiply-adds":
        return f"{value / 1e6:,.1f} million"
    return f"{_rounded(value, unit)} {unit}" if unit in _SIGNS else _rounded(value, unit)


def interval_in_words(low: float, high: float, unit: str = "") -> str:
    """An interval, or "" where it has no width, as of what was counted.

    >>> interval_in_words(40.04, 60.0, "%")
    '40.0 to 60.0'
    """
    return "" if low == high else f"{_rounded(low, unit)} to {_rounded(high, unit)}"


def decimal(value: float, *, sign: str = "-") -> str:
    """Two digits after the point, a true minus, and no sign before a zero.

    >>> decimal(-0.001), decimal(-1.5), decimal(1.5, sign="+")
    ('0.00', '−1.50', '+1.50')
    """
    rounded = round(value, 2)
    return f"{rounded:{sign if rounded else '-'}.2f}".replace("-", "−" if rounded else "")


def percent(share: float) -> str:
    """Rounded, but never to all or nothing; the blank before the sign doesn't break.

    >>> percent(0.93666).split(), percent(0.99999).split(), percent(1).split()
    (['93.7', '%'], ['>99.9', '%'], ['100', '%'])
    """
    text = f"{100 * share:.1f}"
    text = {"100.0": ">99.9", "0.0": "<0.1"}.get(text, text) if 0 < share < 1 else f"{100 * share:.0f}"
    return f"{text}{NO_BREAK}%"


def probability(share: float) -> str:
    """What a softmax gives, which is neither 0 nor 1 even where a float can't tell.

    >>> probability(0.99999), probability(0.25), probability(1e-9)
    ('> 99.9 %', '25.0 %', '< 0.1 %')
    """
    if share < 0.001:
        return "< 0.1 %"
    return "> 99.9 %" if share > 0.999 else f"{100 * share:.1f} %"


def duration(seconds: float) -> str:
    """Seconds, in the two largest units.

    >>> duration(375.2), duration(7260)
    ('6 min 15 s', '2 h 1 min')
    """
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours} h {minutes} min"
    return f"{minutes} min {rest} s" if minutes else f"{rest} s"


def counted(number: int, noun: str) -> str:
    """
    >>> counted(1, "edit"), counted(1200, "edit")
    ('1 edit', '1,200 edits')
    """
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def spaced(name: str) -> str:
    """The words of a name.

    >>> spaced("soft_area")
    'soft area'
    """
    return name.replace("_", " ")


def unbroken(text: str) -> str:
    """Text with blanks at which no line breaks."""
    return text.replace(" ", NO_BREAK)


def visible(text: object, *, keep: str = "") -> str:
    r"""Text of the world (names of files and classes) with its control characters as escapes.

    So nothing in it moves a cursor, colours a terminal, breaks a line or turns the direction of writing.

    Args:
        text: A text, or what becomes one (a path).
        keep: Control characters that stay, such as a line's end.

    >>> visible("red \x1b[31m wren"), visible("two\nlines"), visible("two\nlines", keep="\n")
    ('red \\x1b[31m wren', 'two\\nlines', 'two\nlines')
    """
    text = str(text)
    if text.isprintable():
        return text
    return "".join(
        one.encode("unicode_escape").decode() if _is_control(one) and one not in keep else one for one in text
    )


def _is_control(character: str) -> bool:
    """Those that have no look of their own, but for the joiners that names in some scripts need."""
    return unicodedata.category(character) in ("Cc", "Cf", "Cs", "Zl", "Zp") and character not in _JOINERS


def sides(size: Sequence[int]) -> str:
    """
    >>> sides((14, 7))
    '14×7'
    """
    return "×".join(str(side) for side in size)


def readable_names(names: Sequence[str]) -> tuple[str, ...]:
    """Class names without the number in front and underscores, unless two would then be called the same.

    >>> readable_names(["001.Blue_Wren", "002.Red_Wren"])
    ('Blue Wren', 'Red Wren')
    >>> readable_names(["1.Wren", "2.Wren"])
    ('1.Wren', '2.Wren')
    """
    short = tuple(re.sub(r"^\d+[. _-]+(?=\D)", "", name).replace("_", " ").strip() for name in names)
    return short if all(short) and len(set(short)) == len(names) else tuple(names)


def _rounded(value: float, unit: str) -> str:
    digits = _DIGITS.get(unit, 0 if float(value).is_integer() else 1)
    return f"{value + 0.0:,.{digits}f}".replace("-", "−")


def in_markdown(text: str) -> str:
    r"""Text that stays as it is in Markdown, also in a cell of a table.

    >>> in_markdown("a|b*c")
    'a\\|b\\*c'
    """
    for sign in "\\|*<[":
        text = text.replace(sign, "\\" + sign)
    return visible(" ".join(text.splitlines()))


def accuracy_in_words(accuracy: float, images: int) -> str:
    r"""A share of so many images that were told right, with Wilson's interval of 95 %.

    >>> accuracy_in_words(71 / 72, 72)
    '98.6\xa0% of 72 images (95 % interval 92.5\xa0% to 99.8\xa0%)'
    """
    from scipy.stats import binomtest  # half a second that `pixpnet --help` does without

    interval = binomtest(round(accuracy * images), images).proportion_ci(method="wilson")
    return (
        f"{percent(accuracy)} of {images:,} images (95 % interval {percent(interval.low)} to "
        f"{percent(interval.high)})"
    )
