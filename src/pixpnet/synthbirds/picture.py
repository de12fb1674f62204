"""One picture: scenery and bird drawn in ink numbers, painted in light, and the truth about what shows.

Colours, part masks and visibility are all read off one supersampled image of ink numbers, which says for
every point what shows there, so they cannot disagree.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Int, UInt8
from PIL import Image, ImageDraw, ImageFilter

from pixpnet.synthbirds.anatomy import (
    ANCHORS,
    HEAD_OUTLINE,
    JOINTS,
    TORSO_OUTLINE,
    UPRIGHT,
    Pose,
    draw_pose,
    placed,
)
from pixpnet.synthbirds.body import bird_shapes
from pixpnet.synthbirds.scenery import SETTINGS, Patch, Setting, background, branch, leaf, spray
from pixpnet.synthbirds.shapes import FRAME, Colour, Points
from pixpnet.synthbirds.species import PART_IDS, PARTS, Species, catalogue, differing_organs

BIRD = 255
"""Mark of plumage that belongs to none of the parts (cheek), in `Scene.parts`."""


@dataclass(frozen=True)
class Scene:
    """What shows where."""

    inks: Image.Image
    """Ink numbers, supersampled; 0 where nothing is drawn."""
    palette: bytes
    """Red, green, blue and alpha of every ink."""
    parts: UInt8[np.ndarray, "H W"]
    """Id of the part at the middle of every pixel; 0: no bird, `BIRD`: bird, but no part."""


def supersampling(size: int) -> int:
    """Samples per pixel and axis: odd, so that one of them is the pixel's middle."""
    return max(3, 2 * (round(320 / size) // 2) + 1)


def part_of(organ: str, *, mirrored: bool) -> int:
    """Id of the part that a painted organ is, on a bird seen from its right side or, mirrored, its left."""
    near, far = ("left", "right") if mirrored else ("right", "left")
    names = {"near leg": f"{near} leg", "far leg": f"{far} leg", "eye": f"{near} eye", "wing": f"{near} wing"}
    return PARTS.index(names.get(organ, organ)) + 1


class _Drawing(NamedTuple):
    """A species ready for placing: all points of a limb in one array."""

    limb_points: dict[str, Points]
    strokes: tuple[tuple[str, str, slice, int], ...]
    """Layer, limb, place among the limb's coordinates and ink number of every shape, in order."""
    inks: tuple[tuple[Colour, str | None], ...]
    """Colour and organ of every ink, from number 1."""


@cache
def _drawing(species: Species) -> _Drawing:
    inks: dict[tuple[Colour, str | None], int] = {}
    pieces: dict[str, list[Points]] = {limb: [] for limb in JOINTS}
    ends = dict.fromkeys(JOINTS, 0)
    strokes = []
    for shape in bird_shapes(species.variants):
        start = ends[shape.limb]
        ends[shape.limb] += len(shape.points)
        pieces[shape.limb].append(shape.points)
        ink = inks.setdefault((shape.colour, shape.organ), len(inks) + 1)
        strokes.append((shape.layer, shape.limb, slice(2 * start, 2 * ends[shape.limb]), ink))
    return _Drawing(
        {limb: np.concatenate(points) for limb, points in pieces.items()}, tuple(strokes), tuple(inks)
    )


def set_stage(species: Species, pose: Pose, *, size: int, behind: list[Patch], front: list[Patch]) -> Scene:
    """Draw the scenery behind, the bird and the scenery in front."""
    factor = supersampling(size)
    side = size * factor
    unit = side / FRAME
    limb_points, strokes, inks = _drawing(species)
    outlines = {
        limb: (placed(points, pose, limb) * unit).ravel().tolist() for limb, points in limb_points.items()
    }
    colours = [colour for colour, _ in inks]
    lookup = np.zeros(256, np.uint8)
    for number, (_, organ) in enumerate(inks, 1):
        lookup[number] = part_of(organ, mirrored=pose.mirrored) if organ else BIRD

    canvas = Image.new("P", (side, side))
    torso = Image.new("P", (side, side))
    pencils = {"under": ImageDraw.Draw(canvas), "torso": ImageDraw.Draw(torso)}
    pencils["over"] = pencils["under"]

    def scenery(patches: list[Patch]) -> None:
        for points, colour in patches:
            if colour not in colours:
                colours.append(colour)
            pencils["over"].polygon((points * unit).ravel().tolist(), fill=colours.index(colour) + 1)

    def plumage(layer: str) -> None:
        for on, limb, place, ink in strokes:
            if on == layer:
                pencils[layer].polygon(outlines[limb][place], fill=ink)

    scenery(behind)
    plumage("under")
    plumage("torso")
    outline = Image.new("L", (side, side))
    pencil = ImageDraw.Draw(outline)
    for limb, points in (("body", TORSO_OUTLINE), ("head", HEAD_OUTLINE)):
        pencil.polygon((placed(points, pose, limb) * unit).ravel().tolist(), fill=255)
    canvas.paste(torso, mask=outline)
    plumage("over")
    scenery(front)

    palette = np.zeros((256, 4), np.uint8)
    palette[1 : len(colours) + 1] = [(*colour, 255) for colour in colours]
    middle = np.asarray(canvas)[factor // 2 :: factor, factor // 2 :: factor]
    return Scene(canvas, palette.tobytes(), lookup[middle])


@dataclass(frozen=True)
class Rendering:
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


def render_picture(classes: int, label: int, *, size: int, rng: np.random.Generator) -> Rendering:
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
    return Rendering(
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


def part_points(stage: Scene, pose: Pose) -> tuple[np.ndarray, np.ndarray]:
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
    stage: Scene, setting: Setting, pose: Pose, rng: np.random.Generator
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


def _light(stage: Scene, pose: Pose, rng: np.random.Generator) -> Float[np.ndarray, "H W 1"]:
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
