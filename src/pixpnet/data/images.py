"""Images as the network takes them, each with its own reproducible randomness."""

from __future__ import annotations

from typing import NamedTuple, TypeVar

from jaxtyping import Float, Int, UInt8
from PIL import Image
from torch import Tensor
from torch.utils.data import Dataset
from torchvision.transforms import v2
from torchvision.transforms.v2.functional import pil_to_tensor

from pixpnet.data.augment import Augmentation, draw_augmentation
from pixpnet.data.cache import ImageCache
from pixpnet.data.decode import load_image, load_mask, load_window
from pixpnet.data.spec import Geometry, Normalization
from pixpnet.data.transforms import (
    AnnotatedImage,
    annotate,
    evaluation_transform,
    first_transform,
    to_normalized,
    training_transform,
)
from pixpnet.seeds import seeded, stable_seed
from pixpnet.types import ImageRecord

__all__ = ["ClassificationImages", "Draw", "Postponed", "Sample", "load_image"]

_Item = TypeVar("_Item", Image.Image, AnnotatedImage)


class Sample(NamedTuple):
    """One image of a data set, or a batch of them."""

    image: Float[Tensor, "*b 3 H W"]
    """Normalised."""
    label: int | Int[Tensor, " b"]
    index: int | Int[Tensor, " b"]
    """Position in `ClassificationImages.records`."""


class Postponed(NamedTuple):
    """An image of a data set and what is to be done to it."""

    image: UInt8[Tensor, "3 H W"]
    """After the first resize."""
    augmentation: Augmentation
    label: int
    index: int


class Draw(NamedTuple):
    """What to load: a position of the data set, as it is in an epoch."""

    epoch: int
    position: int


class ClassificationImages(Dataset[Sample]):
    """Images with their labels, augmented or not.

    With `views` = v, each image stands v times in the set, at i, i + n, i + 2n, ...; each view is augmented
    on its own. What is drawn depends on (seed, epoch, image, view) only, so neither on workers nor on order.
    `augment_on` tells loaders where to augment; here it is done on the CPU.
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
        augment_on: str = "cpu",
    ) -> None:
        self.records = records
        self.geometry = geometry
        self.normalization = normalization
        self.augment = augment
        self.seed = seed
        self.views = views
        self.cache = cache
        self.augment_on = augment_on
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
        index, seed = self._drawn(key)
        image = self._finish(self._prepared(index), seed)
        return Sample(to_normalized(image, self.normalization), self.records[index].label, index)

    def postponed(self, key: int | Draw) -> Postponed:
        """The same image with the same augmentation, which is drawn, but is done later, in a batch."""
        index, seed = self._drawn(key)
        image = self._prepared(index)
        assert isinstance(self._last, v2.Compose)
        with seeded(seed):
            augmentation = draw_augmentation(self._last, size=image.size)
        return Postponed(pil_to_tensor(image), augmentation, self.records[index].label, index)

    def _drawn(self, key: int | Draw) -> tuple[int, int]:
        """The image's index, and the seed of its augmentation."""
        draw = key if isinstance(key, Draw) else Draw(self.epoch, key)
        if not 0 <= draw.position < len(self):
            raise IndexError(f"image {draw.position} of {len(self)}")
        view, index = divmod(draw.position, len(self.records))
        return index, stable_seed(self.seed, draw.epoch, index, view)

    def annotated(self, index: int) -> AnnotatedImage:
        """The image before normalisation (of view 0), with its object's box and its parts moved along."""
        record = self.records[index]
        image, window = load_window(record, geometry=self.geometry)
        item = annotate(image, record, window=window, mask=load_mask(record, window=window))
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
