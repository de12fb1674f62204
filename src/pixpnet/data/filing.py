"""Pictures with labels from anywhere (a torch data set, lists, arrays), put into folders of classes."""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor
from torch.utils.data import Dataset, IterableDataset

from pixpnet.data.annotations import MASKS
from pixpnet.data.decode import PictureSource, load_image
from pixpnet.data.folder import SPLIT_NAMES
from pixpnet.data.listing import plain
from pixpnet.errors import DataError
from pixpnet.files import file_part, whole_folder


def array_of(image: Tensor) -> np.ndarray:
    """A picture's tensor, whose channels come first, as an array, whose channels come last."""
    values = image.detach().float() if image.is_floating_point() else image
    return (values.movedim(0, -1) if values.ndim == 3 else values).cpu().numpy()


def items_of(dataset: Dataset[Any]) -> Iterator[tuple[PictureSource | Tensor, int]]:
    """The pictures of a torch data set, each with its label.

    Raises:
        DataError: An item is no pair of these, or its label is no whole number.
    """
    if isinstance(dataset, IterableDataset):
        items = iter(dataset)
    else:
        items = (dataset[number] for number in range(len(dataset)))  # pyright: ignore[reportArgumentType]
    for number, item in enumerate(items):
        try:
            picture, label = item
            yield picture, int(label)
        except (TypeError, ValueError) as error:
            raise DataError(
                f"item {number} of {type(dataset).__name__} is {type(item).__name__}; wanted a pair of a "
                f"picture and its label, a whole number from 0 ({error})."
            ) from error


def file_pictures(
    pictures: Iterable[tuple[PictureSource | Tensor, int]],
    folder: Path,
    *,
    class_names: Sequence[str] | None = None,
) -> None:
    """Make a folder of pictures for each class, in the order of their labels; what was there is replaced.

    Files are linked (where that can't be, copied), all else is read as files are and written as PNG. Names of
    classes that can't be folders, or whose order is not that of the labels, get the label in front.

    Args:
        pictures: Each with its label, from 0.
        folder: Where the folders will be.
        class_names: By label; None: the labels themselves.

    Raises:
        DataError: There is no picture, one can't be read, or a label has no name.
        MissingDataError: The folder can't be written.
    """
    with whole_folder(folder) as tree:
        filed = []
        for number, (picture, label) in enumerate(pictures):
            try:
                filed.append((label, _file(picture, tree, number)))
            except DataError as error:
                raise DataError(f"picture {number}: {error}") from error
        names = _folder_names([label for label, _ in filed], class_names)
        for label, file in filed:
            (tree / names[label]).mkdir(exist_ok=True)
            file.rename(tree / names[label] / file.name)
        shutil.rmtree(folder, ignore_errors=True)


def _file(picture: PictureSource | Tensor, place: Path, number: int) -> Path:
    if isinstance(picture, (str, os.PathLike)) and Path(picture).is_file():
        source = Path(picture).resolve()
        file = place / f"{number:06}_{file_part(source.name)}"
        with suppress(OSError, NotImplementedError):
            file.symlink_to(source)
            return file
        shutil.copyfile(source, file)
        return file
    file = place / f"{number:06}.png"
    load_image(array_of(picture) if isinstance(picture, Tensor) else picture).save(file)
    return file


def _folder_names(labels: Sequence[int], class_names: Sequence[str] | None) -> list[str]:
    """The folder of each label; sorted by name they are in the labels' order.

    Raises:
        DataError: A label has no name.
    """
    most = max(labels, default=-1)
    if not labels or min(labels) < 0 or (class_names is not None and most >= len(class_names)):
        there = "" if class_names is None else f"; there are names of {len(class_names)} classes"
        raise DataError(f"labels are from {min(labels, default=0)} to {most}; wanted some, from 0{there}.")
    if class_names is None:
        return [f"{label:0{len(str(most))}}" for label in range(most + 1)]
    names = [file_part(str(name)) for name in class_names]
    is_usable = all(re.match(r"\w", name) and name.lower() not in (*SPLIT_NAMES, MASKS) for name in names)
    if is_usable and [plain(name) for name in names] == sorted({plain(name) for name in names}):
        return names
    return [f"{label:0{len(str(len(names) - 1))}}.{name}" for label, name in enumerate(names)]
