"""What a species is: one variant per part, in words, and which parts tell two species apart."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cache
from typing import NamedTuple

import numpy as np

from pixpnet.errors import ConfigError


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


MAX_CLASSES = 200

PARTS = (
    "back", "beak", "belly", "breast", "crown", "forehead", "left eye", "left leg",
    "left wing", "nape", "right eye", "right leg", "right wing", "tail", "throat",
)  # fmt: skip
"""The parts of CUB-200-2011, in its order; the id of a part is its position, from 1."""

ORGANS = tuple(FORMS)
"""What a species has a variant of: the parts, with left and right taken together."""

PART_IDS = {
    organ: tuple(number for number, part in enumerate(PARTS, 1) if part.split()[-1] == organ)
    for organ in ORGANS
}
"""Ids of the parts that show an organ: one, or left and right."""

VARIED = ("beak", "belly", "breast", "crown", "eye", "nape", "tail", "throat", "wing")
"""Organs that may be the only difference of two species: all are large enough to be seen from afar."""

GENUS_SIZES = (4, 3, 3)
"""Species per genus, in turn."""

MIN_GENUS_DIFFERENCES = 4
"""Organs in which any two species of different genera differ, at least."""


@dataclass(frozen=True)
class Species:
    """One class of SynthBirds."""

    name: str
    genus: str
    variants: dict[str, Variant] = field(hash=False)
    """The look of every organ."""


def differing_organs(one: Species, other: Species) -> tuple[str, ...]:
    """The organs that look different: other form, or a colour that is at least 25 ΔE away."""
    return tuple(organ for organ in ORGANS if one.variants[organ] != other.variants[organ])


@cache
def catalogue(classes: int) -> tuple[Species, ...]:
    """The first species of the fixed list of 200; a longer list starts with the shorter one.

    Raises:
        ConfigError: fewer than 1 or more than 200 classes.
    """
    if not 1 <= classes <= MAX_CLASSES:
        raise ConfigError(f"SynthBirds has 1 to {MAX_CLASSES} classes, not {classes}.")
    rng = np.random.Generator(np.random.Philox(2023))
    species: list[Species] = []
    genera: set[str] = set()
    while len(species) < classes:
        members = _genus(rng, size=GENUS_SIZES[len(genera) % len(GENUS_SIZES)], taken=genera)
        if all(len(differing_organs(a, b)) >= MIN_GENUS_DIFFERENCES for a in members for b in species):
            genera.add(members[0].genus)
            species.extend(members)
    return tuple(species[:classes])


def _genus(rng: np.random.Generator, *, size: int, taken: set[str]) -> list[Species]:
    base = _base_design(rng)
    genus = _genus_name(rng, base["back"].colour, taken)
    first, second = (VARIED[i] for i in rng.choice(len(VARIED), size=2, replace=False))
    a, b = _alternatives(rng, first, base, number=3), _alternatives(rng, second, base, number=2)
    steps = ((0, 0), (1, 0), (0, 1), (2, 1))[:size]
    epithets = ("Common", describe(first, a[1]), describe(second, b[1]), describe(first, a[2]))
    if len(set(epithets)) < len(epithets):
        return _genus(rng, size=size, taken=taken)
    return [
        Species(f"{epithet}_{genus}", genus, base | {first: a[i], second: b[j]})
        for epithet, (i, j) in zip(epithets, steps, strict=False)
    ]


def _genus_name(rng: np.random.Generator, colour: str, taken: set[str]) -> str:
    names = [f"{word}_{noun}" for word in COLOUR_WORDS[colour] for noun in NOUNS]
    words = {name.split("_")[0] for name in taken}
    nouns = [name.split("_")[1] for name in taken]
    fresh = min(nouns.count(noun) for noun in NOUNS)
    names = [n for n in names if n not in taken and nouns.count(n.split("_")[1]) == fresh]
    names = [n for n in names if n.split("_")[0] not in words] or names
    return names[rng.integers(len(names))]


MANTLES = tuple(c for c in COLOURS if c not in ("snow", "lemon", "amber", "scarlet"))
PALE = ("snow", "buff", "lemon", "ash", "rose")
BRIGHT = ("lemon", "amber", "scarlet", "azure", "rose", "snow", "chestnut", "plum", "teal")
BEAKS = ("charcoal", "amber", "lemon", "scarlet", "slate", "rose")
LEGS = ("charcoal", "amber", "rose", "slate", "lemon")


def _base_design(rng: np.random.Generator) -> dict[str, Variant]:
    """A bird of few colours: mantle, pale underside, one bright accent and one dark tone."""

    def pick(*options: str) -> str:
        return options[rng.integers(len(options))]

    mantle = pick(*MANTLES)
    pale = pick(*(c for c in PALE if c != mantle))
    bright = pick(*(c for c in BRIGHT if c not in (mantle, pale)))
    dark = pick(*(c for c in ("charcoal", "slate", "chestnut") if c != mantle))
    colours = {
        "back": (mantle,),
        "beak": (pick(*BEAKS),),
        "belly": (pale,),
        "breast": (pale, bright, bright, mantle),
        "crown": (mantle, dark, bright),
        "eye": (pick("charcoal", "snow", "lemon", "scarlet"),),
        "forehead": (mantle, bright, dark, pale),
        "leg": (pick(*LEGS),),
        "nape": (mantle, mantle, dark, pale),
        "tail": (mantle, dark, dark),
        "throat": (pale, bright, dark),
        "wing": (mantle, dark, dark),
    }
    return {organ: _variant(rng, organ, pick(*colours[organ])) for organ in ORGANS}


def _variant(rng: np.random.Generator, organ: str, colour: str) -> Variant:
    form = list(FORMS[organ])[rng.integers(len(FORMS[organ]))]
    return Variant(form, colour, _accent(colour) if FORMS[organ][form] else None)


def _accent(colour: str) -> str:
    """Colour of marks on a ground: the one of four that stands out most."""
    return max(("charcoal", "snow"), key=lambda mark: colour_distance(mark, colour))


def colour_distance(one: str, other: str) -> float:
    """CIE76 ΔE of two plumage colours."""
    return float(np.linalg.norm(_lab(one) - _lab(other)))


def _lab(colour: str) -> np.ndarray:
    srgb = np.asarray(COLOURS[colour]) / 255
    linear = np.where(srgb <= 0.04045, srgb / 12.92, ((srgb + 0.055) / 1.055) ** 2.4)
    xyz = linear @ np.array([[0.4124, 0.2126, 0.0193], [0.3576, 0.7152, 0.1192], [0.1805, 0.0722, 0.9505]])
    f = np.cbrt(xyz / np.array([0.9505, 1.0, 1.089]))
    return np.array([116 * f[1] - 16, 500 * (f[0] - f[1]), 200 * (f[1] - f[2])])


SINGLE_COLOURS = {
    "beak": BEAKS,
    "eye": ("charcoal", "snow", "lemon", "scarlet", "azure"),
    "belly": ("snow", "lemon", "rose", "ash", "chestnut", "charcoal", "amber"),
}


def _alternatives(
    rng: np.random.Generator, organ: str, base: dict[str, Variant], *, number: int
) -> list[Variant]:
    """The base's variant of an organ and others that stand far from it and from each other."""
    found = [base[organ]]
    while len(found) < number:
        colours = SINGLE_COLOURS.get(organ, tuple(COLOURS))
        colour = colours[rng.integers(len(colours))] if rng.random() < 0.7 else base[organ].colour
        candidate = _variant(rng, organ, colour)
        if all(stands_out(candidate, other) for other in found):
            found.append(candidate)
    return found


def stands_out(one: Variant, other: Variant) -> bool:
    """Whether a person who sees the organ alone, and badly, tells the two apart."""
    return one.form != other.form or colour_distance(one.colour, other.colour) >= 45
