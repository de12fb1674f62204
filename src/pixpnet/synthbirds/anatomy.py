"""The frame on which every bird is drawn, how it stands in the image, and the outline as the unit of drawing.

The bird looks to the right; the unit is 1/128 of the image's side at scale 1, y points down, the origin lies
in the middle of the body. Limbs (head, wing, tail) turn about their joints before the whole bird is placed.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from pixpnet.synthbirds.shapes import FRAME, Colour, Points, curve, rotation
from pixpnet.synthbirds.species import COLOURS

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
    """Organ to which the plumage belongs; None: to the bird, but to no part (the cheek)."""
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


@dataclass(frozen=True)
class Pose:
    """Position, size and posture of a bird."""

    center: tuple[float, float]
    """Frame coordinates of the body's middle."""
    scale: float
    degrees: float
    mirrored: bool
    """Whether it looks to the left."""
    limbs: dict[str, float]
    """Degrees by which each limb is turned about its joint."""


UPRIGHT = Pose((FRAME / 2, FRAME / 2), 1.0, 0.0, mirrored=False, limbs=dict.fromkeys(JOINTS, 0.0))
"""The pose in which the areas of a species's parts are measured."""

REACH = ((-58.0, 50.0), (-48.0, 44.0))
"""How far a bird extends from its middle at scale 1: x and y."""


def draw_pose(rng: np.random.Generator) -> Pose:
    """Scale 0.6 to 1.1, within ±20° of upright, mirrored or not, anywhere where most of the bird shows."""
    scale = float(rng.uniform(0.6, 1.1))
    mirrored = bool(rng.random() < 0.5)
    (left, right), (top, bottom) = REACH
    if mirrored:
        left, right = -right, -left
    spill = 0.06 * FRAME
    spans = ((-left * scale, FRAME - right * scale), (-top * scale, FRAME - bottom * scale))
    x, y = (rng.uniform(min(span) - spill, max(span) + spill) for span in spans)
    limbs = {
        "body": 0.0,
        "head": rng.uniform(-9, 9),
        "wing": rng.uniform(-5, 6),
        "tail": rng.uniform(-12, 12),
    }
    return Pose(
        center=(float(x), float(y)),
        scale=scale,
        degrees=float(rng.uniform(-20, 20)),
        mirrored=mirrored,
        limbs={limb: float(turn) for limb, turn in limbs.items()},
    )


def place(pose: Pose, limb: str) -> tuple[Float[np.ndarray, "2 2"], Float[np.ndarray, "2"]]:
    """Matrix and shift that bring points of a limb from the bird's coordinates into the frame's."""
    joint = np.array(JOINTS[limb])
    turn = rotation(pose.limbs[limb])
    whole = np.diag([-1.0 if pose.mirrored else 1.0, 1.0]) @ rotation(pose.degrees) * pose.scale
    return turn @ whole, (joint - joint @ turn) @ whole + np.array(pose.center)


def placed(points: Points, pose: Pose, limb: str) -> Points:
    """Points of a limb in the frame's coordinates."""
    matrix, shift = place(pose, limb)
    return points @ matrix + shift
