"""A look at a data set: every image read once, counted and compared.

Pictures that are almost alike, though not pixel by pixel (saved again, resized, or cropped a little), are
found by a perceptual hash (Zauner 2010, Implementation and Benchmarking of Perceptual Image Hash Functions):
which of the 255 lowest frequencies of the grey 64 x 64 pixels are above their median. Copies that were saved
again with JPEG's quality 60 differ in at most 10 of the 255 bits, halved ones in 18 (3,949 pictures of
CUB-200-2011 and FunnyBirds). Of 1,500 training and 1,449 test photographs of CUB-200-2011 two pairs differ in
36 and 42, and both are the same photographs; the next one differs in 66, as does the first of SynthBirds.
`_MOST_BITS` is between. Frames of one film and drawings before one backdrop (FunnyBirds) may be below it,
too, so a person has to look.
"""

from __future__ import annotations

import hashlib
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from jaxtyping import Float32, UInt8
from PIL import Image
from scipy.fft import dctn

from pixpnet.data.decode import FORMATS, read_picture
from pixpnet.data.listing import left_out_in_words
from pixpnet.data.masks import load_mask, mask_fault
from pixpnet.data.opened import TAGGED
from pixpnet.data.spec import ImageSet
from pixpnet.errors import DataError
from pixpnet.types import ImageRecord, Progress, no_progress

_SHOWN = 5
"""Names of what was found that are shown."""
_CLASSES = 20
"""Classes whose numbers of images are shown."""
_UNEVEN = 5
"""How many times as many training images the largest class has as the smallest, where that is told."""
_NOTES = {
    TAGGED: "boxes, parts and masks belong to the upright picture; dataset.orientation ignore leaves all "
    "pictures as they are stored",
    "bits": "dataset.bits tells of how many bits all are",
}
"""What a person can do about a note that has this in it."""
_MOST_BITS = 44
"""Bits of 255 that pictures that are almost alike differ in."""
_MOST_COLOUR = 24.0
"""Steps of 255 that their 16 x 16 pixels differ by, on average: other colours make another picture."""
_LEAST_CONTRAST = 2.0
"""Standard deviation of grey, in steps of 255, below which a picture shows nothing to compare."""
_BLOCK = 4096


