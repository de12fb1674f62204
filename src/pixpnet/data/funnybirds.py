"""Reader of FunnyBirds as it is published (Hesse, Schaub-Meyer and Roth, ICCV 2023).

`classes.json`, `dataset_train.json` and `dataset_test.json`, and for entry n (from 0, six digits) of the
latter `test/<class_idx>/<n>.png` and `test_part_map/<class_idx>/<n>.png`. In a part map every part has a
colour of its own; a part's point is the pixel of it that is nearest to the middle of what shows of it, and it
is visible where `MIN_PIXELS` or more show. Measuring them takes a while, so they are kept as
`part_points_train.csv` and `part_points_test.csv`: delete them to measure again.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from jaxtyping import UInt8
from PIL import Image

from pixpnet.data.annotations import PartTable, read_parts
from pixpnet.data.decode import open_picture
from pixpnet.data.spec import DatasetSpec, ImageSet
from pixpnet.data.tables import TableLine, unique
from pixpnet.errors import DataError, FileError
from pixpnet.files import is_there, read_json, write_text
from pixpnet.types import ImageRecord, Progress, no_progress

_logger = logging.getLogger(__name__)

PART_COLOURS = {
    "beak": (255, 255, 0),
    "eye01": (255, 255, 253),
    "eye02": (255, 255, 254),
    "foot01": (255, 0, 1),
    "foot02": (255, 0, 2),
    "tail": (0, 0, 255),
    "wing01": (0, 255, 1),
    "wing02": (0, 255, 2),
}
"""Colours of the parts in the maps; 01 is the bird's own right side."""
MIN_PIXELS = 8


def read_funnybirds(root: Path, *, spec: DatasetSpec, progress: Progress = no_progress) -> ImageSet:
    """Read the benchmark's own layout.

    Raises:
        DataError: Naming the file, the entry and what was wanted.
    """
    classes = unique(_read_list(root / "classes.json"), "class_idx")
    if sorted(classes) != list(range(len(classes))):
        raise DataError(f"{root / 'classes.json'}: wanted every class_idx from 0 to {len(classes) - 1}.")
    names = [str(classes[k].fields.get("class_name", f"FunnyBird_{k:02d}")) for k in range(len(classes))]
    records = {split: _records(root, split, len(names)) for split in ("train", "test")}
    has_maps = all((root / f"{split}_part_map").is_dir() for split in records)
    if has_maps:
        records = {split: _with_parts(root, split, some, progress) for split, some in records.items()}
    else:
        _logger.warning("%s has no part maps (train_part_map/, test_part_map/): parts are not known", root)
    return ImageSet(
        spec=spec,
        root=root,
        class_names=tuple(names),
        part_names=tuple(PART_COLOURS) if has_maps else (),
        train=records["train"],
        test=records["test"],
    )


def _records(root: Path, split: str, classes: int) -> tuple[ImageRecord, ...]:
    records = []
    for entry in _read_list(root / f"dataset_{split}.json"):
        label = entry.whole("class_idx", least=0, most=classes - 1)
        image_id = f"{split}/{label}/{entry.number:06d}.png"
        records.append(ImageRecord(image_id, entry.file_below(root, image_id), label))
    return tuple(records)


def _read_list(path: Path) -> list[TableLine]:
    if not is_there(path):
        raise DataError(f"{path} is missing; wanted FunnyBirds as it is published.")
    try:
        entries = read_json(path)
    except FileError as error:
        raise DataError(str(error)) from error
    if not isinstance(entries, list) or not entries or not all(isinstance(entry, dict) for entry in entries):
        raise DataError(f"{path}: wanted a list of objects.")
    return [TableLine(path, number, entry, unit="entry") for number, entry in enumerate(entries)]


def _with_parts(
    root: Path, split: str, records: tuple[ImageRecord, ...], progress: Progress
) -> tuple[ImageRecord, ...]:
    path = root / f"part_points_{split}.csv"
    if is_there(path):
        table = read_parts(path, {record.image_id for record in records})
    else:
        table = _measure(root, split, records, progress)
        _keep(path, table)
    order = [table.names.index(part) if part in table.names else None for part in PART_COLOURS]
    nothing = np.zeros(2)

    def with_parts(record: ImageRecord) -> ImageRecord:
        points, visible = table.points[record.image_id], table.visible[record.image_id]
        return replace(
            record,
            part_points=np.array([nothing if place is None else points[place] for place in order]),
            part_visible=np.array([place is not None and bool(visible[place]) for place in order]),
        )

    return tuple(map(with_parts, records))


def _measure(root: Path, split: str, records: Sequence[ImageRecord], progress: Progress) -> PartTable:
    _logger.info("finding the parts in the maps of %d images of %s", len(records), root / split)
    points, visible = {}, {}
    for done, record in enumerate(records, start=1):
        found = _middles(root / f"{split}_part_map" / Path(record.image_id).relative_to(split))
        points[record.image_id] = np.array([(0.0, 0.0) if point is None else point for point in found])
        visible[record.image_id] = np.array([point is not None for point in found])
        progress(done, len(records))
    if not any(seen.any() for seen in visible.values()):
        _logger.warning(
            "the maps of %s have none of the known colours: no part is visible anywhere", root / split
        )
    return PartTable(tuple(PART_COLOURS), points, visible)


def part_numbers(part_map: Image.Image) -> UInt8[np.ndarray, "H W"]:
    """The number of the part that each pixel shows, from 1 in the order of `PART_COLOURS`; else 0."""
    colours = np.asarray(part_map.convert("RGB"))
    numbers = np.zeros(colours.shape[:2], dtype=np.uint8)
    for number, colour in enumerate(PART_COLOURS.values(), start=1):
        numbers[(colours == colour).all(axis=2)] = number
    return numbers


def _middles(path: Path) -> list[tuple[float, float] | None]:
    """Of each part, the centre of its pixel nearest to the middle of them all."""
    with open_picture(path, wanted="a part map") as part_map:
        numbers = part_numbers(part_map.upright())
    found: list[tuple[float, float] | None] = []
    for number in range(1, len(PART_COLOURS) + 1):
        rows, columns = np.nonzero(numbers == number)
        found.append(None)
        if len(rows) >= MIN_PIXELS:
            nearest = np.argmin((rows - rows.mean()) ** 2 + (columns - columns.mean()) ** 2)
            found[-1] = (float(columns[nearest]) + 0.5, float(rows[nearest]) + 0.5)
    return found


def _keep(path: Path, table: PartTable) -> None:
    """Write the points for the next time, where the folder lets us."""
    lines = ["image,part,x,y,visible"]
    for image, points in table.points.items():
        for name, (x, y), seen in zip(table.names, points, table.visible[image], strict=True):
            lines.append(f"{image},{name},{x - 0.5:g},{y - 0.5:g},1" if seen else f"{image},{name},0,0,0")
    try:
        write_text(path, "\n".join(lines) + "\n")
    except FileError as error:
        _logger.warning("%s The parts will be measured again next time.", error)
