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

import math
from pathlib import Path, PurePosixPath

import numpy as np
from jaxtyping import Bool, Float

from pixpnet.data.spec import DatasetSpec, ImageSet
from pixpnet.data.tables import TableLine, read_columns, unique
from pixpnet.errors import DataError
from pixpnet.files import is_there
from pixpnet.types import ImageRecord


def read_cub(root: Path, *, spec: DatasetSpec, part_locations: str = "parts/part_locs.txt") -> ImageSet:
    """Read a folder in the layout of CUB-200-2011.

    Raises:
        DataError: Naming file and line, and what was wanted, for anything missing or wrong.
    """
    images = unique(read_columns(root / "images.txt", "<image id> <path>"), "image id")
    if not images:
        raise DataError(f"{root / 'images.txt'} lists no image.")
    paths = {image: row.file_below(root / "images", row.fields["path"]) for image, row in images.items()}
    labels, class_names = _read_labels(root, images)
    split = _per_image(root / "train_test_split.txt", "<image id> <1 train, 0 test>", images)
    is_training = {image: row.flag("1 train, 0 test") for image, row in split.items()}
    boxes, masks = {}, {}
    if is_there(root / "bounding_boxes.txt"):
        rows = _per_image(root / "bounding_boxes.txt", "<image id> <x> <y> <width> <height>", images)
        boxes = {image: row.box() for image, row in rows.items()}
    if (root / "segmentations").is_dir():
        found = {image: root / "segmentations" / row.fields["path"] for image, row in images.items()}
        found = {image: path.with_suffix(".png") for image, path in found.items()}
        masks = {image: path for image, path in found.items() if path.is_file()}
    part_names, points, visible = _read_parts(root, root / part_locations, images)
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
        for index, image in enumerate(images)
    }
    return ImageSet(
        spec=spec,
        root=root,
        class_names=class_names,
        part_names=part_names,
        train=tuple(record for image, record in records.items() if is_training[image]),
        test=tuple(record for image, record in records.items() if not is_training[image]),
    )


def _per_image(path: Path, layout: str, images: dict[int, TableLine]) -> dict[int, TableLine]:
    """One row for every image and none for any other, in the order of `images`."""
    rows = unique(read_columns(path, layout), "image id")
    for image, row in rows.items():
        if image not in images:
            raise row.error(f"image {image} does not stand in images.txt.")
    for image, row in images.items():
        if image not in rows:
            raise DataError(
                f"{path} has no line `{layout}` for image {image} ({row.path.name}, line {row.number})."
            )
    return {image: rows[image] for image in images}


def _read_labels(root: Path, images: dict[int, TableLine]) -> tuple[dict[int, int], tuple[str, ...]]:
    """Labels from 0, and the names of the classes."""
    rows = _per_image(root / "image_class_labels.txt", "<image id> <class id>", images)
    if is_there(root / "classes.txt"):
        classes = unique(read_columns(root / "classes.txt", "<class id> <name>"), "class id")
        names = {key: row.fields["name"] for key, row in classes.items()}
        class_of = {image: row.whole("class id") for image, row in rows.items()}
    else:
        class_of = {image: row.whole("class id", least=1) for image, row in rows.items()}
        names = {key: f"class {key}" for key in range(1, max(class_of.values()) + 1)}
        for image, key in class_of.items():
            names[key] = PurePosixPath(images[image].fields["path"]).parent.name or names[key]
    for image, row in rows.items():
        if class_of[image] not in names:
            raise row.error(f"class {class_of[image]} does not stand in classes.txt.")
    label_of = {key: label for label, key in enumerate(sorted(names))}
    return {image: label_of[key] for image, key in class_of.items()}, tuple(names[key] for key in label_of)


def _read_parts(
    root: Path, path: Path, images: dict[int, TableLine]
) -> tuple[tuple[str, ...], Float[np.ndarray, "n q 2"], Bool[np.ndarray, "n q"]]:
    """Names, continuous points and visibility of every part in every image, in the order of `images`."""
    names = {}
    if is_there(root / "parts" / "parts.txt"):
        rows = unique(read_columns(root / "parts" / "parts.txt", "<part id> <name>"), "part id")
        names = {key: row.fields["name"] for key, row in rows.items()}
        if not names:
            raise DataError(f"{root / 'parts' / 'parts.txt'} names no part; remove it if there are none.")
    locations = []
    if is_there(path):
        locations = read_columns(path, "<image id> <part id> <x> <y> <visible>")
        if not locations:
            raise DataError(f"{path} has no line; remove it if no part is marked.")
    parts = [row.whole("part id", least=-math.inf if names else 1) for row in locations]
    names = names or {key: f"part {key}" for key in range(1, max(parts, default=0) + 1)}
    column_of = {key: column for column, key in enumerate(sorted(names))}
    row_of = {image: index for index, image in enumerate(images)}
    points = np.zeros((len(images), len(names), 2))
    visible = np.zeros((len(images), len(names)), dtype=bool)
    for part, row in zip(parts, locations, strict=True):
        image = row.whole("image id")
        if image not in row_of:
            raise row.error(f"image {image} does not stand in images.txt.")
        if part not in column_of:
            raise row.error(f"part {part} does not stand in parts/parts.txt.")
        place = row_of[image], column_of[part]
        point = row.numbers(("x", "y"))
        if row.flag("visible") and not visible[place]:
            points[place] = np.add(point, 0.5)
            visible[place] = True
    return tuple(names[key] for key in column_of), points, visible
