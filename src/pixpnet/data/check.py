"""Whether a data set is what it should be: every image read once, counted and compared."""

from __future__ import annotations

import hashlib
from collections import Counter, defaultdict
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np

from pixpnet.data.decode import load_image, load_mask
from pixpnet.data.spec import ImageSet, Progress
from pixpnet.errors import DataError
from pixpnet.types import ImageRecord

__all__ = ["DatasetCheck", "check_dataset"]


@dataclass(frozen=True)
class DatasetCheck:
    """What a look at every image of a data set found."""

    images: ImageSet
    damaged: tuple[str, ...]
    """For each image that cannot be read, or whose mask cannot be: why."""
    leaked: tuple[tuple[str, ...], ...]
    """Ids of images with the same pixels that stand in training and in test."""
    repeated: tuple[tuple[str, ...], ...]
    """Ids of images with the same pixels that stand in one of them only."""
    outside: tuple[str, ...]
    """Ids of images with a box, or a visible part, beyond the image."""

    @property
    def is_sound(self) -> bool:
        """Whether every image can be read, and none stands in both splits."""
        return not self.damaged and not self.leaked

    def class_counts(self, split: str) -> list[int]:
        """Images of each class in "train" or "test"."""
        counted = Counter(record.label for record in self._records(split))
        return [counted[label] for label in range(self.images.num_classes)]

    def part_visibility(self) -> list[tuple[str, float]]:
        """Each part's name and the share of all images in which it is visible."""
        records = (*self.images.train, *self.images.test)
        seen = np.array([record.part_visible for record in records if record.part_visible is not None])
        shares = seen.mean(axis=0) if len(seen) else np.zeros(len(self.images.part_names))
        return list(zip(self.images.part_names, shares.tolist(), strict=True))

    def lines(self) -> Iterator[str]:
        """The findings for people to read."""
        train, test = (self.class_counts(split) for split in ("train", "test"))
        yield (
            f"{self.images.name} in {self.images.root}: {self.images.num_classes} classes, "
            f"{sum(train)} training and {sum(test)} test images"
        )
        yield f"images per class: {_range(train)} for training, {_range(test)} for the test"
        empty = [name for name, count in zip(self.images.class_names, test, strict=True) if count == 0]
        if empty:
            yield f"classes without test images: {_some(empty)}"
        if self.images.part_names:
            shares = (f"{name} {100 * share:.0f} %" for name, share in self.part_visibility())
            yield f"visible parts: {', '.join(shares)}"
        yield f"images that cannot be read: {_some(self.damaged)}"
        leaked, repeated = ([" = ".join(ids) for ids in same] for same in (self.leaked, self.repeated))
        yield f"images in training and in the test: {_some(leaked)}"
        yield f"images that stand twice in one of the two: {_some(repeated)}"
        yield f"images with a box or a visible part beyond their edge: {_some(self.outside)}"

    def _records(self, split: str) -> tuple[ImageRecord, ...]:
        return {"train": self.images.train, "test": self.images.test}[split]


def check_dataset(images: ImageSet, *, threads: int = 4, progress: Progress | None = None) -> DatasetCheck:
    """Read every image of a set, and compare the pixels of all."""
    records = (*images.train, *images.test)
    damaged, outside = [], []
    same: defaultdict[bytes, list[int]] = defaultdict(list)
    with ThreadPoolExecutor(threads) as pool:
        for position, found in enumerate(pool.map(_look, records)):
            if isinstance(found, str):
                damaged.append(found)
            else:
                digest, fits = found
                same[digest].append(position)
                if not fits:
                    outside.append(records[position].image_id)
            if progress is not None:
                progress(position + 1, len(records))
    leaked, repeated = [], []
    for positions in same.values():
        if len(positions) > 1:
            crosses = positions[0] < len(images.train) <= positions[-1]
            (leaked if crosses else repeated).append(tuple(records[place].image_id for place in positions))
    return DatasetCheck(images, tuple(damaged), tuple(leaked), tuple(repeated), tuple(outside))


def _look(record: ImageRecord) -> str | tuple[bytes, bool]:
    """Why the image (or its mask) can't be read, or a digest of its pixels and whether box and parts fit."""
    try:
        image = load_image(record.path)
        load_mask(record, window=(0, 0, image.width, image.height))
    except DataError as error:
        return str(error)
    digest = hashlib.blake2b(f"{image.size}".encode() + image.tobytes(), digest_size=16).digest()
    fits = True
    if record.box is not None:
        left, top, right, bottom = record.box
        # Boxes are often drawn around the object's outermost pixels: one more is no mistake.
        fits = left >= -1 and top >= -1 and right <= image.width + 1 and bottom <= image.height + 1
    if record.part_points is not None and record.part_visible is not None:
        points = record.part_points[record.part_visible]
        fits = fits and bool(((points >= 0) & (points < image.size)).all())
    return digest, fits


def _range(counts: list[int]) -> str:
    return f"{min(counts)}" if min(counts) == max(counts) else f"{min(counts)} to {max(counts)}"


def _some(names: tuple[str, ...] | list[str], *, shown: int = 5) -> str:
    if not names:
        return "none"
    more = f"; and {len(names) - shown} more" if len(names) > shown else ""
    return f"{len(names)} ({'; '.join(names[:shown])}{more})"
