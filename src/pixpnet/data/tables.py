"""Tables and lists in files, with errors that name file and place, and what may lie beside a tree of images.

`parts.csv`, `boxes.csv` and `masks/` name images by their path below the data set's folder
(`train/cat/1.png`). As in CUB-200-2011, part points count pixel centres as whole numbers, so they get + ½,
and a box `x y width height` is the continuous one from (x, y) to (x + width, y + height).
"""

from __future__ import annotations

import csv
import math
import re
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Bool, Float

from pixpnet.data.spec import ImageSet
from pixpnet.errors import DataError
from pixpnet.types import Box, ImageRecord

PARTS, BOXES, MASKS = "parts.csv", "boxes.csv", "masks"
BOX = ("x", "y", "width", "height")


@dataclass(frozen=True)
class TableLine:
    """One line of a table, or one entry of a list."""

    path: Path
    number: int
    fields: Mapping[str, Any]
    unit: str = "line"

    def error(self, message: str) -> DataError:
        return DataError(f"{self.path}, {self.unit} {self.number}: {message}")

    def whole(self, column: str, *, least: float = -math.inf, most: float = math.inf) -> int:
        """A whole number, in its range."""
        value = self.fields.get(column)
        try:
            number = float(value)  # pyright: ignore[reportArgumentType]
        except (ValueError, TypeError):
            number = math.nan
        if not number.is_integer():
            raise self.error(f"wanted {column} as a whole number, got {value!r}.")
        if not least <= number <= most:
            raise self.error(f"wanted {column} from {least} to {most}, got {value}.")
        return int(number)

    def numbers(self, columns: Sequence[str]) -> list[float]:
        texts = [self.fields[column] for column in columns]
        try:
            numbers = [float(text) for text in texts]
        except ValueError:
            numbers = []
        if not numbers or not np.isfinite(numbers).all():
            raise self.error(f"wanted {', '.join(columns)} as numbers, got {' '.join(texts)!r}.")
        return numbers

    def flag(self, column: str) -> bool:
        if self.fields[column] not in ("0", "1"):
            raise self.error(f"wanted 0 or 1 ({column}), got {self.fields[column]!r}.")
        return self.fields[column] == "1"

    def box(self) -> Box:
        """The box of columns x, y, width and height."""
        left, top, width, height = self.numbers(BOX)
        if width <= 0 or height <= 0:
            raise self.error(f"wanted a box with a width and a height, got {width:g} x {height:g}.")
        return Box(left, top, left + width, top + height)

    def file_below(self, folder: Path, name: str) -> Path:
        """An image of that name, which lies in a folder or deeper."""
        relative = PurePosixPath(name)
        if relative.is_absolute() or ".." in relative.parts:
            raise self.error(f"wanted a path below {folder}, got {name!r}.")
        path = folder / relative
        if not path.is_file():
            raise self.error(f"the image {path} is missing.")
        return path


def read_rows(path: Path, layout: str) -> list[TableLine]:
    """The lines of a table with blanks between its columns; `layout` names them: `<image id> <path>`.

    The last field keeps the blanks in it.

    Raises:
        DataError: No such file, no text, or a line with too few columns.
    """
    columns = re.findall("<([^>]+)>", layout)
    rows = []
    for number, line in enumerate(_lines(path, layout), start=1):
        fields = line.split(None, len(columns) - 1)
        if 0 < len(fields) < len(columns):
            raise DataError(f"{path}, line {number}: wanted `{layout}`, got {line.strip()!r}.")
        if fields:
            fields[-1] = fields[-1].rstrip()
            rows.append(TableLine(path, number, dict(zip(columns, fields, strict=True))))
    return rows


def read_csv(path: Path, columns: Sequence[str], *, optional: Sequence[str] = ()) -> list[TableLine]:
    """The lines of a CSV file with a header.

    An optional column that is not there has empty fields; columns of other names are left aside.

    Raises:
        DataError: No such file, no text, a column missing in the header, or a line with too few or too many
            fields.
    """
    reader = csv.DictReader(_lines(path, ",".join(columns)), skipinitialspace=True)
    rows = []
    try:
        names = [name.strip().lower() for name in reader.fieldnames or ()]
        missing = [name for name in columns if name not in names]
        if missing:
            raise DataError(
                f"{path}, line 1: wanted a header with {', '.join(columns)}, "
                f"got {','.join(names)!r} without {', '.join(missing)}."
            )
        reader.fieldnames = names
        for values in reader:
            beyond = values.pop(None, [])  # pyright: ignore[reportArgumentType, reportCallIssue]
            if None in values.values() or any(beyond):
                got = sum(value is not None for value in values.values()) + len(beyond)
                raise DataError(f"{path}, line {reader.line_num}: wanted {len(names)} fields, got {got}.")
            fields = dict.fromkeys(optional, "") | {name: value.strip() for name, value in values.items()}
            if any(fields.values()):
                rows.append(TableLine(path, reader.line_num, fields))
    except csv.Error as error:
        raise DataError(
            f"{path}, line {reader.line_num}: {error}; is a quotation mark not closed?"
        ) from error
    return rows


