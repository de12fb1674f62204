"""The outlines of a bird's parts, from legs and tail to beak, face and eye."""

from __future__ import annotations

import numpy as np

from pixpnet.synthbirds.anatomy import ANCHORS, Shape, mix, tone
from pixpnet.synthbirds.shapes import Colour, Points, curve, ellipse, feather
from pixpnet.synthbirds.species import COLOURS, Variant


def draw_legs(leg: Variant) -> list[Shape]:
    shapes = []
    for organ, x, light in (("far leg", 12.0, 0.72), ("near leg", 5.0, 1.0)):
        thigh = curve((x - 5, 18), (x + 4, 18), (x + 1.5, 27), (x - 1.5, 27))
        shank = curve(
            (x - 1.6, 20), (x + 1.6, 20), (x + 1.3, 30), (x + 1.2, 38), (x - 1.2, 38), (x - 1.3, 30)
        )
        toes = [
            feather((x, 37), (x + dx, 37.5 + dy), (2.4, 2.4))
            for dx, dy in ((6.5, 1.6), (4, 3.6), (-4.5, 1.8))
        ]
        shapes.append(Shape(thigh, tone(leg.colour, light * 0.9), organ, layer="under"))
        shapes += [Shape(points, tone(leg.colour, light), organ, layer="under") for points in (shank, *toes)]
    return shapes


TAILS = {
    "square": ((-9, 25), (-4.5, 26), (0, 26), (4.5, 26), (9, 25)),
    "fork": ((-15, 33), (-8, 25), (0, 16), (8, 25), (15, 33)),
    "fan": ((-34, 24), (-17, 27), (0, 28), (17, 27), (34, 24)),
    "long": ((-5, 24), (-3, 32), (0, 39), (3, 32), (5, 24)),
    "banded": ((-11, 26), (-5.5, 28), (0, 28.5), (5.5, 28), (11, 26)),
}
"""Angle (degrees) and length of each tail feather."""


def draw_tail(tail: Variant) -> list[Shape]:
    shapes: list[Shape] = []

    def add(points: Points, colour: Colour) -> None:
        shapes.append(Shape(points, colour, "tail", "tail", "under"))

    base = (-23.0, 11.5)
    width = 7.5 if tail.form == "fan" else 6.4
    for i in (0, 4, 1, 3, 2):
        angle, length = TAILS[tail.form][i]
        heading = np.deg2rad(152 - angle)
        tip = (base[0] + length * np.cos(heading), base[1] + length * np.sin(heading))
        light = (0.82, 1.0, 1.12)[min(i, 4 - i)]
        add(feather(base, tip, (5, width + 1)), tone(tail.colour, 0.62))
        add(feather(base, tip, (4, width)), tone(tail.colour, light))
        if tail.accent:
            add(feather(base, tip, (4, width), start=0.58, stop=0.84), tone(tail.accent, light))
        add(feather(base, tip, (0.7, 0.7), stop=0.95), tone(tail.colour, light * 0.75))
    return shapes


def _down(
    colour: Colour, organ: str, places: list[tuple[float, float]], heading: tuple[float, float]
) -> list[Shape]:
    """Faint feather tips that keep an area from looking flat."""
    shapes = []
    for i, (x, y) in enumerate(places):
        tip = (x + heading[0], y + heading[1])
        shade = tone(colour, 0.9 if i % 2 else 0.94)
        shapes.append(Shape(feather((x, y), tip, (1.4, 3.4)), shade, organ))
        inner = feather(
            (x - 0.35 * heading[0], y - 0.35 * heading[1]),
            (x + 0.75 * heading[0], y + 0.75 * heading[1]),
            (1.4, 3.2),
        )
        shapes.append(Shape(inner, colour, organ))
    return shapes


def draw_back(back: Variant) -> list[Shape]:
    """The mantle, on which everything else of the torso is painted."""
    ground = np.array([(-60, -60), (60, -60), (60, 60), (-60, 60)], float)
    colour = tone(back.colour, 1.0)
    shapes = [Shape(ground, colour, "back")]
    rows = [(4 - 5.4 * k + 2.4 * row, -21 + 4.9 * k + 4.2 * row) for row in range(3) for k in range(7)]
    if back.accent is None:
        return shapes + _down(colour, "back", rows, (-3.2, 2.6))
    for x, y in rows:
        shapes.append(
            Shape(ellipse((x, y), (2.6, 2.2), points=10), mix(back.colour, back.accent, 0.8), "back")
        )
        shapes.append(Shape(ellipse((x + 1.2, y - 1.2), (2.3, 2.0), points=10), tone(colour, 0.95), "back"))
    return shapes


