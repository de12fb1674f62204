"""Training images whose augmentation is drawn by the loaders and done in batches, on the run's device."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from jaxtyping import Int, UInt8
from torch import Tensor
from torch.utils.data import Dataset

from pixpnet.data.augment import Augmentation, augment
from pixpnet.data.images import ClassificationImages, Draw, Postponed, Sample

__all__ = ["PostponedBatch", "PostponedImages", "collate", "finish"]


class PostponedImages(Dataset[Postponed]):
    """Images with their augmentations drawn, but not done."""

    def __init__(self, images: ClassificationImages) -> None:
        self.images = images

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, key: Draw) -> Postponed:
        return self.images.postponed(key)


class PostponedBatch(NamedTuple):
    """Images of any size, each in the top-left corner of its part of a batch."""

    images: UInt8[Tensor, "b 3 H W"]
    sizes: Int[Tensor, "b 2"]
    """(width, height) of each."""
    augmentation: Augmentation
    labels: Int[Tensor, " b"]
    indices: Int[Tensor, " b"]


def collate(samples: Sequence[Postponed]) -> PostponedBatch:
    """One batch of images."""
    sizes = torch.tensor([(sample.image.shape[2], sample.image.shape[1]) for sample in samples])
    width, height = sizes.amax(dim=0).tolist()
    images = torch.zeros(len(samples), 3, height, width, dtype=torch.uint8)
    for place, sample in zip(images, samples, strict=True):
        place[:, : sample.image.shape[1], : sample.image.shape[2]] = sample.image
    return PostponedBatch(
        images,
        sizes,
        Augmentation(*map(torch.stack, zip(*(sample.augmentation for sample in samples), strict=True))),
        torch.tensor([sample.label for sample in samples]),
        torch.tensor([sample.index for sample in samples]),
    )


def finish(batch: PostponedBatch, *, images: ClassificationImages, device: torch.device) -> Sample:
    """Augment and normalise a batch of images on a device."""
    pixels = augment(
        batch.images.to(device, non_blocking=True),
        batch.augmentation,
        sizes=batch.sizes,
        geometry=images.geometry,
    )
    mean, std = (
        torch.tensor(values, device=device)[:, None, None]
        for values in (images.normalization.mean, images.normalization.std)
    )
    return Sample(pixels.div_(255).sub_(mean).div_(std), batch.labels, batch.indices)
