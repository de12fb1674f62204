"""How a bird stands in the frame: the accidental part of its geometry."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from pixpnet.data.synthbirds.anatomy import JOINTS
from pixpnet.data.synthbirds.scenery import FRAME
from pixpnet.data.synthbirds.shapes import Points, rotation

__all__ = ["Pose", "draw_pose", "place"]


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
