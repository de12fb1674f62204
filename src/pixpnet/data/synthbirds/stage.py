"""The drawing in ink numbers: one supersampled image that says for every point what shows there.

Colours, part masks and visibility are all read off this one image, so they cannot disagree.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import NamedTuple

import numpy as np
from jaxtyping import UInt8
from PIL import Image, ImageDraw

from pixpnet.data.synthbirds.anatomy import HEAD_OUTLINE, JOINTS, TORSO_OUTLINE, Colour, Shape
from pixpnet.data.synthbirds.body import (
    draw_back,
    draw_belly,
    draw_breast,
    draw_legs,
    draw_tail,
    draw_wing,
)
from pixpnet.data.synthbirds.head import draw_beak, draw_crest, draw_eye, draw_face
from pixpnet.data.synthbirds.plumage import Variant
from pixpnet.data.synthbirds.pose import Pose, placed
from pixpnet.data.synthbirds.scenery import FRAME, Patch
from pixpnet.data.synthbirds.shapes import Points
from pixpnet.data.synthbirds.species import PARTS, Species

__all__ = ["BIRD", "Stage", "part_of", "set_stage", "supersampling"]

BIRD = 255
"""Mark of plumage that belongs to none of the parts (cheek), in `Stage.parts`."""


@dataclass(frozen=True)
class Stage:
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


def _shapes(v: dict[str, Variant]) -> list[Shape]:
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


@cache
def _drawing(species: Species) -> _Drawing:
    inks: dict[tuple[Colour, str | None], int] = {}
    pieces: dict[str, list[Points]] = {limb: [] for limb in JOINTS}
    ends = dict.fromkeys(JOINTS, 0)
    strokes = []
    for shape in _shapes(species.variants):
        start = ends[shape.limb]
        ends[shape.limb] += len(shape.points)
        pieces[shape.limb].append(shape.points)
        ink = inks.setdefault((shape.colour, shape.organ), len(inks) + 1)
        strokes.append((shape.layer, shape.limb, slice(2 * start, 2 * ends[shape.limb]), ink))
    return _Drawing(
        {limb: np.concatenate(points) for limb, points in pieces.items()}, tuple(strokes), tuple(inks)
    )


def set_stage(species: Species, pose: Pose, *, size: int, behind: list[Patch], front: list[Patch]) -> Stage:
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
    return Stage(canvas, palette.tobytes(), lookup[middle])