class Trouble(NamedTuple):
    """One thing that was looked for."""

    what: str
    found: Sequence[str]
    advice: str
    """What a person can do about it."""


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
    contradictory: tuple[tuple[str, ...], ...]
    """Ids of images with the same pixels that stand in two classes."""
    alike: tuple[tuple[ImageRecord, ImageRecord, int], ...]
    """Training and test images that are almost alike, and in how many bits their hashes differ."""
    outside: tuple[str, ...]
    """Ids of images with a box, or a visible part, beyond the image."""
    mask_faults: tuple[str, ...]
    """For each mask that shows no object, or perhaps another one: why."""
    notes: Mapping[str, tuple[str, ...]]
    """What there is to say of how pictures were read -> their ids."""

    @property
    def is_sound(self) -> bool:
        """Whether a network can be trained on the set, and what the test says can be believed."""
        return not self.faults()

    def faults(self) -> list[str]:
        """What must be mended before a training."""
        counts = {
            "damaged images": len(self.damaged),
            "in training and in the test": len(self.leaked),
            "of the same pixels in two classes": len(self.contradictory),
        }
        found = []
        if any(counts.values()):
            found.append(", ".join(f"{count} {what}" for what, count in counts.items()))
        return [*found, *filter(None, [self.images.fault()])]

    def _file(self, record: ImageRecord) -> str:
        """Where the image lies in the set."""
        return record.path.relative_to(self.images.root).as_posix()

    def class_counts(self, split: str) -> list[int]:
        """Images of each class in "train" or "test"."""
        records = {"train": self.images.train, "test": self.images.test}[split]
        counted = Counter(record.label for record in records)
        return [counted[label] for label in range(self.images.num_classes)]

    def part_visibility(self) -> list[tuple[str, float]]:
        """Each part's name and the share of all images in which it is visible."""
        records = (*self.images.train, *self.images.test)
        seen = np.array([record.part_visible for record in records if record.part_visible is not None])
        shares = seen.mean(axis=0) if len(seen) else np.zeros(len(self.images.part_names))
        return list(zip(self.images.part_names, shares.tolist(), strict=True))

    def findings(self) -> Iterator[Trouble]:
        """All that was looked for, whether it was found or not."""
        leaked, repeated, contradictory = (
            [" = ".join(ids) for ids in same] for same in (self.leaked, self.repeated, self.contradictory)
        )
        yield Trouble(
            "images that cannot be read",
            self.damaged,
            "mend or delete them, or train with dataset.on-unreadable skip",
        )
        yield Trouble(
            "images in training and in the test", leaked, "delete one of each: they flatter the test"
        )
        yield Trouble(
            "images that stand twice in one of the two", repeated, "they count twice; delete one of each"
        )
        yield Trouble(
            "images of the same pixels in two classes", contradictory, "one of the classes is wrong"
        )
        yield Trouble(
            "images almost alike in training and in the test",
            [f"{self._file(one)} ~ {self._file(other)}" for one, other, _ in self.alike],
            "look at their sheet: where both show the same, delete one",
        )
        yield Trouble(
            "images with a box or a visible part beyond their edge",
            self.outside,
            "mend the table: boxes and points count the pixels of the upright picture",
        )
        yield Trouble(
            "masks to look at (dataset.mask-label)",
            self.mask_faults,
            "a mask shows its object in white, or in the number that dataset.mask-label gives",
        )
        sides = ({record.group for record in records} for records in (self.images.train, self.images.test))
        divided = sorted(group for group in set.intersection(*sides) if group is not None)
        yield Trouble(
            "groups in training and in the test", divided, "what is split there is not new to the network"
        )
        for note, ids in self.notes.items():
            advice = next((advice for part, advice in _NOTES.items() if part in note), "")
            yield Trouble(f"images with {note}", ids, advice)

    def lines(self) -> Iterator[str]:
        """The findings for people to read."""
        train, test = (self.class_counts(split) for split in ("train", "test"))
        yield (
            f"{self.images.name} in {self.images.root}: {self.images.num_classes} classes, "
            f"{sum(train)} training and {sum(test)} test images"
        )
        yield f"images per class: {_range(train)} for training, {_range(test)} for the test"
        if len(set(train)) > 1 or len(set(test)) > 1:
            counted = sorted(zip(train, test, self.images.class_names, strict=True))
            shown = counted if len(counted) <= _CLASSES else [*counted[:_SHOWN], *counted[-_SHOWN:]]
            yield "  training  test  class" + ("" if shown is counted else ", the smallest and the largest")
            yield from (f"  {training:8}  {tested:4}  {name}" for training, tested, name in shown)
        if max(train) >= _UNEVEN * max(1, min(train)):
            most, least = (self.images.class_names[train.index(end(train))] for end in (max, min))
            yield (
                f"uneven classes: {most} has {max(train)} training images, {least} {min(train)}; accuracy "
                "says little of the small ones (test_weighted_accuracy counts classes alike)"
            )
        empty = [name for name, count in zip(self.images.class_names, test, strict=True) if count == 0]
        if empty:
            yield f"classes without test images: {_some(empty)}"
        if self.images.part_names:
            shares = (f"{name} {100 * share:.0f} %" for name, share in self.part_visibility())
            yield f"visible parts: {', '.join(shares)}"
        if small := self.images.small_classes:
            named = [f"{name}: {count}" for name, count in small.items()]
            yield f"classes left out, with so few images: {_some(named)}"
        if self.images.left_out:
            yield f"files left out: {left_out_in_words(self.images.left_out)}"
            if any(kind.startswith((".", "without a suffix")) for kind in self.images.left_out):
                yield f"  -> read are {', '.join(FORMATS)}; convert what should be among the images"
        for finding in self.findings():
            always = finding.what.startswith("images")
            if finding.found or always:
                yield f"{finding.what}: {_some(finding.found)}"
            if finding.found and finding.advice:
                yield f"  -> {finding.advice}"


