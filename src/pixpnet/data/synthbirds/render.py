"""One picture: geometry, light, and the truth about what shows."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import numpy as np
from jaxtyping import Bool, Float, Int, UInt8
from PIL import Image, ImageFilter

from pixpnet.data.synthbirds.anatomy import ANCHORS
from pixpnet.data.synthbirds.pose import UPRIGHT, Pose, draw_pose, placed
from pixpnet.data.synthbirds.scenery import FRAME, SETTINGS, Patch, Setting, background, branch, leaf, spray
from pixpnet.data.synthbirds.species import PART_IDS, PARTS, Species, catalogue, differing_organs
from pixpnet.data.synthbirds.stage import BIRD, Stage, part_of, set_stage

__all__ = ["Picture", "areas_of", "min_pixels", "part_points", "render_picture", "shows"]


@dataclass(frozen=True)
class Picture:
    """An image and what is true about it; points in pixel indices (the centre of the first pixel is 0, 0)."""

    image: UInt8[np.ndarray, "H W 3"]
    segmentation: Bool[np.ndarray, "H W"]
    part_mask: UInt8[np.ndarray, "H W"]
    part_points: Float[np.ndarray, "15 2"]
    """(0, 0) where not visible."""
    part_visible: Bool[np.ndarray, "15"]
    box: tuple[int, int, int, int]
    """Column, row, width and height of the visible bird."""


def min_pixels(size: int) -> int:
    """Pixels that a distinguishing part shows at least: 12 at 128 × 128."""
    return max(1, round(12 * (size / FRAME) ** 2))


MIN_SHARE = 0.75
"""Share of its area (in the upright pose) that a distinguishing part shows at least: forms need it whole."""


@cache
def _evidence(classes: int, label: int) -> tuple[tuple[str, ...], ...]:
    """Sets of organs of which one must show: for every other species those that tell it apart."""
    birds = catalogue(classes)
    needs = {frozenset(differing_organs(birds[label], other)) for i, other in enumerate(birds) if i != label}
    assert all(needs), f"another species looks like {birds[label].name}"
    return tuple(tuple(sorted(need)) for need in needs if not any(other < need for other in needs))


@cache
def _full_areas(species: Species) -> Int[np.ndarray, "256"]:
    """Pixels of every part id of the bird by itself, at 128 × 128, scale 1."""
    return areas_of(set_stage(species, UPRIGHT, size=FRAME, behind=[], front=[]).parts)


def areas_of(parts: UInt8[np.ndarray, "H W"]) -> Int[np.ndarray, "256"]:
    """Pixels of every part id."""
    return np.bincount(parts.ravel(), minlength=256)


def shows(species: Species, organ: str, *, areas: Int[np.ndarray, "256"], pose: Pose, size: int) -> bool:
    """Whether enough of an organ shows to tell which variant it is, given the areas in the image."""
    ids = list(PART_IDS[organ])
    full = _full_areas(species)[ids].max() * (pose.scale * size / FRAME) ** 2
    return bool(areas[ids].max() >= max(min_pixels(size), MIN_SHARE * full))


def render_picture(classes: int, label: int, *, size: int, rng: np.random.Generator) -> Picture:
    """Draw scenes of a species until one shows what tells it from all others, and paint that."""
    species = catalogue(classes)[label]
    while True:
        setting = list(SETTINGS.values())[rng.integers(len(SETTINGS))]
        pose = draw_pose(rng)
        behind, front = _perch(setting, pose, rng), occluders(setting, pose, rng)
        stage = set_stage(species, pose, size=size, behind=behind, front=front)
        areas = areas_of(stage.parts)
        shown = {organ for organ in PART_IDS if shows(species, organ, areas=areas, pose=pose, size=size)}
        if shown and all(shown.intersection(need) for need in _evidence(classes, label)):
            break
    points, visible = part_points(stage, pose)
    part_mask = np.where(stage.parts == BIRD, 0, stage.parts).astype(np.uint8)
    segmentation = stage.parts > 0
    columns, rows = np.flatnonzero(segmentation.any(0)), np.flatnonzero(segmentation.any(1))
    left, top = int(columns[0]), int(rows[0])
    return Picture(
        image=_paint(stage, setting, pose, rng),
        segmentation=segmentation,
        part_mask=part_mask,
        part_points=points,
        part_visible=visible,
        box=(left, top, int(columns[-1]) - left + 1, int(rows[-1]) - top + 1),
    )


def _perch(setting: Setting, pose: Pose, rng: np.random.Generator) -> list[Patch]:
    """The branch on which the bird stands, with a few leaves, and leaves behind the bird."""
    foot = placed(np.array([[8.0, 40.5]]), pose, "body")[0]
    tilt = np.deg2rad(pose.degrees * (-1 if pose.mirrored else 1) + rng.uniform(-8, 8))
    width = float(rng.uniform(4, 7) * pose.scale)
    along = 170 * np.array([np.cos(tilt), np.sin(tilt)])
    foot = foot + np.array([0, 0.35 * width])
    patches = branch(setting, tuple(foot - along), tuple(foot + along), width, rng)
    for _ in range(rng.integers(1, 6)):
        base = foot + along * rng.uniform(-0.45, 0.45)
        patches += leaf(setting, tuple(base), float(rng.uniform(0, 360)), float(rng.uniform(10, 22)), rng)
    return patches


def occluders(setting: Setting, pose: Pose, rng: np.random.Generator) -> list[Patch]:
    """Twigs and leaves in front of the bird, coming in from the border or lying on it."""
    patches: list[Patch] = []
    for _ in range(rng.integers(0, 3)):
        angle = rng.uniform(0, 2 * np.pi)
        outward = np.array([np.cos(angle), np.sin(angle)])
        tip = np.array(pose.center) + outward * rng.uniform(12, 50) * pose.scale
        patches += spray(setting, tuple(tip + outward * rng.uniform(40, 70)), tuple(tip), rng)
    for _ in range(rng.integers(0, 4)):
        x, y = np.array(pose.center) + rng.uniform(-50, 50, 2)
        patches += leaf(
            setting, (float(x), float(y)), float(rng.uniform(0, 360)), float(rng.uniform(9, 20)), rng
        )
    return patches


def part_points(stage: Stage, pose: Pose) -> tuple[np.ndarray, np.ndarray]:
    """Each part's point, moved to the nearest of its pixels where something else covers it."""
    size = len(stage.parts)
    points, visible = np.zeros((len(PARTS), 2)), np.zeros(len(PARTS), bool)
    areas = areas_of(stage.parts)
    least = max(1, round(min_pixels(size) / 4))
    for organ, (limb, x, y) in ANCHORS.items():
        part = part_of(organ, mirrored=pose.mirrored)
        if areas[part] < least:
            continue
        at = np.round(placed(np.array([[x, y]]), pose, limb)[0] * size / FRAME - 0.5, 1)
        column, row = np.floor(at + 0.5).astype(int)
        if not (0 <= row < size and 0 <= column < size and stage.parts[row, column] == part):
            rows, columns = np.nonzero(stage.parts == part)
            nearest = np.argmin((columns - at[0]) ** 2 + (rows - at[1]) ** 2)
            at = columns[nearest], rows[nearest]
        points[part - 1], visible[part - 1] = at, True
    return points, visible


