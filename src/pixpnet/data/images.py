"""Images as the network takes them, each with its own reproducible randomness."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from typing import NamedTuple, TypeVar

import torch
from jaxtyping import Float, Int
from PIL import Image
from torch import Tensor
from torch.utils.data import Dataset

from pixpnet.data.cache import ImageCache
from pixpnet.data.decode import load_image, load_window
from pixpnet.data.spec import Geometry, Normalization
from pixpnet.data.transforms import (
    AnnotatedImage,
    annotate,
    evaluation_transform,
    first_transform,
    to_normalized,
    training_transform,
)
from pixpnet.types import ImageRecord

__all__ = ["ClassificationImages", "Draw", "Sample", "load_image", "seeded", "stable_seed"]

_Item = TypeVar("_Item", Image.Image, AnnotatedImage)


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
        cache: ImageCache | None = None,
    ) -> None:
        self.records = records
        self.geometry = geometry
        self.normalization = normalization
        self.augment = augment
        self.seed = seed
        self.views = views
        self.cache = cache
        self.epoch = 0
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
        image, window = load_window(record, geometry=self.geometry)
        item = annotate(image, record, window=window)
        return self._finish(self._first(item), stable_seed(self.seed, self.epoch, index, 0))

    def pixels(self, index: int) -> Image.Image:
        """The image before normalisation (of view 0)."""
        return self._finish(self._prepared(index), stable_seed(self.seed, self.epoch, index, 0)).copy()

    def _prepared(self, index: int) -> Image.Image:
        """The image after the first resize, from the cache if it is there."""
        record = self.records[index]
        image = None if self.cache is None else self.cache.get(record)
        if image is None:
            image = self._first(load_window(record, geometry=self.geometry)[0])
            if self.cache is not None:
                self.cache.put(record, image)
        return image

    def _finish(self, item: _Item, seed: int) -> _Item:
        if not self.augment:
            return self._last(item)
        with seeded(seed):
            return self._last(item)
