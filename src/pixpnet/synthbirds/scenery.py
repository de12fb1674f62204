"""What surrounds the bird: soft backgrounds, branches and leaves.

Everything is drawn in the frame's units: 128 across the image, whatever its size in pixels.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from jaxtyping import Float
from PIL import Image, ImageDraw, ImageFilter

from pixpnet.synthbirds.shapes import FRAME, Colour, Points, move, ribbon


class Patch(NamedTuple):
    """One outline of the scenery and its colour."""

    points: Points
    colour: Colour


class Setting(NamedTuple):
    """The palette of a place."""

    sky: Colour
    ground: Colour
    lights: tuple[Colour, ...]
    """Colours of the soft discs and blotches."""
    leaves: tuple[Colour, ...]
    bark: Colour


SETTINGS: dict[str, Setting] = {
    "meadow": Setting((196, 222, 214), (128, 166, 92), ((214, 226, 150), (150, 190, 110), (240, 226, 160)),
                      ((96, 142, 66), (124, 168, 74), (74, 122, 70)), (112, 88, 66)),
    "forest": Setting((110, 150, 112), (52, 84, 62), ((150, 190, 120), (70, 110, 76), (200, 212, 140)),
                      ((66, 118, 62), (92, 146, 70), (46, 94, 62)), (92, 70, 54)),
    "sky": Setting((146, 190, 232), (216, 230, 238), ((244, 246, 246), (176, 208, 238), (228, 236, 240)),
                   ((110, 150, 84), (86, 130, 82), (142, 170, 96)), (124, 100, 82)),
    "autumn": Setting((226, 196, 140), (164, 108, 62), ((240, 190, 96), (204, 120, 64), (236, 214, 160)),
                      ((206, 120, 44), (222, 160, 58), (170, 78, 48)), (96, 72, 58)),
    "blossom": Setting((206, 220, 236), (190, 172, 196), ((246, 212, 222), (228, 178, 200), (250, 240, 240)),
                       ((222, 150, 176), (240, 196, 208), (130, 160, 104)), (104, 80, 78)),
    "dusk": Setting((236, 184, 150), (112, 96, 140), ((250, 206, 150), (190, 130, 150), (140, 120, 170)),
                    ((84, 92, 92), (104, 112, 88), (72, 78, 94)), (80, 66, 72)),
    "lake": Setting((170, 206, 214), (62, 118, 132), ((206, 230, 226), (96, 156, 164), (140, 186, 170)),
                    ((92, 140, 96), (128, 164, 96), (70, 118, 100)), (110, 96, 80)),
    "winter": Setting((222, 228, 236), (184, 192, 204), ((246, 248, 250), (200, 208, 220), (170, 182, 196)),
                      ((120, 134, 112), (142, 146, 120), (104, 116, 112)), (104, 94, 92)),
}  # fmt: skip


def _shade(colour: Colour, light: float) -> Colour:
    red, green, blue = (min(255, round(c * light)) for c in colour)
    return red, green, blue


def background(setting: Setting, size: int, rng: np.random.Generator) -> Float[np.ndarray, "H W 3"]:
    """An out-of-focus place with blotches, discs of light and a faint texture, in 0…255."""
    rows = np.linspace(0, 1, 6)[:, None, None]
    grid = np.array(setting.sky) * (1 - rows) + np.array(setting.ground) * rows
    lights = np.array(setting.lights)[rng.integers(len(setting.lights), size=(6, 6))]
    grid = grid + (lights - grid) * rng.uniform(0, 0.55, (6, 6, 1)) + rng.normal(0, 7, (6, 6, 3))
    small = Image.fromarray(np.clip(grid, 0, 255).astype(np.uint8)).resize(
        (FRAME, FRAME), Image.Resampling.BICUBIC
    )
    pencil = ImageDraw.Draw(small, "RGBA")
    for _ in range(rng.integers(2, 12)):
        x, y, radius = rng.uniform(0, FRAME), rng.uniform(0, FRAME), rng.uniform(3, 14)
        light = setting.lights[rng.integers(len(setting.lights))]
        pencil.ellipse(
            (x - radius, y - radius, x + radius, y + radius), fill=(*light, int(rng.integers(30, 110)))
        )
    for patch in _far_growth(setting, rng):
        pencil.polygon(patch.points.ravel().tolist(), fill=(*patch.colour, int(rng.integers(110, 220))))
    small = small.filter(ImageFilter.GaussianBlur(rng.uniform(1.0, 3.2)))
    if size != FRAME:
        small = small.resize((size, size), Image.Resampling.BICUBIC)
    return np.asarray(small, np.float32)


def _far_growth(setting: Setting, rng: np.random.Generator) -> list[Patch]:
    """Branches and leaves far behind the bird."""
    patches: list[Patch] = []
    for _ in range(rng.integers(0, 3)):
        start, stop = rng.uniform(-20, FRAME + 20, (2, 2))
        patches += branch(setting, (start[0], start[1]), (stop[0], stop[1]), float(rng.uniform(2, 6)), rng)
    for _ in range(rng.integers(0, 8)):
        x, y = rng.uniform(0, FRAME, 2)
        patches += leaf(setting, (x, y), float(rng.uniform(0, 360)), float(rng.uniform(10, 30)), rng)
    return patches


def leaf(
    setting: Setting, base: tuple[float, float], degrees: float, length: float, rng: np.random.Generator
) -> list[Patch]:
    """A pointed leaf, its darker half and its midrib."""
    colour = _shade(setting.leaves[rng.integers(len(setting.leaves))], float(rng.uniform(0.85, 1.15)))
    width = float(rng.uniform(0.34, 0.5))
    bend = float(rng.uniform(-0.1, 0.1))
    upper = [
        (0.0, 0.0),
        (0.25, -0.38 * width),
        (0.5, -0.5 * width + bend),
        (0.8, -0.24 * width + bend),
        (1.0, bend),
    ]
    lower = [(0.8, 0.26 * width + bend), (0.5, 0.5 * width + bend), (0.25, 0.4 * width)]
    middle = [(0.75, bend), (0.5, bend * 0.9), (0.25, bend * 0.4)]
    parts = (
        (np.array(upper + lower), colour),
        (np.array([upper[0], *middle[::-1], upper[-1], *lower]), _shade(colour, 0.84)),
        (
            np.array(
                [
                    (0.0, -0.02),
                    (0.5, 0.9 * bend - 0.015),
                    (0.96, bend),
                    (0.5, 0.9 * bend + 0.015),
                    (0.0, 0.02),
                ]
            ),
            _shade(colour, 1.2),
        ),
    )
    return [Patch(move(points, to=base, degrees=degrees, scale=length), shade) for points, shade in parts]


def branch(
    setting: Setting,
    start: tuple[float, float],
    stop: tuple[float, float],
    width: float,
    rng: np.random.Generator,
) -> list[Patch]:
    """A gently winding branch through the middle of its ends, lit from above."""
    t = np.linspace(0, 1, 9)[:, None]
    spine = np.array(start) * (1 - t) + np.array(stop) * t
    wander = rng.normal(0, 0.7, spine.shape)
    wander[:, 1] += np.abs(2 * t[:, 0] - 1) * rng.uniform(-6, 6)
    spine = spine + wander - wander[4]
    widths = width * np.linspace(1.0, float(rng.uniform(0.55, 0.9)), 9)
    lift = np.array([0.0, 1.0])
    return [
        Patch(ribbon(spine, widths), _shade(setting.bark, 0.78)),
        Patch(ribbon(spine - 0.14 * width * lift, widths * 0.7), _shade(setting.bark, 1.0)),
        Patch(ribbon(spine - 0.28 * width * lift, widths * 0.22), _shade(setting.bark, 1.28)),
    ]


def spray(
    setting: Setting,
    start: tuple[float, float],
    stop: tuple[float, float],
    rng: np.random.Generator,
) -> list[Patch]:
    """A twig with leaves on both sides."""
    patches = branch(setting, start, stop, float(rng.uniform(1.4, 2.6)), rng)
    heading = float(np.rad2deg(np.arctan2(stop[1] - start[1], stop[0] - start[0])))
    for step, share in enumerate(np.linspace(0.35, 1.0, int(rng.integers(3, 7)))):
        base = (start[0] + (stop[0] - start[0]) * share, start[1] + (stop[1] - start[1]) * share)
        side = 1 if step % 2 else -1
        turn = heading + side * float(rng.uniform(20, 65))
        patches += leaf(setting, base, turn, float(rng.uniform(9, 19)), rng)
    return patches
