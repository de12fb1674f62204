"""What may lie beside a tree of images: `parts.csv`, `boxes.csv` and `masks/`.

The tables name images as `Names.find` says, `masks/` by their path below it (`train/cat/1.png`). As in
CUB-200-2011, part points count pixel centres as whole numbers, so they get + ½.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float

from pixpnet.data.listing import below, pictures_below
from pixpnet.data.spec import ImageSet
from pixpnet.data.tables import BOX, Names, TableLine, box_columns, csv_columns, read_csv
from pixpnet.errors import DataError
from pixpnet.files import is_there
from pixpnet.types import Box, ImageRecord

PARTS = "parts.csv"
BOXES = "boxes.csv"
MASKS = "masks"


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
    parts = read_parts(images.root / PARTS, ids) if is_there(images.root / PARTS) else None
    boxes = _read_boxes(images.root / BOXES, ids) if is_there(images.root / BOXES) else {}
    left_out = Counter(images.left_out)
    masks = _find_masks(images.root / MASKS, ids, left_out)

    def with_notes(record: ImageRecord) -> ImageRecord:
        return replace(
            record,
            box=boxes.get(record.image_id, record.box),
            part_points=None if parts is None else parts.points[record.image_id],
            part_visible=None if parts is None else parts.visible[record.image_id],
            mask=masks.get(record.image_id),
        )

    return replace(
        images,
        part_names=() if parts is None else parts.names,
        train=tuple(map(with_notes, images.train)),
        test=tuple(map(with_notes, images.test)),
        left_out=left_out,
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
    known = Names(sorted(ids))
    for row in rows:
        image, part = _image(row, known), row.fields["part"]
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
    columns, names = box_columns(csv_columns(path, ",".join(("image", *BOX)))) or BOX, Names(sorted(ids))
    for row in read_csv(path, ("image", *columns)):
        image = _image(row, names)
        if image in lines:
            raise row.error(f"a box of {image} again; it stands on line {lines[image]} already.")
        lines[image] = row.number
        if box := row.box(columns):
            boxes[image] = box
    return boxes


def _image(row: TableLine, names: Names) -> str:
    image, root = row.fields["image"], row.path.parent
    meant = names.find(image)
    if not meant:
        raise row.error(f"there is no image {image!r} below {root}.")
    if len(meant) > 1:
        raise row.error(f"{image} is {meant[0]} or {meant[1]}; name images by their path below {root}.")
    return meant[0]


def _find_masks(folder: Path, ids: set[str], left_out: Counter[str]) -> dict[str, Path]:
    """The mask of an image has its path below `masks/`, with any suffix; a class may have that name, too."""
    if not folder.is_dir() or any(image.startswith(f"{MASKS}/") for image in ids):
        return {}
    by_stem: defaultdict[str, list[str]] = defaultdict(list)
    for image in sorted(ids):
        by_stem[image.rpartition(".")[0]].append(image)
    masks: dict[str, Path] = {}
    for name, path in sorted(below(folder, pictures_below(folder, left_out)).items()):
        stem = name.rpartition(".")[0]
        if stem not in by_stem:
            raise DataError(f"{path} is the mask of no image: there is no {stem}.* below {folder.parent}.")
        image, *others = by_stem[stem]
        if others:
            raise DataError(f"{path} is the mask of {image} or of {others[0]}: rename one of these.")
        if image in masks:
            raise DataError(f"{path} is a second mask of {image}; {masks[image]} is there already.")
        masks[image] = path
    return masks
