"""The drawing in ink numbers: one supersampled image that says for every point what shows there.

Colours, part masks and visibility are all read off this one image, so they cannot disagree.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import numpy as np
from jaxtyping import UInt8
from PIL import Image, ImageDraw

from pixpnet.data.synthbirds.anatomy import HEAD_OUTLINE, TORSO_OUTLINE, Shape, draw_species
from pixpnet.data.synthbirds.pose import Pose, placed
from pixpnet.data.synthbirds.scenery import FRAME, Patch
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


@cache
def _inked(
    species: Species,
) -> tuple[tuple[tuple[Shape, int], ...], tuple[tuple[tuple[int, int, int], str | None], ...]]:
    """The shapes with their ink numbers, and colour and organ of every ink from number 1."""
    inks: dict[tuple[tuple[int, int, int], str | None], int] = {}
    shapes = tuple((s, inks.setdefault((s.colour, s.organ), len(inks) + 1)) for s in draw_species(species))
    return shapes, tuple(inks)


def set_stage(species: Species, pose: Pose, *, size: int, behind: list[Patch], front: list[Patch]) -> Stage:
    """Draw the scenery behind, the bird and the scenery in front."""
    factor = supersampling(size)
    side = size * factor
    unit = side / FRAME
    shapes, inks = _inked(species)
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
        for shape, ink in shapes:
            if shape.layer == layer:
                points = placed(shape.points, pose, shape.limb) * unit
                pencils[layer].polygon(points.ravel().tolist(), fill=ink)

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