def check_dataset(images: ImageSet, *, threads: int = 4, progress: Progress = no_progress) -> DatasetCheck:
    """Read every image of a set, and compare the pixels of all."""
    records = (*images.train, *images.test)
    damaged, outside, mask_faults = [], [], []
    notes: defaultdict[str, list[str]] = defaultdict(list)
    same: defaultdict[bytes, list[int]] = defaultdict(list)
    prints: dict[int, _PerceptualHash] = {}
    with ThreadPoolExecutor(threads) as pool:
        for position, found in enumerate(pool.map(_look, records)):
            if isinstance(found, str):
                damaged.append(found)
            else:
                same[found.digest].append(position)
                prints[position] = found.perceptual_hash
                if not found.fits:
                    outside.append(records[position].image_id)
                if found.mask_fault is not None:
                    mask_faults.append(found.mask_fault)
                for note in found.notes:
                    notes[note].append(records[position].image_id)
            progress(position + 1, len(records))
    leaked, repeated, contradictory = [], [], []
    for positions in same.values():
        ids = tuple(records[place].image_id for place in positions)
        if len(positions) > 1:
            crosses = positions[0] < len(images.train) <= positions[-1]
            (leaked if crosses else repeated).append(ids)
            if len({records[place].label for place in positions}) > 1:
                contradictory.append(ids)
    digests = {place: digest for digest, positions in same.items() for place in positions}
    return DatasetCheck(
        images,
        damaged=tuple(damaged),
        leaked=tuple(leaked),
        repeated=tuple(repeated),
        contradictory=tuple(contradictory),
        alike=tuple(
            (records[train], records[test], bits)
            for train, test, bits in _almost_alike(prints, len(images.train))
            if digests[train] != digests[test]
        ),
        outside=tuple(outside),
        mask_faults=tuple(mask_faults),
        notes={note: tuple(ids) for note, ids in notes.items()},
    )


class _PerceptualHash(NamedTuple):
    """What is kept of a picture to compare it."""

    signs: Float32[np.ndarray, "255"]
    """1 where a frequency is above the median, else -1; zeros where the picture is flat."""
    colours: UInt8[np.ndarray, "16 16 3"]


def _perceptual_hash(image: Image.Image) -> _PerceptualHash:
    """The hash of a picture of 8-bit RGB, and its coarse colours."""
    grey = np.asarray(image.convert("L").resize((64, 64), Image.Resampling.BOX), dtype=np.float64)
    low = np.asarray(dctn(grey, norm="ortho"))[:16, :16].ravel()[1:]
    signs = np.where(low > np.median(low), 1, -1) if grey.std() >= _LEAST_CONTRAST else np.zeros(255)
    colours = np.asarray(image.resize((16, 16), Image.Resampling.BOX))
    return _PerceptualHash(signs.astype(np.float32), colours)


def _almost_alike(prints: Mapping[int, _PerceptualHash], split: int) -> list[tuple[int, int, int]]:
    """For each position from `split` on the one before it that is most alike, if it is almost.

    Both, and in how many bits they differ; the most alike first.
    """
    train, test = ([place for place in prints if (place < split) == is_train] for is_train in (True, False))
    if not train or not test:
        return []
    theirs = np.stack([prints[place].signs for place in test])
    nearest, bits = np.zeros(len(test), dtype=int), np.full(len(test), np.inf)
    for start in range(0, len(train), _BLOCK):
        block = np.stack([prints[place].signs for place in train[start : start + _BLOCK]])
        # A flat picture's zeros make half of all bits differ.
        differing = (theirs.shape[1] - theirs @ block.T) / 2
        best = differing.argmin(axis=1)
        fewest = differing[np.arange(len(test)), best]
        nearest = np.where(fewest < bits, start + best, nearest)
        bits = np.minimum(fewest, bits)
    pairs = zip(nearest.tolist(), test, bits.tolist(), strict=True)
    found = [
        (train[one], other, int(differing)) for one, other, differing in pairs if differing <= _MOST_BITS
    ]
    return sorted(
        (pair for pair in found if _colours_differ(prints[pair[0]], prints[pair[1]]) <= _MOST_COLOUR),
        key=lambda pair: (pair[2], pair[1]),
    )


def _colours_differ(one: _PerceptualHash, other: _PerceptualHash) -> float:
    return float(np.abs(one.colours.astype(int) - other.colours.astype(int)).mean())


class _Look(NamedTuple):
    """What there is to know of one image."""

    digest: bytes
    perceptual_hash: _PerceptualHash
    fits: bool
    """Whether its box and its parts lie in it."""
    mask_fault: str | None
    notes: tuple[str, ...]


def _look(record: ImageRecord) -> str | _Look:
    """What there is to know of an image, or why it (or its mask) can't be read."""
    try:
        image, notes, doubts = read_picture(record.path, record.reading)
        load_mask(record, window=(0, 0, image.width, image.height))
        fault = mask_fault(record)
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
    return _Look(digest, _perceptual_hash(image), fits, fault, (*notes, *doubts))


def _range(counts: list[int]) -> str:
    return f"{min(counts)}" if min(counts) == max(counts) else f"{min(counts)} to {max(counts)}"


def _some(names: Sequence[str]) -> str:
    if not names:
        return "none"
    more = f"; and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return f"{len(names)} ({'; '.join(names[:_SHOWN])}{more})"
