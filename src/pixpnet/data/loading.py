"""Batches in an order, and with pixels, that depend on the seed and the epoch only."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from functools import partial

import torch
from torch.utils.data import DataLoader, Sampler

from pixpnet.data.images import ClassificationImages, Draw, Postponed, Sample
from pixpnet.data.postponed import PostponedBatch, PostponedImages, collate, finish
from pixpnet.seeds import stable_seed

__all__ = ["EpochBatches", "EpochLoader", "free_cores", "loader", "worker_count"]


class EpochBatches(Sampler[list[Draw]]):
    """The batches of one process in one epoch.

    In training (`shuffle`) the order is drawn from (seed, epoch) and padded from its start, so that all
    processes have the same number of batches; a last batch of a single image is left out (batch norm cannot
    train on it), unless it is the only one. Otherwise the images come in order, each exactly once over all
    processes.
    """

    def __init__(
        self,
        length: int,
        *,
        batch_size: int,
        shuffle: bool,
        seed: int,
        epoch: int,
        rank: int,
        world_size: int,
    ) -> None:
        self.length = length
        self.batch_size = batch_size
        self.shuffle = shuffle
        self.seed = seed
        self.epoch = epoch
        self.rank = rank
        self.world_size = world_size

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
            order = torch.randperm(self.length, generator=generator).tolist()
        return [order[turn % self.length] for turn in range(self.rank, self._padded_length, self.world_size)]


class EpochLoader(DataLoader[Sample | Postponed]):
    """A loader of `Sample` batches that can go on to another epoch with the same worker processes."""

    batch_sampler: EpochBatches
    finish: Callable[[PostponedBatch], Sample]
    """Does what the workers have put off."""

    def __iter__(self) -> Iterator[Sample]:  # pyright: ignore[reportIncompatibleMethodOverride]
        for batch in super().__iter__():
            yield self.finish(batch) if isinstance(batch, PostponedBatch) else batch

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
    device: torch.device | str = "cpu",
) -> EpochLoader:
    """Batches of one epoch for one of `world_size` processes; see `EpochBatches` for their order.

    `workers` processes load (0: this one; None: as `worker_count` says). Order and pixels do not depend on
    their number, and torch's global random state is left alone. Images with `augment_on` "gpu" are augmented
    on the device.
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
    )
    is_postponed = images.augment and images.augment_on == "gpu"
    made = EpochLoader(
        PostponedImages(images) if is_postponed else images,
        collate_fn=collate if is_postponed else None,
        batch_sampler=batches,
        num_workers=count,
        persistent_workers=count > 0,
        pin_memory=torch.cuda.is_available(),
        generator=torch.Generator(),  # else every iteration draws from torch's global one
    )
    made.finish = partial(finish, images=images, device=torch.device(device))
    return made


def worker_count(processes: int = 1) -> int:
    """Loader processes for each of so many training processes on this machine.

    One for each free core, at most 8; none on two cores, which training needs itself.
    """
    cores = free_cores()
    return 0 if cores <= 2 else max(0, min(8, cores // processes - 1))


def free_cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
