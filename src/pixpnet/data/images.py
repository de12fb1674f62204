"""Images as the network takes them, each with its own reproducible randomness."""

from __future__ import annotations

import hashlib
import struct
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple, TypeVar

import numpy as np
import torch
from jaxtyping import Float, Int
from PIL import Image
from torch import Tensor
from torch.utils.data import Dataset

from pixpnet.data.spec import Geometry, Normalization
from pixpnet.data.transforms import (
    AnnotatedImage,
    annotate,
    evaluation_transform,
    first_transform,
    object_window,
    to_normalized,
    training_transform,
)
from pixpnet.errors import DataError
from pixpnet.types import ImageRecord

__all__ = ["ClassificationImages", "Draw", "Sample", "load_image", "seeded", "stable_seed"]

KEPT_BYTES = 256 * 2**20
"""Decoded pixels that one `ClassificationImages` keeps in memory (in each loader process)."""

_Item = TypeVar("_Item", Image.Image, AnnotatedImage)
_DAMAGE = (OSError, SyntaxError, ValueError, EOFError, struct.error, zlib.error, Image.DecompressionBombError)


class Sample(NamedTuple):
    """One image of a data set, or a batch of them."""

    image: Float[Tensor, "*b 3 H W"]
    """Normalised."""
    label: int | Int[Tensor, " b"]
    index: int | Int[Tensor, " b"]
    """Position in `ClassificationImages.records`."""


class Draw(NamedTuple):
    """What to load: a position of the data set, as it is in an epoch."""

    epoch: int
    position: int


def load_image(path: Path | str) -> Image.Image:
    """The image of a file, as 8-bit RGB.

    Grey, 16-bit and CMYK images are converted; transparent pixels are laid over white. The orientation tag of
    a camera is ignored, because boxes and part points count the pixels as they are stored.

    Raises:
        DataError: Naming the file: missing, not an image, truncated, or of a kind that has no range (float).
    """
    try:
        with Image.open(path) as image:
            image.load()
            return _to_rgb(image)
    except FileNotFoundError:
        raise DataError(f"{path} is missing; wanted an image.") from None
    except _DAMAGE as error:
        raise DataError(f"{path} is not an image that can be read: {error}.") from error


def _to_rgb(image: Image.Image) -> Image.Image:
    if image.mode == "RGB":
        return image
    if image.mode.startswith("I"):  # 16-bit grey, whatever Pillow's word for it
        values = np.asarray(image).astype(np.int64)
        return Image.fromarray((values.clip(0, 65535) / 257).round().astype(np.uint8)).convert("RGB")
    if image.mode == "F":
        raise ValueError("its pixels are floats, whose range is unknown; save it with 8 or 16 bits")
    if image.has_transparency_data:
        image = image.convert("RGBA")
        return Image.alpha_composite(Image.new("RGBA", image.size, "white"), image).convert("RGB")
    return image.convert("RGB")


def stable_seed(*parts: int | str) -> int:
    """The same seed for the same parts, on every machine and in every process.

    >>> stable_seed(42, "validation") == stable_seed(42, "validation") != stable_seed(43, "validation")
    True
    """
    digest = hashlib.blake2b(repr(parts).encode(), digest_size=7).digest()
    return int.from_bytes(digest, "little")


@contextmanager
def seeded(seed: int) -> Iterator[None]:
    """Torch's CPU randomness starts from the seed inside, and goes on as if nothing happened outside."""
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)  # torch.manual_seed would reseed the GPUs too
        yield


class ClassificationImages(Dataset[Sample]):
    """Images with their labels, augmented or not.

    With `views` = v, each image stands v times in the set, at i, i + n, i + 2n, ...; each view is augmented
    on its own. What is drawn depends on (seed, epoch, image, view) only, so neither on workers nor on order.
    """

    def __init__(
        self,
        records: tuple[ImageRecord, ...],
        *,
        geometry: Geometry,
        normalization: Normalization,
        augment: bool = False,
        seed: int = 0,
        views: int = 1,
    ) -> None:
        self.records = records
        self.geometry = geometry
        self.normalization = normalization
        self.augment = augment
        self.seed = seed
        self.views = views
        self.epoch = 0
        self._kept: dict[int, Image.Image] = {}
        self._room = KEPT_BYTES
        self._first = first_transform(geometry)
        self._last = training_transform(geometry) if augment else evaluation_transform(geometry)

    def set_epoch(self, epoch: int) -> None:
        """Let plain indexing draw the augmentations of this epoch."""
        self.epoch = epoch

    @property
    def labels(self) -> list[int]:
        """The label of every image, in the order of `records`."""
        return [record.label for record in self.records]

    def __len__(self) -> int:
        return len(self.records) * self.views

    def __getitem__(self, key: int | Draw) -> Sample:
        draw = key if isinstance(key, Draw) else Draw(self.epoch, key)
        if not 0 <= draw.position < len(self):
            raise IndexError(f"image {draw.position} of {len(self)}")
        view, index = divmod(draw.position, len(self.records))
        image = self._finish(self._prepared(index), stable_seed(self.seed, draw.epoch, index, view))
        return Sample(to_normalized(image, self.normalization), self.records[index].label, index)

    def annotated(self, index: int) -> AnnotatedImage:
        """The image before normalisation (of view 0), with its object's box and its parts moved along."""
        record = self.records[index]
        image, window = self._load(record)
        item = annotate(image, record, window=window)
        return self._finish(self._first(item), stable_seed(self.seed, self.epoch, index, 0))

    def pixels(self, index: int) -> Image.Image:
        """The image before normalisation (of view 0)."""
        return self._finish(self._prepared(index), stable_seed(self.seed, self.epoch, index, 0)).copy()

    def _prepared(self, index: int) -> Image.Image:
        """The image after the first resize, decoded once as long as there is room to keep it."""
        image = self._kept.get(index)
        if image is None:
            image = self._first(self._load(self.records[index])[0])
            size = 3 * image.width * image.height
            if size <= self._room:
                self._kept[index] = image
                self._room -= size
        return image

    def _load(self, record: ImageRecord) -> tuple[Image.Image, tuple[int, int, int, int]]:
        """The image, and the window of the file that it is."""
        image = load_image(record.path)
        if not self.geometry.to_box:
            return image, (0, 0, image.width, image.height)
        window = object_window(record, image)
        return image.crop(window), window

    def _finish(self, item: _Item, seed: int) -> _Item:
        if not self.augment:
            return self._last(item)
        with seeded(seed):
            return self._last(item)
