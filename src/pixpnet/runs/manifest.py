"""The images that a run began with, so that it does not go on with others unawares."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import NamedTuple

from pixpnet.data import Splits
from pixpnet.errors import CheckpointError, DataError
from pixpnet.files import read_mapping, sha256_of, write_text
from pixpnet.records import checked
from pixpnet.types import PrototypeSource

_LISTED = 20
"""Images of one kind of change that are named."""


class ListedImage(NamedTuple):
    """What is known of an image, as a list in the file."""

    split: str
    label: str
    bytes: int
    """Size of the file."""


def write_manifest(path: Path, splits: Splits) -> None:
    """Write the split, class and file size of every image that a run uses, by its id."""
    write_text(path, json.dumps(_listed(splits), indent=0) + "\n")  # in ASCII, as names may be no UTF-8


def read_manifest(path: Path) -> dict[str, ListedImage]:
    """What was written, by the images' ids.

    Raises:
        CheckpointError: An image is described otherwise.
        FileError: The file can't be read.
    """
    try:
        return checked(dict[str, ListedImage], read_mapping(path))
    except ValueError as error:
        raise CheckpointError(f"{path} is damaged: {error}.") from error


def changes_since(path: Path, splits: Splits, sources: Iterable[PrototypeSource]) -> list[str]:
    """What has become of the images of a run since its list was written; nothing if all is as it was.

    Args:
        path: The list.
        splits: The images as they are now.
        sources: Images that prototypes were projected onto; of these the content counts, too.

    Raises:
        CheckpointError: An image of the list is described otherwise.
        FileError: The list can't be read.
        DataError: An image is missing.
    """
    then, now = read_manifest(path), _listed(splits)
    both = [image_id for image_id in then if image_id in now]
    paths = {record.image_id: record.path for record in splits.projection.records}
    shas = {source.image_id: source.sha256 for source in sources if source.image_id in paths}
    changed = {image_id for image_id in both if then[image_id].bytes != now[image_id].bytes}
    changed |= {image_id for image_id, sha256 in shas.items() if sha256_of(paths[image_id]) != sha256}
    found = {
        "added": [image_id for image_id in now if image_id not in then],
        "gone": [image_id for image_id in then if image_id not in now],
        "changed": sorted(changed),
        "of another class": [name for name in both if then[name].label != now[name].label],
        "of another split": [name for name in both if then[name].split != now[name].split],
    }
    return [_in_words(what, names, now) for what, names in found.items() if names]


def _listed(splits: Splits) -> dict[str, ListedImage]:
    parts = {"train": splits.train, "val": splits.validation, "test": splits.test}
    return {
        record.image_id: ListedImage(split, splits.class_names[record.label], _size(record.path))
        for split, images in parts.items()
        for record in (images.records if images is not None else ())
    }


def _size(image: Path) -> int:
    try:
        return image.stat().st_size
    except OSError as error:
        raise DataError(f"{image} is missing; wanted an image ({error.strerror}).") from error


def _in_words(what: str, names: list[str], now: Mapping[str, ListedImage]) -> str:
    listed = [f"{name} ({now[name].split})" if name in now else name for name in names[:_LISTED]]
    more = f" and {len(names) - _LISTED} more" if len(names) > _LISTED else ""
    return f"{len(names)} {what}: {', '.join(listed)}{more}"