def _lines(path: Path, layout: str) -> list[str]:
    try:
        return path.read_text(encoding="utf-8-sig").splitlines()
    except FileNotFoundError:
        raise DataError(f"{path} is missing; wanted a table of lines `{layout}`.") from None
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{path} cannot be read: {error}.") from error


def unique(rows: Iterable[TableLine], column: str) -> dict[int, TableLine]:
    """The rows by an id, in the order of the file.

    Raises:
        DataError: An id that is no whole number, or stands there twice.
    """
    seen: dict[int, TableLine] = {}
    for row in rows:
        key = row.whole(column)
        if key in seen:
            raise row.error(f"{column} {key} again; it stands on {row.unit} {seen[key].number} already.")
        seen[key] = row
    return seen


class PartTable(NamedTuple):
    """The parts of some images."""

    names: tuple[str, ...]
    """In the order in which the file names them first."""
    points: Mapping[str, Float[np.ndarray, "q 2"]]
    """By image id; continuous."""
    visible: Mapping[str, Bool[np.ndarray, " q"]]


def annotated(images: ImageSet) -> ImageSet:
    """The set with the parts, boxes and masks that its folder holds.

    Raises:
        DataError: Naming file and line: an image that is not there, a second line for one, or no number.
    """
    ids = {record.image_id for record in (*images.train, *images.test)}
    parts = read_parts(images.root / PARTS, ids) if (images.root / PARTS).exists() else None
    boxes = _read_boxes(images.root / BOXES, ids) if (images.root / BOXES).exists() else {}
    masks = _find_masks(images.root / MASKS, ids)

    def with_notes(record: ImageRecord) -> ImageRecord:
        return replace(
            record,
            box=boxes.get(record.image_id),
            part_points=None if parts is None else parts.points[record.image_id],
            part_visible=None if parts is None else parts.visible[record.image_id],
            mask=masks.get(record.image_id),
        )

    return replace(
        images,
        part_names=() if parts is None else parts.names,
        train=tuple(map(with_notes, images.train)),
        test=tuple(map(with_notes, images.test)),
    )


def read_parts(path: Path, ids: set[str]) -> PartTable:
    """The parts of every image of `ids`; a part without a line is not visible.

    Raises:
        DataError: As `annotated`.
    """
    rows = read_csv(path, ("image", "part", "x", "y"), optional=("visible",))
    names = tuple(dict.fromkeys(row.fields["part"] for row in rows))
    column = {name: index for index, name in enumerate(names)}
    points = {image: np.zeros((len(names), 2)) for image in ids}
    visible = {image: np.zeros(len(names), dtype=bool) for image in ids}
    lines: dict[tuple[str, str], int] = {}
    for row in rows:
        image, part = _image(row, ids), row.fields["part"]
        if (image, part) in lines:
            raise row.error(f"part {part} of {image} again; it stands on line {lines[image, part]} already.")
        lines[image, part] = row.number
        if row.fields["visible"] == "" or row.flag("visible"):
            points[image][column[part]] = np.add(row.numbers(("x", "y")), 0.5)
            visible[image][column[part]] = True
    return PartTable(names, points, visible)


def _read_boxes(path: Path, ids: set[str]) -> dict[str, Box]:
    boxes: dict[str, Box] = {}
    lines: dict[str, int] = {}
    for row in read_csv(path, ("image", *BOX)):
        image = _image(row, ids)
        if image in boxes:
            raise row.error(f"a box of {image} again; it stands on line {lines[image]} already.")
        boxes[image], lines[image] = row.box(), row.number
    return boxes


def _image(row: TableLine, ids: set[str]) -> str:
    image = row.fields["image"].replace("\\", "/").removeprefix("./")
    if image not in ids:
        raise row.error(f"there is no image {image!r} below {row.path.parent}.")
    return image


def _find_masks(folder: Path, ids: set[str]) -> dict[str, Path]:
    """The mask of an image has its path below `masks/`, with any suffix; a class may have that name, too."""
    if not folder.is_dir() or any(image.startswith(f"{MASKS}/") for image in ids):
        return {}
    by_stem: defaultdict[str, list[str]] = defaultdict(list)
    for image in sorted(ids):
        by_stem[image.rpartition(".")[0]].append(image)
    masks: dict[str, Path] = {}
    for path in sorted(path for path in folder.rglob("*.*") if path.is_file() and path.name[0] != "."):
        stem = path.relative_to(folder).with_suffix("").as_posix()
        if stem not in by_stem:
            raise DataError(f"{path} is the mask of no image: there is no {stem}.* below {folder.parent}.")
        image, *others = by_stem[stem]
        if others:
            raise DataError(f"{path} is the mask of {image} or of {others[0]}: rename one of these.")
        if image in masks:
            raise DataError(f"{path} is a second mask of {image}; {masks[image]} is there already.")
        masks[image] = path
    return masks
