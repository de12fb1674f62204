"""Images as the network takes them, and batches of them; pixels and order depend on seed and epoch only."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator
from dataclasses import KW_ONLY, dataclass
from typing import NamedTuple, TypeVar

import torch
from jaxtyping import Bool, Float, Int
from PIL import Image
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Sampler, WeightedRandomSampler

from pixpnet.data.cache import ImageCache
from pixpnet.data.masks import load_mask
from pixpnet.data.spec import Geometry
from pixpnet.data.transforms import (
    AnnotatedImage,
    annotate,
    evaluation_transform,
    first_transform,
    load_window,
    to_normalized,
    training_transform,
)
from pixpnet.metrics import box_mask
from pixpnet.seeds import seeded, stable_seed
from pixpnet.types import Box, ImageRecord, Normalization
from pixpnet.workers import stand_apart

_Item = TypeVar("_Item", Image.Image, AnnotatedImage)


class Sample(NamedTuple):
    """One image of a data set, or a batch of them."""

    image: Float[Tensor, "*b _ H W"]
    """Normalised; where a backbone is frozen, its features (`FeatureImages`)."""
    label: int | Int[Tensor, " b"]
    index: int | Int[Tensor, " b"]
    """Position in `ClassificationImages.records`."""


class Draw(NamedTuple):
    """What to load: a position of the data set, as it is in an epoch."""

    epoch: int
    position: int


@dataclass(eq=False, repr=False)
class ClassificationImages(Dataset[Sample]):
    """Images with their labels, augmented or not.

    With `views` = v, each image stands v times in the set, at i, i + n, i + 2n, ...; each view is augmented
    on its own. What is drawn depends on (seed, epoch, image, view) only, so neither on workers nor on order.
    """

    records: tuple[ImageRecord, ...]
    _: KW_ONLY
    geometry: Geometry
    normalization: Normalization
    augment: bool = False
    seed: int = 0
    views: int = 1
    cache: ImageCache | None = None
    epoch: int = 0
    """Whose augmentations plain indexing draws."""

    def __post_init__(self) -> None:
        self._first = first_transform(self.geometry)
        self._last = (training_transform if self.augment else evaluation_transform)(self.geometry)

    @property
    def labels(self) -> list[int]:
        """The label of every image, in the order of `records`."""
        return [record.label for record in self.records]

    def __len__(self) -> int:
        return len(self.records) * self.views

    def __getitem__(self, key: int | Draw) -> Sample:
        epoch, position = key if isinstance(key, Draw) else (self.epoch, key)
        if not 0 <= position < len(self):
            raise IndexError(f"image {position} of {len(self)}")
        view, index = divmod(position, len(self.records))
        image = self._finish(self._prepared(index), stable_seed(self.seed, epoch, index, view))
        return Sample(to_normalized(image, self.normalization), self.records[index].label, index)

    def annotated(self, index: int) -> AnnotatedImage:
        """The image before normalisation (of view 0), with its object's box and its parts moved along."""
        record = self.records[index]
        image, window = load_window(record, geometry=self.geometry)
        item = annotate(image, record, window=window, mask=load_mask(record, window=window))
        return self._finish(self._first(item), stable_seed(self.seed, self.epoch, index, 0))

    def pixels_of_object(self, index: int) -> Bool[Tensor, "H W"] | None:
        """The pixels of the object in an image: those of its mask, else of its box.

        None where neither is there, where what the network sees of it shows no object, and where a box holds
        all that the network sees: what is object inside of it, no box tells.
        """
        item = self.annotated(index)
        if item.mask is not None:
            pixels = item.mask.as_subclass(Tensor)[0] > 0
        elif item.box is not None:
            box = Box(*item.box.as_subclass(Tensor)[0].tolist())
            pixels = box_mask(box, image_size=(item.image.height, item.image.width))
            if pixels.all():
                return None
        else:
            return None
        return pixels if pixels.any() else None

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


@dataclass(eq=False, repr=False)
class EpochBatches(Sampler[list[Draw]]):
    """The batches of one process in one epoch of so many images.

    In training (`shuffle`) the order is drawn from (seed, epoch) and padded from its start, so that all
    processes have the same number of batches; a last batch of a single image is left out (batch norm cannot
    train on it), unless it is the only one. With `weights` as many images are drawn by these odds, some of
    them several times. Otherwise the images come in order, each exactly once over all processes.
    """

    length: int
    _: KW_ONLY
    batch_size: int
    shuffle: bool
    seed: int
    epoch: int
    rank: int
    world_size: int
    weights: list[float] | None = None

    def __iter__(self) -> Iterator[list[Draw]]:
        positions = self._positions()
        for batch in range(len(self)):
            start = batch * self.batch_size
            yield [Draw(self.epoch, position) for position in positions[start : start + self.batch_size]]

    def __len__(self) -> int:
        size = len(range(self.rank, self._padded_length, self.world_size))
        batches, rest = divmod(size, self.batch_size)
        is_lonely = self.shuffle and rest == 1 and batches > 0
        return batches + (rest > 0 and not is_lonely)

    @property
    def _padded_length(self) -> int:
        missing = -self.length % self.world_size if self.shuffle else 0
        return self.length + missing

    def _positions(self) -> list[int]:
        order = list(range(self.length))
        if self.shuffle:
            generator = torch.Generator().manual_seed(stable_seed(self.seed, self.epoch, "order"))
            if self.weights is None:
                order = torch.randperm(self.length, generator=generator).tolist()
            else:
                order = [*WeightedRandomSampler(self.weights, self.length, generator=generator)]
        return [order[turn % self.length] for turn in range(self.rank, self._padded_length, self.world_size)]


class EpochLoader(DataLoader[Sample]):
    """A loader of `Sample` batches that can go on to another epoch with the same worker processes."""

    batch_sampler: EpochBatches

    def set_epoch(self, epoch: int) -> None:
        """Let the next iteration be that epoch."""
        self.batch_sampler.epoch = epoch


def loader(
    images: ClassificationImages,
    *,
    batch_size: int,
    shuffle: bool,
    seed: int,
    epoch: int,
    rank: int = 0,
    world_size: int = 1,
    workers: int | None = 0,
    balanced: bool = False,
) -> EpochLoader:
    """Batches of one epoch for one of `world_size` processes; see `EpochBatches` for their order.

    With `balanced` (in training) every class is drawn as often as any other, but for chance.
    `workers` processes load (0: this one; None: as `worker_count` says). Order and pixels do not depend on
    their number, and torch's global random state is left alone.
    """
    count = worker_count(world_size) if workers is None else workers
    batches = EpochBatches(
        len(images),
        batch_size=batch_size,
        shuffle=shuffle,
        seed=seed,
        epoch=epoch,
        rank=rank,
        world_size=world_size,
        weights=_equal_odds(images) if balanced else None,
    )
    return EpochLoader(
        images,
        batch_sampler=batches,
        num_workers=count,
        worker_init_fn=stand_apart,
        persistent_workers=count > 0,
        pin_memory=torch.cuda.is_available(),
        generator=torch.Generator(),  # else every iteration draws from torch's global one
    )


def _equal_odds(images: ClassificationImages) -> list[float]:
    """The odds of every position (view of an image) by which all classes are drawn equally often."""
    counts = Counter(images.labels)
    return [1 / counts[label] for label in images.labels] * images.views


def worker_count(processes: int = 1) -> int:
    """Loader processes for each of so many training processes on this machine.

    One for each free core, at most 8; none on two cores, which training needs itself.
    """
    cores = free_cores()
    return 0 if cores <= 2 else max(0, min(8, cores // processes - 1))


def free_cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
