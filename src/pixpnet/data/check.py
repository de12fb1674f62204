"""A look at a data set: every image read once, counted and compared, and a sheet of some of them."""

from __future__ import annotations

import hashlib
from collections import Counter, defaultdict
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from pixpnet.data.decode import load_image
from pixpnet.data.masks import load_mask
from pixpnet.data.spec import ImageSet
from pixpnet.errors import DataError
from pixpnet.types import ImageRecord, Progress, no_progress

_COLOURS = ("#E69F00", "#56B4E9", "#009E73", "#F0E442", "#0072B2", "#D55E00", "#CC79A7", "#FFFFFF")
"""Of the parts: Okabe and Ito's, which colour-blind people tell apart."""
_BORDER, _LINE = 6, 16


@dataclass(frozen=True)
class DatasetCheck:
    """What a look at every image of a data set found."""

    images: ImageSet
    damaged: tuple[str, ...]
    """For each image that cannot be read, or whose mask cannot be: why."""
    leaked: tuple[tuple[str, ...], ...]
    """Ids of images with the same pixels that stand in training and in test."""
    repeated: tuple[tuple[str, ...], ...]
    """Ids of images with the same pixels that stand in one of them only."""
    outside: tuple[str, ...]
    """Ids of images with a box, or a visible part, beyond the image."""

    @property
    def is_sound(self) -> bool:
        """Whether every image can be read, and none stands in both splits."""
        return not self.damaged and not self.leaked

    def class_counts(self, split: str) -> list[int]:
        """Images of each class in "train" or "test"."""
        records = {"train": self.images.train, "test": self.images.test}[split]
        counted = Counter(record.label for record in records)
        return [counted[label] for label in range(self.images.num_classes)]

    def part_visibility(self) -> list[tuple[str, float]]:
        """Each part's name and the share of all images in which it is visible."""
        records = (*self.images.train, *self.images.test)
        seen = np.array([record.part_visible for record in records if record.part_visible is not None])
        shares = seen.mean(axis=0) if len(seen) else np.zeros(len(self.images.part_names))
        return list(zip(self.images.part_names, shares.tolist(), strict=True))

    def lines(self) -> Iterator[str]:
        """The findings for people to read."""
        train, test = (self.class_counts(split) for split in ("train", "test"))
        yield (
            f"{self.images.name} in {self.images.root}: {self.images.num_classes} classes, "
            f"{sum(train)} training and {sum(test)} test images"
        )
        yield f"images per class: {_range(train)} for training, {_range(test)} for the test"
        empty = [name for name, count in zip(self.images.class_names, test, strict=True) if count == 0]
        if empty:
            yield f"classes without test images: {_some(empty)}"
        if self.images.part_names:
            shares = (f"{name} {100 * share:.0f} %" for name, share in self.part_visibility())
            yield f"visible parts: {', '.join(shares)}"
        yield f"images that cannot be read: {_some(self.damaged)}"
        leaked, repeated = ([" = ".join(ids) for ids in same] for same in (self.leaked, self.repeated))
        yield f"images in training and in the test: {_some(leaked)}"
        yield f"images that stand twice in one of the two: {_some(repeated)}"
        yield f"images with a box or a visible part beyond their edge: {_some(self.outside)}"


def check_dataset(images: ImageSet, *, threads: int = 4, progress: Progress = no_progress) -> DatasetCheck:
    """Read every image of a set, and compare the pixels of all."""
    records = (*images.train, *images.test)
    damaged, outside = [], []
    same: defaultdict[bytes, list[int]] = defaultdict(list)
    with ThreadPoolExecutor(threads) as pool:
        for position, found in enumerate(pool.map(_look, records)):
            if isinstance(found, str):
                damaged.append(found)
            else:
                digest, fits = found
                same[digest].append(position)
                if not fits:
                    outside.append(records[position].image_id)
            progress(position + 1, len(records))
    leaked, repeated = [], []
    for positions in same.values():
        if len(positions) > 1:
            crosses = positions[0] < len(images.train) <= positions[-1]
            (leaked if crosses else repeated).append(tuple(records[place].image_id for place in positions))
    return DatasetCheck(images, tuple(damaged), tuple(leaked), tuple(repeated), tuple(outside))


def _look(record: ImageRecord) -> str | tuple[bytes, bool]:
    """Why the image (or its mask) can't be read, or a digest of its pixels and whether box and parts fit."""
    try:
        image = load_image(record.path, record.reading)
        load_mask(record, window=(0, 0, image.width, image.height))
    except DataError as error:
        return str(error)
    digest = hashlib.blake2b(f"{image.size}".encode() + image.tobytes(), digest_size=16).digest()
    fits = True
    if record.box is not None:
        left, top, right, bottom = record.box
        # Boxes are often drawn around the object's outermost pixels: one more is no mistake.
        fits = left >= -1 and top >= -1 and right <= image.width + 1 and bottom <= image.height + 1
    if record.part_points is not None and record.part_visible is not None:
        points = record.part_points[record.part_visible]
        fits = fits and bool(((points >= 0) & (points < image.size)).all())
    return digest, fits


def _range(counts: list[int]) -> str:
    return f"{min(counts)}" if min(counts) == max(counts) else f"{min(counts)} to {max(counts)}"


def _some(names: tuple[str, ...] | list[str], *, shown: int = 5) -> str:
    if not names:
        return "none"
    more = f"; and {len(names) - shown} more" if len(names) > shown else ""
    return f"{len(names)} ({'; '.join(names[:shown])}{more})"


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
