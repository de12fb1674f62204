"""Sheets of images: some of each class with their boxes and parts, and pairs that are almost alike."""

from __future__ import annotations

from collections.abc import Sequence

from PIL import Image, ImageDraw, ImageFont

from pixpnet.data.check import DatasetCheck
from pixpnet.data.decode import load_image
from pixpnet.data.shares import turns_of
from pixpnet.data.spec import ImageSet
from pixpnet.errors import DataError
from pixpnet.fonts import drawable, font_file
from pixpnet.types import ImageRecord
from pixpnet.words import visible

_COLOURS = ("#E69F00", "#56B4E9", "#009E73", "#F0E442", "#0072B2", "#D55E00", "#CC79A7", "#FFFFFF")
"""Of the parts: Okabe and Ito's, which colour-blind people tell apart."""
_BORDER, _LINE, _FONT_SIZE = 6, 16, 11


def annotated_sheet(images: ImageSet, *, columns: int = 6, rows: int = 5, cell: int = 200) -> Image.Image:
    """Training images side by side, one of each class and then the next, in cells of so many pixels.

    Boxes are drawn as frames, visible parts as dots in colours that a legend names; images that cannot be
    read as crosses.
    """
    labels = [record.label for record in images.train]
    turns = sorted(zip(turns_of(labels), labels, range(len(labels)), strict=True))
    chosen = [images.train[position] for _, _, position in turns[: columns * rows]]
    named = [(record, images.class_names[record.label]) for record in chosen]
    return _sheet(named, columns=min(columns, len(chosen)), cell=cell, parts=images.part_names)


def alike_sheet(found: DatasetCheck, *, pairs: int = 12, cell: int = 200) -> Image.Image | None:
    """Pairs of almost equal images, the most alike first, two in a row: training image and test image."""
    named = []
    for number, (train, test, _) in enumerate(found.alike[:pairs], start=1):
        named += [
            (train, f"{number} training: {train.path.name}"),
            (test, f"{number} test: {test.path.name}"),
        ]
    return _sheet(named, columns=min(4, len(named)), cell=cell, parts=()) if named else None


def _sheet(
    named: Sequence[tuple[ImageRecord, str]], *, columns: int, cell: int, parts: tuple[str, ...]
) -> Image.Image:
    """Images in rows, each over its name; with a legend of the parts."""
    rows = -(-len(named) // columns)
    width = columns * (cell + _BORDER) + _BORDER
    legend = _legend(parts, width)
    height = rows * (cell + _LINE + _BORDER) + _BORDER + legend.height
    sheet = Image.new("RGB", (width, height), "white")
    draw = ImageDraw.Draw(sheet)
    for place, (record, text) in enumerate(named):
        left = _BORDER + place % columns * (cell + _BORDER)
        top = _BORDER + place // columns * (cell + _LINE + _BORDER)
        sheet.paste(_picture(record, cell), (left, top))
        name = drawable(visible(text)).text
        font = _font(name)
        draw.text((left, top + cell), _shortened(name, cell, font), fill="black", font=font)
    sheet.paste(legend, (0, height - legend.height))
    return sheet


def _shortened(text: str, width: int, font: ImageFont.FreeTypeFont) -> str:
    """As much of a text as fits: its beginning, and the end that tells names of files apart."""
    shown, kept = text, len(text)
    while font.getlength(shown) > width:
        kept -= 1
        shown = f"{text[: kept - kept // 2]}...{text[len(text) - kept // 2 :]}"
    return shown


def _picture(record: ImageRecord, cell: int) -> Image.Image:
    """The image in a square cell, with what is known of it."""
    square = Image.new("RGB", (cell, cell), "#dddddd")
    draw = ImageDraw.Draw(square)
    try:
        image = load_image(record.path, record.reading)
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


def _font(text: str) -> ImageFont.FreeTypeFont:
    """One that has the text's signs."""
    return ImageFont.truetype(font_file(text), _FONT_SIZE)


def _legend(names: tuple[str, ...], width: int) -> Image.Image:
    """Number, colour and name of each part."""
    names = tuple(drawable(visible(name)).text for name in names)
    places, x, y = [], _BORDER, 0
    measure = ImageDraw.Draw(Image.new("RGB", (1, 1)))
    for part, name in enumerate(names):
        needed = 20 + int(measure.textlength(f"{part + 1} {name}", font=_font(name)))
        if x > _BORDER and x + needed > width:
            x, y = _BORDER, y + _LINE
        places.append((x, y))
        x += needed
    legend = Image.new("RGB", (width, y + _LINE + _BORDER if names else 0), "white")
    draw = ImageDraw.Draw(legend)
    for part, (left, top) in enumerate(places):
        _dot(draw, left + 4, top + 7, part=part)
        draw.text((left + 11, top), f"{part + 1} {names[part]}", fill="black", font=_font(names[part]))
    return legend


def _dot(draw: ImageDraw.ImageDraw, x: float, y: float, *, part: int) -> None:
    draw.ellipse((x - 4, y - 4, x + 4, y + 4), fill=_COLOURS[part % len(_COLOURS)], outline="black")
