"""The images that a run began with, so that it does not go on with others unawares."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import NamedTuple

from pixpnet.data import Splits
from pixpnet.errors import CheckpointError
from pixpnet.files import sha256_of, write_text
from pixpnet.types import PrototypeSource

_LISTED = 20
"""Images of one kind of change that are named."""


class ListedImage(NamedTuple):
    """A line of ``images.csv``."""

    split: str
    label: str
    bytes: int
    """Size of the file."""


def write_manifest(path: Path, splits: Splits) -> None:
    """Write the split, class and file size of every image that a run uses, by its id."""
    text = io.StringIO()
    rows = csv.writer(text, lineterminator="\n")
    rows.writerow(["image", *ListedImage._fields])
    rows.writerows([image_id, *listed] for image_id, listed in _listed(splits).items())
    write_text(path, text.getvalue())


def changes_since(path: Path, splits: Splits, sources: Iterable[PrototypeSource]) -> list[str]:
    """What has become of the images of a run since its list was written; nothing if all is as it was.

    Args:
        path: The list.
        splits: The images as they are now.
        sources: Images that prototypes were projected onto; of these the content counts, too.

    Raises:
        CheckpointError: The list is missing or damaged.
    """
    then, now = _read(path), _listed(splits)
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
        record.image_id: ListedImage(
            split, splits.class_names[record.label], Path(record.path).stat().st_size
        )
        for split, images in parts.items()
        for record in (images.records if images is not None else ())
    }


def _read(path: Path) -> dict[str, ListedImage]:
    try:
        with path.open(encoding="utf-8", newline="") as file:
            return {
                row["image"]: ListedImage(row["split"], row["label"], int(row["bytes"]))
                for row in csv.DictReader(file)
            }
    except FileNotFoundError:
        raise CheckpointError(f"{path} is missing: it lists the images that the run began with.") from None
    except (OSError, KeyError, TypeError, ValueError) as error:
        raise CheckpointError(f"{path} is damaged: {error!r}.") from error


def _in_words(what: str, names: list[str], now: Mapping[str, ListedImage]) -> str:
    listed = [f"{name} ({now[name].split})" if name in now else name for name in names[:_LISTED]]
    more = f" and {len(names) - _LISTED} more" if len(names) > _LISTED else ""
    return f"{len(names)} {what}: {', '.join(listed)}{more}"