def draw_belly(belly: Variant) -> list[Shape]:
    zone = curve((-34, 30), (-33, 15), (-20, 11), (-4, 6), (12, 4), (27, 6), (36, 8), (30, 32))
    colour = tone(belly.colour, 1.0)
    shapes = [Shape(zone, colour, "belly")]
    if belly.accent is None:
        places = [(-20 + 6.2 * k + 3 * (row % 2), 13.0 + 3.6 * row) for row in range(3) for k in range(7)]
        return shapes + _down(colour, "belly", places, (-2.2, 2.6))
    for x in np.arange(-22, 24, 6.4):
        bar = curve((x, 8), (x + 2.6, 8), (x + 4.2, 17), (x + 3.4, 27), (x + 0.8, 27), (x + 1.6, 17))
        shapes.append(Shape(bar, mix(belly.colour, belly.accent, 0.8), "belly"))
    return shapes


def draw_breast(breast: Variant) -> list[Shape]:
    zone = curve((8, -10), (14, -19), (24, -22), (36, -16), (38, 4), (30, 10), (18, 9.5), (9, 4))
    ground = tone(breast.colour, 1.0)
    shapes = [Shape(zone, ground, "breast")]
    if breast.accent is None:
        places = [(15 + 4.6 * k + 2.2 * (row % 2), -9.0 + 4.2 * row) for row in range(4) for k in range(3)]
        return shapes + _down(ground, "breast", places, (-0.8, 3.2))
    colour = COLOURS[breast.accent]
    if breast.form == "banded":
        band = curve((6, -6.5), (16, -4.5), (26, -5.5), (36, -9), (37, -1.5), (28, 2), (16, 2.5), (6, 0))
        return [*shapes, Shape(band, colour, "breast")]
    for x, y in ((13, -5), (19, -6), (25, -7), (16, 0), (22, -0.5), (28, -2), (13.5, 5), (20, 5), (26, 4)):
        spot = ellipse((x, y), (1.75, 1.75), points=12)
        streak = feather((x - 0.6, y - 3.6), (x + 0.4, y + 3.4), (1.2, 2.3), pointed=0.5)
        shapes.append(Shape(spot if breast.form == "spotted" else streak, colour, "breast"))
    return shapes


WING_OUTLINE = curve(
    (15, -6), (12, 5), (3, 11), (-9, 13.5), (-22, 13), (-39, 13.5), (-27, 7), (-18, -1), (-7, -9), (4, -13.5),
    (12, -12),
)  # fmt: skip
SHOULDER = curve((14.5, -7), (12, -1), (6, -2), (-1, -5), (-3, -9), (4, -13), (11, -12))


def draw_wing(wing: Variant) -> list[Shape]:
    """The folded wing: primaries, secondaries, two rows of coverts and the shoulder, each over the last."""
    c = wing.colour
    bar = wing.accent if wing.form == "barred" else None
    patch = wing.accent if wing.form == "patched" else None
    shapes: list[Shape] = []

    def add(points: Points, colour: Colour) -> None:
        shapes.append(Shape(points, colour, "wing", "wing", "over"))

    add(WING_OUTLINE, tone(c, 0.7))
    for i in range(5):
        base, tip = (-8.0 + 1.5 * i, -3.0 + 2.2 * i), (-40.0 + 4.2 * i, 13.2 + 0.35 * i)
        add(feather(base, tip, (3, 5.2), pointed=0.3), tone(c, 0.62))
        add(feather(base, (tip[0] + 1, tip[1] - 0.4), (2.2, 4.0), pointed=0.3), tone(c, 0.86))
    for i in range(5):
        base, tip = (-6.0 + 3.4 * i, -6.0 + 1.2 * i), (-21.0 + 5.4 * i, 12.6 - 0.3 * i)
        add(feather(base, tip, (4, 6.6)), tone(c, 0.66))
        add(
            feather(base, (tip[0] + 0.8, tip[1] - 1), (3, 5.6)), tone(patch, 0.97) if patch else tone(c, 0.95)
        )
    for shift, drop, light in ((-4.2, 4.2, 0.96), (1.2, -0.4, 1.04)):
        for i in range(5):
            base = (-1.5 + 3.2 * i + 0.2 * shift, -10.5 + 1.5 * i)
            tip = (-8.0 + 4.6 * i + shift, 1.2 + 1.35 * i + drop)
            add(feather(base, tip, (4, 6.6)), tone(bar, 1.0) if bar else tone(c, 0.7))
            short = 2.6 if bar else 0.9
            add(
                feather(base, (tip[0] + 0.5 * short, tip[1] - short), (4, 6.7 if bar else 5.8)),
                tone(c, light),
            )
    add(SHOULDER, tone(c, 1.1))
    return shapes


