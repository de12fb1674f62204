"""The parts of objects: their left and right, and what a data set knows of how they look in each class.

Sides are read off the names: "left eye" and "right eye", "wing_left" and "wing_right", and FunnyBirds'
"foot01" (right) and "foot02". CUB-200-2011's 15 parts become 12. How the parts look in each class, and where
they show, SynthBirds (`attributes.json`, `part_masks/`) and FunnyBirds (`classes.json`, with `part_maps/`
beside `images/` or, as it is published, `test_part_map/` beside `test/`) tell.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Bool, Int, Int64, UInt8
from PIL import Image
from torch import Tensor
from torchvision.transforms.v2.functional import pil_to_tensor
from torchvision.tv_tensors import Mask

from pixpnet.data.decode import open_picture
from pixpnet.data.funnybirds import part_numbers
from pixpnet.data.images import ClassificationImages
from pixpnet.data.spec import ImageSet
from pixpnet.data.transforms import evaluation_transform, first_transform, object_window
from pixpnet.errors import DataError, FileError
from pixpnet.files import is_there, read_json
from pixpnet.types import ImageRecord

_WORD = re.compile(r"(?<![a-z])(left|right)(?![a-z])", re.IGNORECASE)
_NUMBER = re.compile(r"(?<=[a-z])0([12])$", re.IGNORECASE)
_SIDES = {"left": "left", "right": "right", "1": "right", "2": "left"}


class PartGroups(NamedTuple):
    """Parts that count as one."""

    names: tuple[str, ...]
    members: tuple[tuple[int, ...], ...]
    """Of each group, the positions of its parts."""


def merge_sides(part_names: Sequence[str]) -> PartGroups:
    """Left and right of each part together, in the order in which the first of them comes.

    >>> merge_sides(("beak", "left eye", "tail", "right eye"))
    PartGroups(names=('beak', 'eye', 'tail'), members=((0,), (1, 3), (2,)))
    """
    other = mirror_order(part_names)
    pairs = [(part, int(twin)) for part, twin in enumerate(other) if part <= twin]
    return PartGroups(
        names=tuple(part_names[part] if part == twin else _side(part_names[part])[0] for part, twin in pairs),
        members=tuple((part,) if part == twin else (part, twin) for part, twin in pairs),
    )


def met(parts: Bool[np.ndarray, "*n q"], groups: PartGroups) -> Bool[np.ndarray, "*n g"]:
    """Of each group, whether any of its parts is met (or visible)."""
    return np.stack([parts[..., list(members)].any(axis=-1) for members in groups.members], axis=-1)


def mirror_order(part_names: Sequence[str]) -> Int[np.ndarray, " q"]:
    """What each part looks like in a mirrored image: the position of its other side, else its own.

    `points[mirror_order(names)]` are a mirrored image's points under the names that a person would give them.

    >>> mirror_order(("beak", "left eye", "tail", "right eye")).tolist()
    [0, 3, 2, 1]
    """
    place = {_side(name): index for index, name in enumerate(part_names)}
    opposite = {"left": "right", "right": "left", "": ""}
    order = []
    for index, name in enumerate(part_names):
        base, side = _side(name)
        order.append(place.get((base, opposite[side]), index))
    return np.array(order, dtype=np.int64)


def _side(name: str) -> tuple[str, str]:
    """A part's name without its side, and the side: "left", "right" or ""."""
    for pattern in (_WORD, _NUMBER):
        if found := pattern.search(name):
            base = " ".join((name[: found.start()] + name[found.end() :]).strip(" _-").split())
            return (base, _SIDES[found[1].lower()]) if base else (name, "")
    return name, ""


@dataclass(frozen=True)
class PartTruth:
    """The look of each part in each class."""

    names: tuple[str, ...]
    """Of the g parts that classes may differ in; left and right are one."""
    ids: tuple[tuple[int, ...], ...]
    """The numbers that each has in part maps: one, or left and right."""
    variants: Int64[np.ndarray, "c g"]
    """Equal where the part looks the same in two classes."""
    num_parts: int
    """Part maps number the object's parts from 1 to this; other numbers are no part of it."""
    map_file: Callable[[ImageRecord], Path]
    """An image of the size of the record's, whose pixels are the numbers of the parts they show."""


