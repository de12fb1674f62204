"""The drawing of a species: outlines in its own coordinates, in the order in which they are painted.

The bird looks to the right; the unit is 1/128 of the image's side at scale 1, y points down, the origin lies in
the middle of the body. Limbs (head, wing, tail) turn about their joints before the whole bird is placed.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cache

import numpy as np

from pixpnet.data.synthbirds.plumage import COLOURS, Variant
from pixpnet.data.synthbirds.shapes import Points, curve, ellipse, feather
from pixpnet.data.synthbirds.species import Species

__all__ = ["ANCHORS", "HEAD_OUTLINE", "JOINTS", "TORSO_OUTLINE", "Shape", "draw_species"]

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
    limb: str = "body"
    layer: str = "torso"
    """``under`` (behind the torso), ``torso`` (cut off at the torso's outline) or ``over``."""


def tone(colour: str | Colour, light: float) -> Colour:
    """A colour, darker (light < 1) or lighter (light > 1).

    >>> tone((100, 100, 100), 0.5)
    (50, 50, 50)
    """
    rgb = COLOURS[colour] if isinstance(colour, str) else colour
    if light <= 1:
        return tuple(round(c * light) for c in rgb)
    return tuple(round(255 - (255 - c) * (2 - light)) for c in rgb)


def mix(one: str, other: str, share: float) -> Colour:
    """A blend of two plumage colours."""
    return tuple(round(a + (b - a) * share) for a, b in zip(COLOURS[one], COLOURS[other], strict=True))


@cache
def draw_species(species: Species) -> tuple[Shape, ...]:
    """All outlines of a species, back to front."""
    v = species.variants
    return (
        *_legs(v["leg"]),
        *_tail(v["tail"]),
        *_crest(v["crown"]),
        *_beak(v["beak"]),
        *_back(v["back"]),
        *_belly(v["belly"]),
        *_breast(v["breast"]),
        *_head(v),
        *_wing(v["wing"]),
        *_eye(v["eye"]),
    )


def _legs(leg: Variant) -> list[Shape]:
    shapes = []
    for organ, x, light in (("far leg", 12.0, 0.72), ("near leg", 5.0, 1.0)):
        colour = tone(leg.colour, light)
        shank = curve(
            (x - 1.6, 20), (x + 1.6, 20), (x + 1.3, 30), (x + 1.2, 38), (x - 1.2, 38), (x - 1.3, 30)
        )
        thigh = curve((x - 5, 18), (x + 4, 18), (x + 1.5, 27), (x - 1.5, 27))
        shapes.append(Shape(thigh, tone(leg.colour, light * 0.9), organ, layer="under"))
        shapes.append(Shape(shank, colour, organ, layer="under"))
        for dx, dy in ((6.5, 1.6), (4.0, 3.6), (-4.5, 1.8)):
            shapes.append(
                Shape(feather((x, 37), (x + dx, 37.5 + dy), (2.4, 2.4)), colour, organ, layer="under")
            )
    return shapes


TAILS = {
    "square": ((-9, 25), (-4.5, 26), (0, 26), (4.5, 26), (9, 25)),
    "fork": ((-15, 33), (-8, 25), (0, 16), (8, 25), (15, 33)),
    "fan": ((-34, 24), (-17, 27), (0, 28), (17, 27), (34, 24)),
    "long": ((-5, 24), (-3, 32), (0, 39), (3, 32), (5, 24)),
    "banded": ((-11, 26), (-5.5, 28), (0, 28.5), (5.5, 28), (11, 26)),
}
"""Angle (degrees) and length of each tail feather."""


def _tail(tail: Variant) -> list[Shape]:
    shapes = []
    quills = TAILS[tail.form]
    base = (-23.0, 11.5)
    for i in (0, 4, 1, 3, 2):
        angle, length = quills[i]
        heading = np.deg2rad(152 - angle)
        tip = (base[0] + length * np.cos(heading), base[1] + length * np.sin(heading))
        light = (0.82, 1.0, 1.12)[min(i, 4 - i)]
        width = 7.5 if tail.form == "fan" else 6.4
        shapes.append(
            Shape(feather(base, tip, (5, width + 1)), tone(tail.colour, 0.62), "tail", "tail", "under")
        )
        shapes.append(
            Shape(feather(base, tip, (4, width)), tone(tail.colour, light), "tail", "tail", "under")
        )
        if tail.accent:
            band = feather(base, tip, (4, width), start=0.58, stop=0.84)
            shapes.append(Shape(band, tone(tail.accent, light), "tail", "tail", "under"))
        shapes.append(
            Shape(
                feather(base, tip, (0.7, 0.7), stop=0.95),
                tone(tail.colour, light * 0.75),
                "tail",
                "tail",
                "under",
            )
        )
    return shapes


def _crest(crown: Variant) -> list[Shape]:
    if crown.form != "crest":
        return []
    plumes = [((14, -33), (-1, -51), 0.8), ((17, -34), (5, -54), 0.95), ((21, -35), (12, -52), 1.1)]
    return [
        Shape(feather(base, tip, (10, 7), pointed=0.6), tone(crown.colour, light), "crown", "head", "under")
        for base, tip, light in plumes
    ]


BEAKS = {
    "cone": ((30, -33), (36, -31.5), (44, -25), (36, -22), (30, -21)),
    "dagger": ((30, -31), (38, -29.5), (53, -25.5), (38, -23.5), (30, -22)),
    "curved": ((30, -31.5), (39, -31), (49, -26), (52, -17.5), (46, -22), (38, -24.5), (30, -22.5)),
    "hook": ((30, -34), (38, -34), (45, -29.5), (45, -20), (41, -22.5), (36, -21.5), (30, -20.5)),
}


def _beak(beak: Variant) -> list[Shape]:
    outline = curve(*BEAKS[beak.form], samples=5)
    shade = outline.copy()
    middle = np.interp(shade[:, 0], (30, 44), (-26.5, -25.5))
    shade[:, 1] = np.maximum(shade[:, 1], middle)
    return [
        Shape(outline, tone(beak.colour, 1.0), "beak", "head", "under"),
        Shape(shade, tone(beak.colour, 0.74), "beak", "head", "under"),
    ]


def _back(back: Variant) -> list[Shape]:
    ground = np.array([(-60, -60), (60, -60), (60, 60), (-60, 60)], float)
    shapes = [Shape(ground, tone(back.colour, 1.0), "back")]
    if back.accent:
        colour = mix(back.colour, back.accent, 0.75)
        for row in range(3):
            for column in range(7):
                x = 3 - column * 5.6 + row * 2.4
                y = -20 + column * 5.0 + row * 4.2
                shapes.append(Shape(ellipse((x, y), (2.5, 2.1), points=10), colour, "back"))
                shapes.append(
                    Shape(ellipse((x + 0.9, y - 1.0), (2.3, 2.0), points=10), tone(back.colour, 0.95), "back")
                )
    return shapes


def _belly(belly: Variant) -> list[Shape]:
    zone = curve((-34, 30), (-33, 15), (-20, 11), (-4, 6), (12, 4), (27, 6), (36, 8), (30, 32))
    shapes = [Shape(zone, tone(belly.colour, 1.0), "belly")]
    if belly.accent:
        colour = mix(belly.colour, belly.accent, 0.8)
        for x in np.arange(-22, 24, 6.4):
            bar = curve((x, 8), (x + 2.6, 8), (x + 4.2, 17), (x + 3.4, 27), (x + 0.8, 27), (x + 1.6, 17))
            shapes.append(Shape(bar, colour, "belly"))
    return shapes


def _breast(breast: Variant) -> list[Shape]:
    zone = curve((8, -10), (14, -19), (24, -22), (36, -16), (38, 4), (30, 10), (18, 9.5), (9, 4))
    shapes = [Shape(zone, tone(breast.colour, 1.0), "breast")]
    if breast.accent is None:
        return shapes
    colour = COLOURS[breast.accent]
    if breast.form == "banded":
        band = curve((6, -6.5), (16, -4.5), (26, -5.5), (36, -9), (37, -1.5), (28, 2), (16, 2.5), (6, 0))
        return [*shapes, Shape(band, colour, "breast")]
    places = [(13, -5), (19, -6), (25, -7), (16, 0), (22, -0.5), (28, -2), (13.5, 5), (20, 5), (26, 4)]
    for x, y in places:
        if breast.form == "spotted":
            mark = ellipse((x, y), (1.75, 1.75), points=12)
        else:
            mark = feather((x - 0.6, y - 3.6), (x + 0.4, y + 3.4), (1.2, 2.3), pointed=0.5)
        shapes.append(Shape(mark, colour, "breast"))
    return shapes


def _head(v: dict[str, Variant]) -> list[Shape]:
    face = mix(v["back"].colour, v["belly"].colour, 0.55)
    head = [Shape(ellipse((20, -27.5), (15.5, 14.5)), face, None)]
    nape = curve((-4, -19), (1, -33), (7, -39), (12, -35), (13.5, -26), (12, -17), (4, -9))
    head.append(Shape(nape, tone(v["nape"].colour, 1.0), "nape"))
    throat = [(19, -17), (25, -20.5), (31, -23), (38, -22), (37, -13), (28, -9.5), (21, -11)]
    if v["throat"].form == "bib":
        throat[4:] = [(39, -10), (33, -1), (25, 1), (19.5, -7)]
    head.append(Shape(curve(*throat), tone(v["throat"].colour, 1.0), "throat"))
    crown = v["crown"]
    cap = curve((5, -34), (6, -44), (20, -50), (31, -44), (28.5, -36.5), (20, -35), (12, -32))
    head.append(Shape(cap, tone(crown.colour, 1.0), "crown"))
    if crown.accent:
        stripe = curve((2, -35), (8, -38.6), (18, -40.4), (30, -39.5), (30, -37), (18, -37.4), (9, -35.5))
        head.append(Shape(stripe, tone(crown.accent, 1.0), "crown"))
    forehead = curve((27.5, -36), (30, -46), (40, -40), (38, -28), (32.5, -27.5), (29.5, -32))
    head.append(Shape(forehead, tone(v["forehead"].colour, 1.0), "forehead"))
    cheek = ellipse((18.5, -23), (4.6, 3.6), points=16)
    head.append(Shape(cheek, tone(face, 1.12), None))
    return [replace(shape, limb="head") for shape in head]


def _wing(wing: Variant) -> list[Shape]:
    c = wing.colour
    shapes: list[Shape] = []

    def add(points: Points, colour: Colour) -> None:
        shapes.append(Shape(points, colour, "wing", "wing", "over"))

    add(
        curve(
            (15, -6),
            (12, 5),
            (3, 11),
            (-9, 13.5),
            (-22, 13),
            (-39, 13.5),
            (-27, 7),
            (-18, -1),
            (-7, -9),
            (4, -13.5),
            (12, -12),
        ),
        tone(c, 0.7),
    )
    for i in range(5):
        tip = (-40.0 + 4.2 * i, 13.2 + 0.35 * i)
        base = (-8.0 + 1.5 * i, -3.0 + 2.2 * i)
        add(feather(base, tip, (3, 5.2), pointed=0.3), tone(c, 0.62))
        add(feather(base, (tip[0] + 1, tip[1] - 0.4), (2.2, 4.0), pointed=0.3), tone(c, 0.86))
    for i in range(5):
        tip = (-21.0 + 5.4 * i, 12.6 - 0.3 * i)
        base = (-6.0 + 3.4 * i, -6.0 + 1.2 * i)
        add(feather(base, tip, (4, 6.6)), tone(c, 0.66))
        patch = wing.form == "patched"
        add(
            feather(base, (tip[0] + 0.8, tip[1] - 1.0), (3, 5.6)),
            tone(wing.accent, 0.97) if patch and wing.accent else tone(c, 0.95),
        )
    bar = wing.accent if wing.form == "barred" else None
    for row, (dx, dy, light) in enumerate(((-6.0, 4.2, 0.96), (1.0, 0.6, 1.06))):
        for i in range(5):
            base = (-1.5 + 3.2 * i + dx * 0.2, -10.5 + 1.5 * i)
            tip = (-11.0 + 4.6 * i + dx * 0.6 + 3, 1.2 + 1.35 * i + dy * 0.9)
            add(feather(base, tip, (4, 6.4)), tone(c, 0.7))
            if bar:
                add(feather(base, tip, (4, 6.2)), tone(bar, 1.0))
                tip = (tip[0] + 1.3, tip[1] - 3.1)
            else:
                tip = (tip[0] + 0.5, tip[1] - 0.9)
            add(feather(base, tip, (4, 5.8)), tone(c, light - 0.02 * row))
    add(curve((14.5, -7), (12, -1), (6, -2), (-1, -5), (-3, -9), (4, -13), (11, -12)), tone(c, 1.1))
    return shapes


def _eye(eye: Variant) -> list[Shape]:
    x, y = ANCHORS["eye"][1:]
    rings = [
        (ellipse((x, y), (5.0, 5.0)), tone(eye.colour, 1.0)),
        (ellipse((x + 0.2, y), (3.0, 3.0), points=16), (20, 18, 24)),
        (ellipse((x + 1.2, y - 1.2), (1.05, 1.05), points=10), (250, 250, 250)),
    ]
    return [Shape(points, colour, "eye", "head", "over") for points, colour in rings]
