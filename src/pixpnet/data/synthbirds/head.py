"""The outlines of crest, beak, face and eye."""

from __future__ import annotations

import numpy as np

from pixpnet.data.synthbirds.anatomy import ANCHORS, Colour, Shape, mix, tone
from pixpnet.data.synthbirds.plumage import Variant
from pixpnet.data.synthbirds.shapes import Points, curve, ellipse, feather

__all__ = ["draw_beak", "draw_crest", "draw_eye", "draw_face"]

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