BEAKS = {
    "cone": ((30, -33), (36, -31.5), (44, -25), (36, -22), (30, -21)),
    "dagger": ((30, -31.5), (38, -30), (53, -25.5), (38, -23), (30, -21.5)),
    "curved": ((30, -31.5), (39, -31), (49, -26), (52, -17.5), (46, -22), (38, -24.5), (30, -22.5)),
    "hook": ((30, -34), (38, -34), (45, -29.5), (45, -20), (41, -22.5), (36, -21.5), (30, -20.5)),
}
"""Outlines of the beak's forms; the line between the mandibles follows from `MOUTH`."""

MOUTH = ((30, 44), (-26.5, -25.5))

PLUMES = (((14, -33), (-1, -51), 0.8), ((17, -34), (5, -54), 0.95), ((21, -35), (12, -52), 1.1))
"""Base, tip and tone of the feathers of a crest."""


def draw_crest(crown: Variant) -> list[Shape]:
    if crown.form != "crest":
        return []
    return [
        Shape(feather(base, tip, (10, 7), pointed=0.6), tone(crown.colour, light), "crown", "head", "under")
        for base, tip, light in PLUMES
    ]


def draw_beak(beak: Variant) -> list[Shape]:
    outline = curve(*BEAKS[beak.form], samples=5)
    lower = outline.copy()
    lower[:, 1] = np.maximum(lower[:, 1], np.interp(lower[:, 0], *MOUTH))
    return [
        Shape(outline, tone(beak.colour, 1.0), "beak", "head", "under"),
        Shape(lower, tone(beak.colour, 0.74), "beak", "head", "under"),
    ]


def draw_face(variants: dict[str, Variant]) -> list[Shape]:
    """Cheek, nape, throat, crown and forehead, each over the last."""
    shapes: list[Shape] = []

    def add(points: Points, colour: Colour, organ: str | None) -> None:
        shapes.append(Shape(points, colour, organ, "head"))

    # The cheek is no part, so it must not tell species of a genus apart: they share the back, not the belly.
    cheek = mix(variants["back"].colour, "snow", 0.55)
    add(ellipse((20, -27.5), (15.5, 14.5)), cheek, None)
    nape = curve((-4, -19), (1, -33), (7, -39), (12, -35), (13.5, -26), (12, -17), (4, -9))
    add(nape, tone(variants["nape"].colour, 1.0), "nape")
    throat = [(19, -17), (25, -20.5), (31, -23), (38, -22), (37, -13), (28, -9.5), (21, -11)]
    if variants["throat"].form == "bib":
        throat[4:] = [(39, -10), (33, -1), (25, 1), (19.5, -7)]
    add(curve(*throat), tone(variants["throat"].colour, 1.0), "throat")
    crown = variants["crown"]
    add(
        curve((5, -34), (6, -44), (20, -50), (31, -44), (28.5, -36.5), (20, -35), (12, -32)),
        tone(crown.colour, 1.0),
        "crown",
    )
    if crown.accent:
        stripe = curve((2, -35), (8, -38.6), (18, -40.4), (30, -39.5), (30, -37), (18, -37.4), (9, -35.5))
        add(stripe, tone(crown.accent, 1.0), "crown")
    forehead = curve((27.5, -36), (30, -46), (40, -40), (38, -28), (32.5, -27.5), (29.5, -32))
    add(forehead, tone(variants["forehead"].colour, 1.0), "forehead")
    add(ellipse((18.5, -23), (4.6, 3.6), points=16), tone(cheek, 1.12), None)
    return shapes


def draw_eye(eye: Variant) -> list[Shape]:
    _, x, y = ANCHORS["eye"]
    rings = (
        (ellipse((x, y), (5.0, 5.0)), tone(eye.colour, 1.0)),
        (ellipse((x + 0.2, y), (3.0, 3.0), points=16), (20, 18, 24)),
        (ellipse((x + 1.2, y - 1.2), (1.05, 1.05), points=10), (250, 250, 250)),
    )
    return [Shape(points, colour, "eye", "head", "over") for points, colour in rings]


def bird_shapes(v: dict[str, Variant]) -> list[Shape]:
    """All outlines of a bird, back to front."""
    return [
        *draw_legs(v["leg"]),
        *draw_tail(v["tail"]),
        *draw_crest(v["crown"]),
        *draw_beak(v["beak"]),
        *draw_back(v["back"]),
        *draw_belly(v["belly"]),
        *draw_breast(v["breast"]),
        *draw_face(v),
        *draw_wing(v["wing"]),
        *draw_eye(v["eye"]),
    ]
