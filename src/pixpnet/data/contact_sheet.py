"""A sheet of images of any data set, with their boxes and parts, for looking."""

from __future__ import annotations

from collections import defaultdict

from PIL import Image, ImageDraw, ImageFont

from pixpnet.data.decode import load_image
from pixpnet.data.spec import ImageSet
from pixpnet.errors import DataError
from pixpnet.types import ImageRecord

__all__ = ["annotated_sheet"]

_COLOURS = ("#E69F00", "#56B4E9", "#009E73", "#F0E442", "#0072B2", "#D55E00", "#CC79A7", "#FFFFFF")
"""Of the parts: Okabe and Ito's, which colour-blind people tell apart."""
_BORDER, _LINE = 6, 16


def annotated_sheet(images: ImageSet, *, columns: int = 6, rows: int = 5, cell: int = 200) -> Image.Image:
    """Training images side by side, one of each class and then the next, in cells of so many pixels.

    Boxes are drawn as frames, visible parts as dots in colours that a legend names; images that cannot be
    read as crosses.
    """
    chosen = _turns(images.train)[: columns * rows]
    columns, rows = min(columns, len(chosen)), -(-len(chosen) // columns)
    width = columns * (cell + _BORDER) + _BORDER
    font = ImageFont.load_default()
    legend = _legend(images.part_names, width, font)
    height = rows * (cell + _LINE + _BORDER) + _BORDER + legend.height
    sheet = Image.new("RGB", (width, height), "white")
    draw = ImageDraw.Draw(sheet)
    for place, record in enumerate(chosen):
        left = _BORDER + place % columns * (cell + _BORDER)
        top = _BORDER + place // columns * (cell + _LINE + _BORDER)
        sheet.paste(_picture(record, cell), (left, top))
        name = images.class_names[record.label]
        while draw.textlength(name, font=font) > cell:
            name = name[:-4] + "..."
        draw.text((left, top + cell), name, fill="black", font=font)
    sheet.paste(legend, (0, height - legend.height))
    return sheet


def _turns(records: tuple[ImageRecord, ...]) -> list[ImageRecord]:
    """The first image of each class, then the second, ..."""
    seen: defaultdict[int, int] = defaultdict(int)
    turns = []
    for position, record in enumerate(records):
        turns.append((seen[record.label], record.label, position))
        seen[record.label] += 1
    return [records[position] for _, _, position in sorted(turns)]


def _picture(record: ImageRecord, cell: int) -> Image.Image:
    """The image in a square cell, with what is known of it."""
    square = Image.new("RGB", (cell, cell), "#dddddd")
    draw = ImageDraw.Draw(square)
    try:
        image = load_image(record.path)
    except DataError:
        draw.line((0, 0, cell, cell), fill="red", width=3)
        draw.line((0, cell, cell, 0), fill="red", width=3)
        return square
    scale = cell / max(image.size)
    size = (max(1, round(image.width * scale)), max(1, round(image.height * scale)))
    left, top = (cell - size[0]) // 2, (cell - size[1]) // 2
    square.paste(image.resize(size, Image.Resampling.BILINEAR), (left, top))

    def to_cell(x: float, y: float) -> tuple[float, float]:
        return left + x * size[0] / image.width, top + y * size[1] / image.height

    if record.box is not None:
        corners = to_cell(record.box.left, record.box.top), to_cell(record.box.right, record.box.bottom)
        draw.rectangle(corners, outline="black", width=3)
        draw.rectangle(corners, outline="white", width=1)
    if record.part_points is not None and record.part_visible is not None:
        for part, (x, y) in enumerate(record.part_points.tolist()):
            if record.part_visible[part]:
                _dot(draw, *to_cell(x, y), part=part)
                draw.text(to_cell(x, y), f" {part + 1}", fill="white", stroke_width=2, stroke_fill="black")
    return square


def _legend(
    names: tuple[str, ...], width: int, font: ImageFont.FreeTypeFont | ImageFont.ImageFont
) -> Image.Image:
    """Number, colour and name of each part."""
    places, x, y = [], _BORDER, 0
    measure = ImageDraw.Draw(Image.new("RGB", (1, 1)))
    for part, name in enumerate(names):
        needed = 20 + int(measure.textlength(f"{part + 1} {name}", font=font))
        if x > _BORDER and x + needed > width:
            x, y = _BORDER, y + _LINE
        places.append((x, y))
        x += needed
    legend = Image.new("RGB", (width, y + _LINE + _BORDER if names else 0), "white")
    draw = ImageDraw.Draw(legend)
    for part, (left, top) in enumerate(places):
        _dot(draw, left + 4, top + 7, part=part)
        draw.text((left + 11, top), f"{part + 1} {names[part]}", fill="black", font=font)
    return legend


def _dot(draw: ImageDraw.ImageDraw, x: float, y: float, *, part: int) -> None:
    draw.ellipse((x - 4, y - 4, x + 4, y + 4), fill=_COLOURS[part % len(_COLOURS)], outline="black")
