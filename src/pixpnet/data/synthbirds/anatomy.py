"""The frame on which every bird is drawn, and the outline as the unit of drawing.

The bird looks to the right; the unit is 1/128 of the image's side at scale 1, y points down, the origin lies
in the middle of the body. Limbs (head, wing, tail) turn about their joints before the whole bird is placed.
"""

from __future__ import annotations

from dataclasses import dataclass

from pixpnet.data.synthbirds.plumage import COLOURS
from pixpnet.data.synthbirds.shapes import Points, curve

__all__ = ["ANCHORS", "HEAD_OUTLINE", "JOINTS", "TORSO_OUTLINE", "Colour", "Shape", "mix", "tone"]

Colour = tuple[int, int, int]

JOINTS = {"body": (0.0, 0.0), "head": (14.0, -20.0), "wing": (11.0, -6.0), "tail": (-24.0, 13.0)}
"""Limbs and the points about which they turn."""

ANCHORS: dict[str, tuple[str, float, float]] = {
    "back": ("body", -9.0, -10.0),
    "beak": ("head", 37.0, -27.0),
    "belly": ("body", 6.0, 20.0),
    "breast": ("body", 25.0, 0.0),
    "crown": ("head", 19.0, -38.5),
    "eye": ("head", 25.0, -29.5),
    "forehead": ("head", 31.5, -34.0),
    "near leg": ("body", 5.0, 32.0),
    "far leg": ("body", 12.0, 31.0),
    "nape": ("head", 6.0, -25.0),
    "tail": ("tail", -38.0, 22.0),
    "throat": ("head", 27.0, -16.0),
    "wing": ("wing", -6.0, 2.0),
}
"""Limb and place of the point that marks each part."""

TORSO_OUTLINE = curve(
    (22, -22), (27.5, -12), (29.5, -2), (27, 9), (19, 19), (6, 25), (-9, 24), (-21, 19), (-30, 17),
    (-31, 10), (-24, 1), (-14, -9), (-3, -18), (4, -27), (14, -34),
)  # fmt: skip
HEAD_OUTLINE = curve(
    (34, -27), (33, -20.5), (27, -15.5), (18, -15), (8, -19), (5.5, -28), (9, -37), (18, -41.5), (27, -40),
    (32.5, -34.5),
)  # fmt: skip


@dataclass(frozen=True)
class Shape:
    """One painted outline."""

    points: Points
    colour: Colour
    organ: str | None
    """Organ to which the plumage belongs; none: to the bird, but to no part (the cheek)."""
    limb: str = "body"
    layer: str = "torso"
    """``under`` (behind the torso), ``torso`` (cut off at the torso's outline) or ``over``."""


def tone(colour: str | Colour, light: float) -> Colour:
    """A colour, darker (light < 1) or lighter (light > 1).

    >>> tone((100, 100, 100), 0.5)
    (50, 50, 50)
    """
    red, green, blue = COLOURS[colour] if isinstance(colour, str) else colour
    if light <= 1:
        return round(red * light), round(green * light), round(blue * light)
    rest = 2 - light
    return (
        round(255 - (255 - red) * rest),
        round(255 - (255 - green) * rest),
        round(255 - (255 - blue) * rest),
    )


def mix(one: str, other: str, share: float) -> Colour:
    """A blend of two plumage colours."""
    red, green, blue = (round(a + (b - a) * share) for a, b in zip(COLOURS[one], COLOURS[other], strict=True))
    return red, green, blue