def _paint(
    stage: Stage, setting: Setting, pose: Pose, rng: np.random.Generator
) -> UInt8[np.ndarray, "H W 3"]:
    size = len(stage.parts)
    stage.inks.putpalette(stage.palette, "RGBA")
    front = np.asarray(stage.inks.convert("RGBA").reduce(stage.inks.width // size), np.float32)
    alpha = front[..., 3:] / 255
    canvas = background(setting, size, rng)
    canvas += alpha * (front[..., :3] * _light(stage, pose, rng) - canvas)
    canvas *= 1 + _texture(size, rng)[..., None]
    canvas = _mood(canvas, rng)
    blurred = Image.fromarray(np.clip(canvas, 0, 255).astype(np.uint8))
    blurred = blurred.filter(ImageFilter.GaussianBlur(float(rng.uniform(0.15, 0.75)) * size / FRAME))
    grain = rng.standard_normal((size, size, 3), dtype=np.float32) * float(rng.uniform(1.0, 5.0))
    return np.clip(np.asarray(blurred, np.float32) + grain + 0.5, 0, 255).astype(np.uint8)


def _light(stage: Stage, pose: Pose, rng: np.random.Generator) -> Float[np.ndarray, "H W 1"]:
    """Roundness of the body and the shadow that the wing casts on it."""
    unit = pose.scale * len(stage.parts) / FRAME
    bird = stage.parts > 0
    wing = np.isin(stage.parts, PART_IDS["wing"])
    direction = rng.uniform(-0.7, 0.7)
    soft = _blurred(bird, 5 * unit)
    shift = max(1, round(3 * unit))
    relief = np.roll(soft, -shift, 0) - np.roll(soft, shift, 0)
    relief += direction * (np.roll(soft, -shift, 1) - np.roll(soft, shift, 1))
    shadow = np.roll(_blurred(wing, 1.6 * unit), max(1, round(2 * unit)), 0)
    light = 1.0 + bird * (0.32 * relief - 0.28 * shadow * ~wing)
    return light[..., None].astype(np.float32)


def _blurred(mask: Bool[np.ndarray, "H W"], radius: float) -> Float[np.ndarray, "H W"]:
    image = Image.fromarray(mask.astype(np.uint8) * 255).filter(ImageFilter.GaussianBlur(radius))
    return np.asarray(image, np.float32) / 255


def _texture(size: int, rng: np.random.Generator) -> Float[np.ndarray, "H W"]:
    """Faint blotches of two sizes."""
    field = np.zeros((size, size), np.float32)
    for cells, strength in ((16, 0.05), (48, 0.06)):
        noise = Image.fromarray(rng.random((cells, cells), dtype=np.float32))
        field += strength * (np.asarray(noise.resize((size, size), Image.Resampling.BICUBIC)) - 0.5)
    return field * float(rng.uniform(0.5, 1.8))


def _mood(canvas: Float[np.ndarray, "H W 3"], rng: np.random.Generator) -> Float[np.ndarray, "H W 3"]:
    """Brightness, contrast, saturation, colour of the light and a slight turn of all hues."""
    angle = np.deg2rad(rng.uniform(-9, 9))
    saturation, gain = rng.uniform(0.8, 1.12), rng.uniform(0.78, 1.12)
    grey = np.full((3, 3), 1 / 3)
    cross = np.array([[0, 1, -1], [-1, 0, 1], [1, -1, 0]]) / np.sqrt(3)
    turn = grey + saturation * (np.cos(angle) * (np.eye(3) - grey) + np.sin(angle) * cross)
    turn = turn * (gain * (1 + rng.uniform(-0.06, 0.06, 3)))
    size = len(canvas)
    slope = np.linspace(-1, 1, size, dtype=np.float32)
    across, down = rng.uniform(-0.1, 0.1, 2)
    field = 1 + across * slope[None, :, None] + down * slope[:, None, None]
    contrast = rng.uniform(0.88, 1.08)
    canvas = canvas @ turn.astype(np.float32) * field.astype(np.float32)
    return (canvas - 128) * np.float32(contrast) + 128
