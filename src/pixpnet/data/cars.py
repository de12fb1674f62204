"""Readers of Stanford Cars (Krause et al. 2013), in the layouts in which copies of it are around.

* the authors': `cars_train/`, `cars_test/` and `devkit/` with `cars_meta.mat`, `cars_train_annos.mat` and
  `cars_test_annos_withlabels.mat` (which may also lie beside `devkit/`),
* the authors' other one: `car_ims/` and `cars_annos.mat`,
* Kaggle's: `train/<class>/` and `test/<class>/`, there below `car_data/car_data/`.

The .mat files count pixels from 1 and boxes include their last pixel, so x1 ... x2 is [x1 − 1, x2).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np

from pixpnet.data.folder import read_trees
from pixpnet.data.spec import DatasetSpec, ImageSet
from pixpnet.errors import DataError
from pixpnet.types import Box, ImageRecord

__all__ = ["find_cars"]

_META, _TRAIN = "devkit/cars_meta.mat", "devkit/cars_train_annos.mat"
_TEST = ("devkit/cars_test_annos_withlabels.mat", "cars_test_annos_withlabels.mat")
_ALL = "cars_annos.mat"
_NESTED = ("", "car_data", "car_data/car_data", "stanford_cars")


def find_cars(place: Path) -> Callable[[DatasetSpec], ImageSet] | None:
    """The reader of what lies in a folder; none: no layout of Stanford Cars.

    Raises:
        DataError: By the reader: naming the file, the entry and what was wanted.
    """
    for root in (place / inner for inner in _NESTED):
        if (root / _TRAIN).exists():
            return lambda spec, root=root: _read_devkit(root, spec=spec)
        if (root / _ALL).exists():
            return lambda spec, root=root: _read_one_table(root, spec=spec)
        if (root / "train").is_dir() and (root / "test").is_dir():
            return lambda spec, root=root: read_trees(root, root / "train", root / "test", spec=spec)
    return None


def _read_devkit(root: Path, *, spec: DatasetSpec) -> ImageSet:
    tests = [root / name for name in _TEST if (root / name).exists()]
    if not tests:
        raise DataError(
            f"{root / _TEST[0]} is missing; the test images' labels are in no other file "
            "(cars_test_annos.mat has none)."
        )
    names = _class_names(_field(root / _META, "class_names"), root / _META)
    train = _records(root / _TRAIN, root / "cars_train", names)
    test = _records(tests[0], root / "cars_test", names)
    return _image_set(root, spec, names, train, test, root / _TRAIN)


def _read_one_table(root: Path, *, spec: DatasetSpec) -> ImageSet:
    path = root / _ALL
    names = _class_names(_field(path, "class_names"), path)
    entries = np.atleast_1d(_field(path, "annotations"))
    is_test = [bool(_number(entry, "test", number, path)) for number, entry in enumerate(entries, start=1)]
    records = _records(path, root, names, file_field="relative_im_path")
    train = tuple(record for record, test in zip(records, is_test, strict=True) if not test)
    test = tuple(record for record, test in zip(records, is_test, strict=True) if test)
    return _image_set(root, spec, names, train, test, path)


def _image_set(
    root: Path,
    spec: DatasetSpec,
    names: tuple[str, ...],
    train: tuple[ImageRecord, ...],
    test: tuple[ImageRecord, ...],
    source: Path,
) -> ImageSet:
    empty = sorted(set(range(len(names))) - {record.label for record in train})
    if empty:
        some = ", ".join(names[label] for label in empty[:3])
        raise DataError(f"{source}: {len(empty)} of {len(names)} classes have no training image: {some}.")

    def with_id(record: ImageRecord) -> ImageRecord:
        return replace(record, image_id=record.path.relative_to(root).as_posix())

    return ImageSet(
        spec=spec,
        root=root,
        class_names=names,
        part_names=(),
        train=tuple(map(with_id, train)),
        test=tuple(map(with_id, test)),
    )


def _records(
    path: Path, folder: Path, names: tuple[str, ...], *, file_field: str = "fname"
) -> tuple[ImageRecord, ...]:
    records: dict[Path, ImageRecord] = {}
    for number, entry in enumerate(np.atleast_1d(_field(path, "annotations")), start=1):
        name = PurePosixPath(str(_value(entry, file_field, number, path)))
        if name.is_absolute() or ".." in name.parts:
            raise DataError(f"{path}, entry {number}: wanted a path below {folder}, got {str(name)!r}.")
        image = folder / name
        if not image.is_file():
            raise DataError(f"{path}, entry {number}: the image {image} is missing.")
        if image in records:
            raise DataError(f"{path}, entry {number}: {name} again; it has an entry already.")
        label = _number(entry, "class", number, path)
        if not 1 <= label <= len(names):
            raise DataError(f"{path}, entry {number}: wanted a class from 1 to {len(names)}, got {label}.")
        left, top, right, bottom = (
            _number(entry, f"bbox_{edge}", number, path) for edge in ("x1", "y1", "x2", "y2")
        )
        if right < left or bottom < top:
            raise DataError(
                f"{path}, entry {number}: wanted a box, got {left} to {right} by {top} to {bottom}."
            )
        box = Box(left - 1, top - 1, right, bottom)
        records[image] = ImageRecord(str(name), image, label - 1, box=box)
    if not records:
        raise DataError(f"{path} lists no image.")
    return tuple(records.values())


def _class_names(values: Any, path: Path) -> tuple[str, ...]:
    names = tuple(str(name) for name in np.atleast_1d(values))
    if not names:
        raise DataError(f"{path} names no class.")
    return names


def _field(path: Path, name: str) -> Any:
    """A variable of a MATLAB file."""
    from scipy.io import loadmat

    if not path.is_file():
        raise DataError(f"{path} is missing; wanted a .mat file with {name!r}.")
    try:
        content = loadmat(path, squeeze_me=True, struct_as_record=False, chars_as_strings=True)
    except Exception as error:  # a damaged file can raise anything
        raise DataError(f"{path} is not a .mat file that can be read: {error}.") from error
    if name not in content:
        raise DataError(f"{path} has no {name!r}; it is not a file of Stanford Cars.")
    return content[name]


def _value(entry: Any, field: str, number: int, path: Path) -> Any:
    if field not in getattr(entry, "_fieldnames", ()):
        raise DataError(f"{path}, entry {number}: wanted {field!r}, which it does not have.")
    return getattr(entry, field)


def _number(entry: Any, field: str, number: int, path: Path) -> int:
    value = _value(entry, field, number, path)
    if not isinstance(value, int | float | np.number) or value != int(value):
        raise DataError(f"{path}, entry {number}: wanted {field!r} as a whole number, got {value!r}.")
    return int(value)