def read_part_truth(images: ImageSet) -> PartTruth | None:
    """The parts of the set's classes; None if its files don't tell.

    Raises:
        DataError: They tell, but not of each class, or in a form that is not known.
    """
    for name, read in _READERS.items():
        path = images.root / name
        if is_there(path):
            try:
                truth = read(images, read_json(path))
            except (FileError, ValueError, KeyError, TypeError, AttributeError) as error:
                raise DataError(f"{path} does not tell the parts of each class: {error!r}.") from error
            if truth is not None:
                return truth
    return None


def part_map(images: ClassificationImages, index: int, truth: PartTruth) -> UInt8[Tensor, "H W"]:
    """The number of the part that each pixel of an image shows, moved with it by its evaluation transform.

    Raises:
        DataError: The part map is missing or damaged, or has another size than the image.
    """
    record, geometry = images.records[index], images.geometry
    numbers = _load(truth.map_file(record), record)
    if geometry.to_box:
        numbers = numbers.crop(object_window(record, numbers.size))
    moved = evaluation_transform(geometry)(first_transform(geometry)(Mask(pil_to_tensor(numbers))))
    return moved.as_subclass(Tensor)[0]


def _load(path: Path, record: ImageRecord) -> Image.Image:
    reading = record.reading
    with (
        open_picture(path, reading, wanted="a part map") as found,
        open_picture(record.path, reading) as image,
    ):
        if found.size != image.size:
            raise DataError(
                f"{path} is not a part map that can be read: {found.size} is not the size of its image, "
                f"{image.size}."
            )
        numbers = found.upright()
        # The values of a palette image; else by the colours of FunnyBirds.
        return Image.fromarray(np.array(numbers) if numbers.mode in ("P", "L") else part_numbers(numbers))


def _synthbirds(images: ImageSet, found: Any) -> PartTruth | None:
    if not (isinstance(found, dict) and found.get("name") == "SynthBirds"):
        return None
    species = [found["species"][str(label + 1)]["parts"] for label in range(images.num_classes)]
    names = tuple(found["part_ids"])
    return PartTruth(
        names=names,
        ids=tuple(tuple(found["part_ids"][name]) for name in names),
        variants=_numbered([[json.dumps(one[name], sort_keys=True) for name in names] for one in species]),
        num_parts=len(images.part_names),
        map_file=lambda record: _beside(images.root, record, {"images": "part_masks"}),
    )


def _funnybirds(images: ImageSet, found: Any) -> PartTruth | None:
    is_known = isinstance(found, list) and all(isinstance(one, dict) and "parts" in one for one in found)
    if not (is_known and images.part_names):
        return None
    groups = merge_sides(images.part_names)
    classes = {one["class_idx"]: one["parts"] for one in found}
    parts = [classes[label] for label in range(images.num_classes)]
    kept = [place for place, name in enumerate(groups.names) if name in parts[0]]
    names = tuple(groups.names[place] for place in kept)
    folders = {"images": "part_maps", "train": "train_part_map", "test": "test_part_map"}
    return PartTruth(
        names=names,
        ids=tuple(tuple(part + 1 for part in groups.members[place]) for place in kept),
        variants=_numbered([[json.dumps(one[name]) for name in names] for one in parts]),
        num_parts=len(images.part_names),
        map_file=lambda record: _beside(images.root, record, folders),
    )


_READERS: dict[str, Callable[[ImageSet, Any], PartTruth | None]] = {
    "attributes.json": _synthbirds,
    "classes.json": _funnybirds,
}
"""File in the set's folder -> reader of its content; None where the file is of another kind."""


def _beside(root: Path, record: ImageRecord, folders: dict[str, str]) -> Path:
    """Where the part map of an image lies, by the outermost folder of its path.

    Raises:
        DataError: There are no part maps for images of that folder.
    """
    first, *rest = record.path.relative_to(root).parts
    if first not in folders:
        raise DataError(f"{record.path} has no part map: they are of images in {', '.join(folders)}.")
    return root.joinpath(folders[first], *rest).with_suffix(".png")


def _numbered(looks: Sequence[Sequence[str]]) -> Int64[np.ndarray, "c g"]:
    """Equal looks of a part become equal numbers."""
    columns = [np.unique(column, return_inverse=True)[1] for column in zip(*looks, strict=True)]
    return np.stack(columns, axis=1).astype(np.int64)
