"""What probes read at each stage of a frozen backbone: the average cell and the most similar cells.

Both come from one pass over all images; the prototypes are found before, on patches of training images.
Nothing but these numbers is kept.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn import functional

from pixpnet.backbones import Backbone, TiledBackbone
from pixpnet.data import ClassificationImages, loader, turns_of
from pixpnet.goldilocks.stages import AverageReader, Stage, StageReaders
from pixpnet.modes import evaluating
from pixpnet.prototypes import PROTOTYPES_PER_CLASS, kmeans, random_keys
from pixpnet.seeds import stable_seed
from pixpnet.training import to_device, with_fitting_batch

PATCHES_PER_CLASS = 512
"""At most so many patches of a class are clustered, spread evenly over its images."""

LARGEST_SAMPLE = 2**28
"""Numbers in all patches of all stages that are kept for clustering."""

_LARGEST_TABLE = 2**24
"""Similarities that are computed at a time."""


class Prototypes(NamedTuple):
    """Directions that patches of a stage are compared with."""

    directions: Float[Tensor, "p d"]
    """Unit vectors: cluster centres of the standardised patches of each class, class by class."""
    mean: Float[Tensor, "d"]
    """The patches' mean, by channel."""
    std: Float[Tensor, "d"]


class Readings(NamedTuple):
    """What is read at one stage, for every image of a set in its order."""

    averages: Float[Tensor, "n d"]
    similarities: Float[Tensor, "n p"]
    """Cosine similarity of the cell that is most similar to each prototype."""


@torch.no_grad()
def find_prototypes(
    backbone: Backbone | TiledBackbone,
    stages: Sequence[Stage],
    images: ClassificationImages,
    *,
    num_classes: int,
    seed: int,
    batch_size: int,
    workers: int = 0,
) -> list[Prototypes]:
    """For each stage, k-means centres of each class's own patches, as `prototype-init data` starts from.

    Channels are standardised over the patches, which stands in for the add-on layers that a PixPNet learns.
    """
    wanted = LARGEST_SAMPLE // (num_classes * sum(stage.channels for stage in stages))
    wanted = max(2 * PROTOTYPES_PER_CLASS, min(PATCHES_PER_CLASS, wanted))
    positions, cells = _spread(images.labels, wanted)
    some = replace(images, records=tuple(images.records[position] for position in positions))
    tables = _read(
        backbone, stages, lambda _: PatchReader(cells, seed), some, batch_size=batch_size, workers=workers
    )
    owners = torch.tensor(some.labels)
    return [_cluster(patches, owners, num_classes=num_classes, seed=seed) for patches in tables]


@torch.no_grad()
def read_images(
    backbone: Backbone | TiledBackbone,
    stages: Sequence[Stage],
    images: ClassificationImages,
    *,
    prototypes: Sequence[Prototypes],
    batch_size: int,
    workers: int = 0,
) -> list[Readings]:
    """Averages and largest similarities at each stage, of every image in order; in eval mode and float32."""

    def reader(number: int) -> nn.Module:
        return CellReader(prototypes[number])

    tables = _read(backbone, stages, reader, images, batch_size=batch_size, workers=workers)
    return [
        Readings(table[:, : stage.channels], table[:, stage.channels :])
        for table, stage in zip(tables, stages, strict=True)
    ]


class PatchReader(nn.Module):
    """Some cells of each image, drawn by the seed: as many of every image, some twice if it has fewer."""

    def __init__(self, count: int, seed: int) -> None:
        super().__init__()
        self.count = count
        self.seed = seed
        self.images = 0
        """How many were read: images come in order."""

    def forward(self, features: Float[Tensor, "b d *grid"]) -> Float[Tensor, "b n d"]:
        cells = _cells(features)
        images = torch.arange(self.images, self.images + len(cells))
        self.images += len(cells)
        keys = random_keys(images[:, None], torch.arange(cells.shape[2])[None], seed=self.seed)
        chosen = keys.argsort(dim=1)[:, torch.arange(self.count) % cells.shape[2]].to(cells.device)
        return cells.gather(2, chosen[:, None].expand(-1, cells.shape[1], -1)).transpose(1, 2)


