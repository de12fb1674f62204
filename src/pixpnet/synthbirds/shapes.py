"""Smooth closed outlines as arrays of points, y down; the unit is 1/128 of the image's side."""

from __future__ import annotations

from functools import cache

import numpy as np
from jaxtyping import Float

FRAME = 128
"""Units across the image."""

Points = Float[np.ndarray, "_ 2"]
Colour = tuple[int, int, int]


@cache
def _spline_basis(controls: int, samples: int) -> Float[np.ndarray, "_ controls"]:
    """Weights of the control points in each point of a closed Catmull-Rom spline."""
    t = np.arange(samples) / samples
    weights = 0.5 * np.stack(
        [-t + 2 * t**2 - t**3, 2 - 5 * t**2 + 3 * t**3, t + 4 * t**2 - 3 * t**3, t**3 - t**2]
    )
    basis = np.zeros((controls, samples, controls))
    for i in range(controls):
        for k in range(4):
            basis[i, :, (i + k - 1) % controls] += weights[k]
    return basis.reshape(-1, controls)


def curve(*controls: tuple[float, float], samples: int = 6) -> Points:
    """A closed smooth curve through the control points."""
    return _spline_basis(len(controls), samples) @ np.array(controls, float)


def ellipse(center: tuple[float, float], radii: tuple[float, float], *, points: int = 24) -> Points:
    angle = np.linspace(0, 2 * np.pi, points, endpoint=False)
    return np.array(center) + np.array(radii) * np.stack([np.cos(angle), np.sin(angle)], axis=1)


def rotation(degrees: float) -> Float[np.ndarray, "2 2"]:
    """Matrix that turns row vectors clockwise on the screen."""
    angle = np.deg2rad(degrees)
    return np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]])


def move(points: Points, *, to: tuple[float, float], degrees: float = 0.0, scale: float = 1.0) -> Points:
    """The points turned about the origin, enlarged and shifted."""
    return points @ rotation(degrees) * scale + np.array(to)


def feather(
    base: tuple[float, float],
    tip: tuple[float, float],
    widths: tuple[float, float],
    *,
    start: float = 0.0,
    stop: float = 1.0,
    pointed: float = 0.0,
) -> Points:
    """A feather from base to tip, or the piece of it between two fractions of its length.

    ``widths`` are those at the base and at the broadest place, before the round (or pointed) end.
    """
    axis = np.array(tip, float) - base
    length = float(np.hypot(*axis))
    t = np.linspace(start, stop, 9)
    half = (widths[0] + (widths[1] - widths[0]) * np.minimum(t / 0.7, 1)) / 2
    rest = np.clip((1 - t) * length / np.maximum(half * (1 + 2 * pointed), 1e-6), 0, 1)
    half = half * (1 - (1 - rest) ** (2 - pointed)) ** (0.5 + pointed / 2)
    along = np.array(base) + t[:, None] * axis
    across = half[:, None] * np.array([-axis[1], axis[0]]) / length
    return np.concatenate([along + across, (along - across)[::-1]])


def ribbon(spine: Points, widths: Float[np.ndarray, "_"]) -> Points:
    """A band of varying width along a line."""
    direction = np.gradient(spine, axis=0)
    direction /= np.linalg.norm(direction, axis=1, keepdims=True)
    across = np.stack([-direction[:, 1], direction[:, 0]], axis=1) * widths[:, None] / 2
    return np.concatenate([spine + across, (spine - across)[::-1]])
