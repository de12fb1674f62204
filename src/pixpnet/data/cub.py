"""Reader of the folder layout of CUB-200-2011 (Wah et al. 2011).

Required: `images.txt`, `image_class_labels.txt`, `train_test_split.txt` and the images below `images/`.
Optional: `classes.txt` (else the classes are named by their images' folders), `bounding_boxes.txt`,
`parts/part_locs.txt` and `parts/parts.txt` (else "part 1", "part 2", ...), and masks: for
`images/<path>.jpg` in `segmentations/<path>.png`.

Part locations count pixel centres as whole numbers, so they get + ½. A box `x y w h` is the continuous box
from (x, y) to (x + w, y + h). A part without a line is not visible; of several lines for a part of an image
the first visible one counts.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path, PurePosixPath

import numpy as np
from jaxtyping import Bool, Float

from pixpnet.data.spec import DatasetSpec, ImageSet
from pixpnet.data.tables import Row, read_rows, unique
from pixpnet.errors import DataError
from pixpnet.types import Box, ImageRecord

__all__ = ["read_cub"]


def read_cub(root: Path, *, spec: DatasetSpec, part_locations: str = "parts/part_locs.txt") -> ImageSet:
    """Read a folder in the layout of CUB-200-2011.

    Raises:
        DataError: Naming file and line, and what was wanted, for anything missing or wrong.
    """
    image_rows = unique(read_rows(root / "images.txt", "<image id> <path>"), "image")
    if not image_rows:
        raise DataError(f"{root / 'images.txt'} lists no image.")
    paths = {image: _image_path(root, row) for image, row in image_rows.items()}
    labels, class_names = _read_labels(root, image_rows)
    is_training = {
        image: row.flag(1, "1 for training, 0 for test")
        for image, row in _per_image(
            root / "train_test_split.txt", "<image id> <1 train, 0 test>", image_rows
        )
    }
    boxes = _read_boxes(root, image_rows)
    part_names, points, visible = _read_parts(root, root / part_locations, image_rows)
    masks = _find_masks(root, image_rows)
    records = {
        image: ImageRecord(
            image_id=str(image),
            path=paths[image],
            label=labels[image],
            box=boxes.get(image),
            part_points=points[index] if part_names else None,
            part_visible=visible[index] if part_names else None,
            mask=masks.get(image),
        )
        for index, image in enumerate(image_rows)
    }
    return ImageSet(
        spec=spec,
        root=root,
        class_names=class_names,
        part_names=part_names,
        train=tuple(record for image, record in records.items() if is_training[image]),
        test=tuple(record for image, record in records.items() if not is_training[image]),
    )


def _per_image(path: Path, layout: str, images: dict[int, Row]) -> Iterable[tuple[int, Row]]:
    """One row for every image and none for any other, in the order of `images`."""
    rows = unique(read_rows(path, layout), "image")
    for image, row in rows.items():
        if image not in images:
            raise row.error(f"image {image} does not stand in images.txt.")
    for image, image_row in images.items():
        if image not in rows:
            raise DataError(
                f"{path} has no line `{layout}` for image {image} "
                f"({image_row.path.name}, line {image_row.number})."
            )
        yield image, rows[image]


def _image_path(root: Path, row: Row) -> Path:
    relative = PurePosixPath(row.fields[1])
    if relative.is_absolute() or ".." in relative.parts:
        raise row.error(f"wanted a path below images/, got {row.fields[1]!r}.")
    path = root / "images" / relative
    if not path.is_file():
        raise row.error(f"the image {path} is missing.")
    return path


def _read_labels(root: Path, images: dict[int, Row]) -> tuple[dict[int, int], tuple[str, ...]]:
    """Labels from 0, and the names of the classes."""
    rows = dict(_per_image(root / "image_class_labels.txt", "<image id> <class id>", images))
    class_of = {image: row.integer(1, "the id of a class") for image, row in rows.items()}
    if (root / "classes.txt").exists():
        names = {
            key: row.fields[1]
            for key, row in unique(read_rows(root / "classes.txt", "<class id> <name>"), "class").items()
        }
        for image, row in rows.items():
            if class_of[image] not in names:
                raise row.error(f"class {class_of[image]} does not stand in classes.txt.")
    else:
        for image, row in rows.items():
            if class_of[image] < 1:
                raise row.error(f"wanted the id of a class (from 1), got {class_of[image]}.")
        names = {key: f"class {key}" for key in range(1, max(class_of.values()) + 1)}
        for image, key in class_of.items():
            names[key] = PurePosixPath(images[image].fields[1]).parent.name or names[key]
    empty = sorted(set(names) - set(class_of.values()))
    if empty:
        some = ", ".join(f"{key} ({names[key]})" for key in empty[:3])
        raise DataError(
            f"{root / 'image_class_labels.txt'}: {len(empty)} of {len(names)} classes have no image: {some}."
        )
    order = {key: label for label, key in enumerate(sorted(names))}
    return {image: order[key] for image, key in class_of.items()}, tuple(names[key] for key in order)


def _read_boxes(root: Path, images: dict[int, Row]) -> dict[int, Box]:
    path = root / "bounding_boxes.txt"
    if not path.exists():
        return {}
    boxes = {}
    for image, row in _per_image(path, "<image id> <x> <y> <width> <height>", images):
        left, top, width, height = row.numbers(slice(1, 5), "x, y, width and height of a box")
        if width <= 0 or height <= 0:
            raise row.error(f"wanted a box with a width and a height, got {width:g} x {height:g}.")
        boxes[image] = Box(left, top, left + width, top + height)
    return boxes


def _find_masks(root: Path, images: dict[int, Row]) -> dict[int, Path]:
    folder = root / "segmentations"
    if not folder.is_dir():
        return {}
    paths = {image: (folder / row.fields[1]).with_suffix(".png") for image, row in images.items()}
    return {image: path for image, path in paths.items() if path.is_file()}


def _read_parts(
    root: Path, path: Path, images: dict[int, Row]
) -> tuple[tuple[str, ...], Float[np.ndarray, "n q 2"], Bool[np.ndarray, "n q"]]:
    """Names, continuous points and visibility of every part in every image, in the order of `images`."""
    names = {}
    if (root / "parts" / "parts.txt").exists():
        rows = unique(read_rows(root / "parts" / "parts.txt", "<part id> <name>"), "part")
        names = {key: row.fields[1] for key, row in rows.items()}
    locations = read_rows(path, "<image id> <part id> <x> <y> <visible>") if path.exists() else []
    parts = [row.integer(1, "the id of a part") for row in locations]
    if not names:
        if parts and min(parts) < 1:
            raise locations[int(np.argmin(parts))].error(
                f"wanted the id of a part (from 1), got {min(parts)}."
            )
        names = {key: f"part {key}" for key in range(1, max(parts, default=0) + 1)}
    column_of = {key: column for column, key in enumerate(sorted(names))}
    row_of = {image: index for index, image in enumerate(images)}
    points = np.zeros((len(images), len(names), 2))
    visible = np.zeros((len(images), len(names)), dtype=bool)
    for part, row in zip(parts, locations, strict=True):
        image = row.integer(0, "the id of an image")
        if image not in row_of:
            raise row.error(f"image {image} does not stand in images.txt.")
        if part not in column_of:
            raise row.error(f"part {part} does not stand in parts/parts.txt.")
        point = row.numbers(slice(2, 4), "x and y of a part")
        place = row_of[image], column_of[part]
        if row.flag(4, "whether the part is visible") and not visible[place]:
            points[place] = np.add(point, 0.5)
            visible[place] = True
    return tuple(names[key] for key in column_of), points, visible
