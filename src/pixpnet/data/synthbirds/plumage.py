"""The words that species are made of: colours, forms, and the names that follow from them."""

from __future__ import annotations

from typing import NamedTuple

__all__ = ["COLOURS", "FORMS", "NOUNS", "Variant", "describe"]


class Variant(NamedTuple):
    """One look of one part."""

    form: str
    """Shape or pattern, see `FORMS`."""
    colour: str
    accent: str | None = None
    """Colour of the marks, where the form has any."""


COLOURS: dict[str, tuple[int, int, int]] = {
    "charcoal": (46, 44, 54),
    "snow": (245, 243, 236),
    "ash": (158, 163, 168),
    "slate": (86, 100, 134),
    "azure": (48, 128, 214),
    "teal": (26, 142, 136),
    "moss": (122, 134, 58),
    "lemon": (250, 218, 64),
    "amber": (240, 150, 40),
    "scarlet": (212, 46, 44),
    "chestnut": (142, 76, 42),
    "buff": (226, 192, 142),
    "plum": (124, 62, 134),
    "rose": (232, 128, 144),
}
"""Plumage colours in sRGB, no two closer than 25 units of CIE76 ΔE."""

FORMS: dict[str, dict[str, bool]] = {
    "back": {"plain": False, "scaled": True},
    "beak": {"cone": False, "dagger": False, "curved": False, "hook": False},
    "belly": {"plain": False, "barred": True},
    "breast": {"plain": False, "spotted": True, "streaked": True, "banded": True},
    "crown": {"cap": False, "crest": False, "striped": True},
    "eye": {"ring": False},
    "forehead": {"plain": False},
    "leg": {"plain": False},
    "nape": {"plain": False},
    "tail": {"square": False, "fork": False, "fan": False, "long": False, "banded": True},
    "throat": {"plain": False, "bib": False},
    "wing": {"plain": False, "barred": True, "patched": True},
}
"""Forms of each organ, and whether the form has marks in an accent colour."""

EPITHETS: dict[tuple[str, str], str] = {
    ("back", "plain"): "{colour}_backed",
    ("back", "scaled"): "Scaly",
    ("beak", "cone"): "{colour}_billed",
    ("beak", "dagger"): "Dagger_billed",
    ("beak", "curved"): "Curve_billed",
    ("beak", "hook"): "Hook_billed",
    ("belly", "plain"): "{colour}_bellied",
    ("belly", "barred"): "Barred",
    ("breast", "plain"): "{colour}_breasted",
    ("breast", "spotted"): "Spotted",
    ("breast", "streaked"): "Streaked",
    ("breast", "banded"): "Sashed",
    ("crown", "cap"): "{colour}_capped",
    ("crown", "crest"): "Crested",
    ("crown", "striped"): "Striped",
    ("eye", "ring"): "{colour}_eyed",
    ("nape", "plain"): "{colour}_naped",
    ("tail", "square"): "{colour}_tailed",
    ("tail", "fork"): "Fork_tailed",
    ("tail", "fan"): "Fan_tailed",
    ("tail", "long"): "Long_tailed",
    ("tail", "banded"): "Band_tailed",
    ("throat", "plain"): "{colour}_throated",
    ("throat", "bib"): "Bibbed",
    ("wing", "plain"): "{colour}_winged",
    ("wing", "barred"): "Bar_winged",
    ("wing", "patched"): "Patch_winged",
}

COLOUR_WORDS = {
    "charcoal": ("Sooty", "Raven", "Night"),
    "snow": ("Snowy", "Pearl", "Frost"),
    "ash": ("Ashen", "Misty", "Silver"),
    "slate": ("Slate", "Storm", "Dusky"),
    "azure": ("Azure", "River", "Sky"),
    "teal": ("Teal", "Lagoon", "Fern"),
    "moss": ("Mossy", "Olive", "Willow"),
    "lemon": ("Lemon", "Primrose", "Sunny"),
    "amber": ("Amber", "Marigold", "Saffron"),
    "scarlet": ("Scarlet", "Ruby", "Ember"),
    "chestnut": ("Chestnut", "Russet", "Cinnamon"),
    "buff": ("Buff", "Sandy", "Honey"),
    "plum": ("Plum", "Heather", "Violet"),
    "rose": ("Rosy", "Blossom", "Coral"),
}
"""Adjectives of a genus, after the colour of its back."""

NOUNS = (
    "Finch", "Wren", "Tanager", "Warbler", "Bunting", "Robin", "Thrush", "Chat", "Siskin", "Oriole",
    "Tit", "Flycatcher", "Pipit", "Swallow", "Waxwing", "Sparrow", "Vireo", "Linnet", "Babbler", "Lark",
)  # fmt: skip


def describe(organ: str, variant: Variant) -> str:
    """The epithet that the variant earns its species.

    >>> describe("tail", Variant("fork", "slate"))
    'Fork_tailed'
    """
    return EPITHETS[organ, variant.form].format(colour=COLOUR_WORDS[variant.colour][0])
