"""Images a second of each way from files to batches, and the share of a training step spent waiting for them.

Run it as ``python benchmarks/input_pipeline.py`` (two minutes on two cores). The ways are measured in turn,
round after round, and the medians printed. Waiting: what a training epoch of a cut resnet18 takes longer than
its steps, as a share of the epoch.
"""

from __future__ import annotations

import argparse
import itertools
import os
import statistics
import tempfile
import time
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageFilter
from torch import nn

from pixpnet.backbones import build_backbone
from pixpnet.config import DatasetConfig
from pixpnet.data import EpochLoader, loader, open_splits

CACHES = ("none", "ram", "disk")
WORKERS = (0, 1)
BATCH = 16
SETS = {
    "128 px from 128 × 128 PNG": (128, 128, "png", 128),
    "224 px from 500 × 375 JPEG": (500, 375, "jpg", 224),
}


def write_images(root: Path, *, width: int, height: int, suffix: str, count: int) -> None:
    """A tree of images of two classes, as detailed as photographs."""
    rng = np.random.default_rng(0)
    for split, label in itertools.product(("train", "test"), ("one", "two")):
        folder = root / split / label
        folder.mkdir(parents=True)
        for number in range(count // 2 if split == "train" else 1):
            coarse = rng.integers(0, 256, (height // 8, width // 8, 3), np.uint8)
            image = Image.fromarray(coarse).resize((width, height)).filter(ImageFilter.DETAIL)
            image.save(folder / f"{number}.{suffix}")


def epoch(batches: EpochLoader, network: nn.Module | None, *, number: int) -> tuple[float, float]:
    """Images a second of an epoch, and the share of it that was spent waiting for batches."""
    batches.set_epoch(number)
    start, waited, images = time.perf_counter(), 0.0, 0
    iterator = iter(batches)
    while True:
        asked = time.perf_counter()
        batch = next(iterator, None)
        waited += time.perf_counter() - asked
        if batch is None:
            break
        images += len(batch.image)
        if network is not None:
            network(batch.image.contiguous(memory_format=torch.channels_last)).mean().backward()
    seconds = time.perf_counter() - start
    return images / seconds, waited / seconds


def measure(root: Path, *, size: int, rounds: int) -> None:
    """Print the table of one set."""
    ways: dict[tuple[str, int], EpochLoader] = {}
    for cache, workers in itertools.product(CACHES, WORKERS):
        config = DatasetConfig(name="FOLDER", root=str(root), val_size=0.0, size=size, cache=cache)
        train = open_splits(config, seed=0).train
        ways[cache, workers] = loader(train, batch_size=BATCH, shuffle=True, seed=0, epoch=0, workers=workers)
    backbone = build_backbone("resnet18", layer="layer2", pretrained=False)
    backbone = backbone.to(memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue]
    alone: dict[tuple[str, int], list[float]] = {way: [] for way in ways}
    waiting: dict[tuple[str, int], list[float]] = {way: [] for way in ways}
    for number in range(rounds + 1):
        for way, batches in ways.items():
            rate, _ = epoch(batches, None, number=number)
            _, share = epoch(batches, backbone, number=number)
            if number > 0:  # the first round fills the caches and starts the workers
                alone[way].append(rate)
                waiting[way].append(share)
    print("cache  workers  images/s  waiting")
    for way in ways:
        cache, workers = way
        rate, share = statistics.median(alone[way]), statistics.median(waiting[way])
        print(f"{cache:5}  {workers:7}  {rate:8.0f}  {share:7.1%}")


def main() -> None:
    """Print images a second and the share of waiting for each cache and number of workers."""
    parser = argparse.ArgumentParser(description="Measure the input pipeline.")
    parser.add_argument("--images", type=int, default=64, help="training images of each set")
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    torch.set_num_threads(1)
    print(
        f"batches of {BATCH}, one thread, {len(os.sched_getaffinity(0))} cores, median of {options.rounds} "
        "epochs; waiting: of a training step of resnet18/layer2"
    )
    with tempfile.TemporaryDirectory() as folder:
        os.environ["PIXPNET_CACHE"] = str(Path(folder) / "cache")
        for place, (title, (width, height, suffix, size)) in enumerate(SETS.items()):
            root = Path(folder) / str(place)
            write_images(root, width=width, height=height, suffix=suffix, count=options.images)
            print(f"\n{title}")
            measure(root, size=size, rounds=options.rounds)


if __name__ == "__main__":
    main()