class CellReader(nn.Module):
    """The average over cells, then for each prototype its largest similarity to a cell."""

    def __init__(self, prototypes: Prototypes) -> None:
        super().__init__()
        self.average = AverageReader()
        for name, value in prototypes._asdict().items():
            self.register_buffer(name, value, persistent=False)

    directions: Tensor
    mean: Tensor
    std: Tensor

    def forward(self, features: Float[Tensor, "b d *grid"]) -> Float[Tensor, "b dp"]:
        cells = _cells(features)
        size = max(1, _LARGEST_TABLE // (len(self.directions) * cells.shape[2]))
        similarities = [self._similarities(some) for some in cells.split(size)]
        return torch.cat([self.average(features), torch.cat(similarities)], dim=1)

    def _similarities(self, cells: Float[Tensor, "b d n"]) -> Float[Tensor, "b p"]:
        standardised = (cells - self.mean[:, None]) / self.std[:, None]
        return (self.directions @ functional.normalize(standardised, dim=1)).amax(dim=2)


def _cells(features: Float[Tensor, "b d *grid"]) -> Float[Tensor, "b d n"]:
    """The cells of a grid; a vector is one cell."""
    return features[:, :, None] if features.dim() == 2 else features.flatten(2)


def _read(
    backbone: Backbone | TiledBackbone,
    stages: Sequence[Stage],
    reader: Callable[[int], nn.Module],
    images: ClassificationImages,
    *,
    batch_size: int,
    workers: int,
) -> list[Tensor]:
    """What a reader makes of each stage, for all images; smaller batches where memory runs out."""
    device = next(backbone.parameters()).device

    def read(batch_size: int) -> list[Tensor]:
        readers = [reader(number) for number in range(len(stages))]
        # Of tiles, features come in place of images: the one reader takes them as they are.
        network = StageReaders(backbone, stages, readers) if isinstance(backbone, Backbone) else readers[0]
        batches = loader(images, batch_size=batch_size, shuffle=False, seed=0, epoch=0, workers=workers)
        parts = []
        with evaluating(network.to(device)):
            for pixels, _, _ in to_device(batches, device):
                tables = network(pixels)
                parts.append([table.cpu() for table in (tables if isinstance(tables, tuple) else (tables,))])
        return [torch.cat(tables) for tables in zip(*parts, strict=True)]

    return with_fitting_batch(read, batch_size)


def _spread(labels: Sequence[int], wanted: int) -> tuple[list[int], int]:
    """Images, at most so many of a class, and cells of each, so that each class has about as many cells.

    >>> _spread([0, 0, 0, 1], 2)
    ([0, 1, 3], 1)
    >>> _spread([0, 0, 1], 8)
    ([0, 1, 2], 4)
    """
    turns = turns_of(labels)
    positions = [position for position, turn in enumerate(turns) if turn < wanted]
    return positions, max(1, wanted // (max(turns) + 1))


def _cluster(
    patches: Float[Tensor, "n m d"], labels: Int[Tensor, "n"], *, num_classes: int, seed: int
) -> Prototypes:
    std, mean = torch.std_mean(patches, dim=(0, 1), correction=0)
    # A channel that never changes is left out.
    std = torch.where(std > 1e-6 * (1 + mean.abs()), std, torch.inf)
    directions = functional.normalize((patches - mean) / std, dim=2)
    centres = []
    for label in range(num_classes):
        generator = torch.Generator().manual_seed(stable_seed(seed, "prototypes", label))
        own = directions[labels == label].flatten(0, 1)
        centres.append(kmeans(own, PROTOTYPES_PER_CLASS, generator=generator, spherical=True).centres)
    return Prototypes(torch.cat(centres), mean, std)
