"""Fonts for names in any script: which installed ones have the signs of a text."""

from __future__ import annotations

import logging
import unicodedata
from functools import cache, lru_cache
from pathlib import Path
from typing import NamedTuple

from pixpnet.words import visible

_logger = logging.getLogger(__name__)

_STANDARD = "DejaVu Sans"
"""It comes with matplotlib, and has the scripts of Europe and some others."""
_BLANK = ("lastresort", "adobeblank")
"""Fonts, by the ten first letters of their names, that have every sign, but as a box or as nothing."""
_EAST_ASIAN = (
    "CJK",
    "HIRAGANA",
    "KATAKANA",
    "KATAKANA-HIRAGANA",
    "HANGUL",
    "BOPOMOFO",
    "IDEOGRAPHIC",
    "FULLWIDTH",
)
_LACKING = "\N{REPLACEMENT CHARACTER}"


class Drawable(NamedTuple):
    """A text as it can be drawn."""

    text: str
    """Without control characters, and with a replacement for each sign that no installed font has."""
    fonts: tuple[str, ...]
    """Families of matplotlib, the first one where it has the sign."""


def drawable(text: str) -> Drawable:
    """The text and fonts that have its signs; a script that none has is told once, in one line."""
    text = visible(text, keep="\n")
    lacking = {sign for sign in text if ord(sign) not in _signs(_standard_file())} - {"\n"}
    if not lacking:
        return Drawable(text, (_STANDARD,))
    families = [_STANDARD]
    for family, file in _installed():
        if found := {sign for sign in lacking if ord(sign) in _signs(file)}:
            families.append(family)
            lacking -= found
        if not lacking:
            break
    for script in sorted({_script(sign) for sign in lacking}):
        _tell(script)
    shown = "".join(_LACKING if sign in lacking else sign for sign in text)
    return Drawable(shown, tuple(families))


def font_file(text: str) -> Path:
    """A font with every sign of the text, as far as there is one: for what draws with one font at a time."""
    wanted = {ord(sign) for sign in text if sign not in f"\n{_LACKING}"}
    if wanted <= _signs(_standard_file()):
        return Path(_standard_file())
    return Path(next((file for _, file in _installed() if wanted <= _signs(file)), _standard_file()))


def _standard_file() -> str:
    from matplotlib.font_manager import FontProperties, findfont

    return findfont(FontProperties(family=_STANDARD))


@lru_cache(maxsize=1)
def _installed() -> tuple[tuple[str, str], ...]:
    """Family and file of the upright fonts that are installed, each family once."""
    from matplotlib.font_manager import fontManager

    upright = (
        font
        for font in fontManager.ttflist
        if font.style == "normal" and font.name.replace(" ", "").lower()[:10] not in _BLANK
    )
    by_weight = sorted(upright, key=lambda font: (font.name, font.weight != 400, font.fname))
    return tuple({font.name: (font.name, font.fname) for font in reversed(by_weight)}.values())


@lru_cache(maxsize=64)
def _signs(file: str) -> frozenset[int]:
    """The code points that a font has; none of one that can't be read."""
    from matplotlib.ft2font import FT2Font

    try:
        return frozenset(FT2Font(file).get_charmap())
    except (OSError, RuntimeError):
        return frozenset()


def _script(sign: str) -> str:
    """What a person would call it: East Asian, emoji, or the first word of its name (THAI, DEVANAGARI)."""
    if unicodedata.category(sign) in ("So", "Sk"):  # skin tones are the latter
        return "emoji"
    first = unicodedata.name(sign, "unknown").split()[0].removesuffix("-")
    return "East Asian" if first in _EAST_ASIAN else first.capitalize()


@cache
def _tell(script: str) -> None:
    _logger.warning(
        "no installed font has some %s signs of the names: pictures show %s for them; install one that has "
        "them, such as Noto's",
        script,
        _LACKING,
    )
