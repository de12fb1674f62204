"""Readers of Stanford Cars (Krause et al. 2013), in the layouts in which copies of it are around.

* the authors': `cars_train/`, `cars_test/` and `devkit/` with `cars_meta.mat`, `cars_train_annos.mat` and
  `cars_test_annos_withlabels.mat` (which may also lie beside `devkit/`),
* the authors' other one: `car_ims/` and `cars_annos.mat`,
* Kaggle's: `train/<class>/` and `test/<class>/`, there below `car_data/car_data/`.

The .mat files count pixels from 1 and boxes include their last pixel, so x1 ... x2 is [x1 − 1, x2).
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np

from pixpnet.data.folder import read_trees
from pixpnet.data.spec import DatasetSpec, ImageSet
from pixpnet.data.tables import TableLine
from pixpnet.errors import DataError
from pixpnet.types import Box, ImageRecord

_META, _TRAIN = "devkit/cars_meta.mat", "devkit/cars_train_annos.mat"
_TEST = ("devkit/cars_test_annos_withlabels.mat", "cars_test_annos_withlabels.mat")
_ALL = "cars_annos.mat"
_NESTED = ("", "car_data", "car_data/car_data", "stanford_cars")


def read_cars(place: Path, *, spec: DatasetSpec) -> ImageSet | None:
    """What lies in a folder; None: no layout of Stanford Cars.

    Raises:
        DataError: Naming the file, the entry and what was wanted.
    """
    for root in (place / inner for inner in _NESTED):
        if (root / _TRAIN).exists():
            return _read_devkit(root, spec=spec)
        if (root / _ALL).exists():
            return _read_one_table(root, spec=spec)
        if (root / "train").is_dir() and (root / "test").is_dir():
            return read_trees(root, root / "train", root / "test", spec=spec)
    return None


def _read_devkit(root: Path, *, spec: DatasetSpec) -> ImageSet:
    tests = [root / name for name in _TEST if (root / name).exists()]
    if not tests:
        raise DataError(
            f"{root / _TEST[0]} is missing; the test images' labels are in no other file "
            "(cars_test_annos.mat has none)."
        )
    names = _class_names(root / _META)
    train = _records(root, _entries(root / _TRAIN), names, "fname", folder="cars_train")
    test = _records(root, _entries(tests[0]), names, "fname", folder="cars_test")
    return ImageSet(spec=spec, root=root, class_names=names, train=train, test=test)


def _read_one_table(root: Path, *, spec: DatasetSpec) -> ImageSet:
    names = _class_names(root / _ALL)
    entries: dict[int, list[TableLine]] = {0: [], 1: []}
    for entry in _entries(root / _ALL):
        entries[entry.whole("test", least=0, most=1)].append(entry)
    train, test = (_records(root, entries[split], names, "relative_im_path") for split in (0, 1))
    return ImageSet(spec=spec, root=root, class_names=names, train=train, test=test)


def _records(
    root: Path, entries: Iterable[TableLine], names: tuple[str, ...], column: str, *, folder: str = ""
) -> tuple[ImageRecord, ...]:
    records: dict[Path, ImageRecord] = {}
    for entry in entries:
        image = entry.file_below(root / folder, str(entry.fields.get(column)))
        if image in records:
            raise entry.error(f"{image} again; it has an entry already.")
        label = entry.whole("class", least=1, most=len(names)) - 1
        left, top, right, bottom = (entry.whole(f"bbox_{edge}") for edge in ("x1", "y1", "x2", "y2"))
        if right < left or bottom < top:
            raise entry.error(f"wanted a box, got {left} to {right} by {top} to {bottom}.")
        box = Box(left - 1, top - 1, right, bottom)
        records[image] = ImageRecord(image.relative_to(root).as_posix(), image, label, box=box)
    return tuple(records.values())


def _class_names(path: Path) -> tuple[str, ...]:
    return tuple(str(name) for name in np.atleast_1d(_variable(path, "class_names")))


def _entries(path: Path) -> list[TableLine]:
    found = np.atleast_1d(_variable(path, "annotations"))
    if not len(found):
        raise DataError(f"{path} lists no image.")
    fields = [{name: getattr(entry, name) for name in getattr(entry, "_fieldnames", ())} for entry in found]
    return [TableLine(path, number, entry, unit="entry") for number, entry in enumerate(fields, start=1)]


def _variable(path: Path, name: str) -> Any:
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
