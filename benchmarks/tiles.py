"""Images a second of a tiled backbone against its whole network, and against what its tiles' pixels cost.

Run it as ``python benchmarks/tiles.py`` (two minutes on two cores), with ``--allocator`` once more. The ways
are measured in turn, round after round, and the medians of the processor's time printed. Expected: the whole
network's images a second, divided by n · (input / 224)², for n tiles of that input.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable

import torch
from torch import Tensor

from pixpnet import keep_freed_memory
from pixpnet.backbones import build_tiled

SETTINGS = {(80, 36, 128): 25, (56, 28, 96): 49, (112, 37, 128): 16}
"""Tile, stride and input -> number of tiles."""

SIDE = 224


def seconds_an_image(network: Callable[[Tensor], Tensor], images: Tensor) -> float:
    """Of the processor, so that what else runs on the machine counts less."""
    start = time.process_time()
    network(images)
    return (time.process_time() - start) / len(images)


@torch.inference_mode()
def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--backbone", default="timm/tf_efficientnet_lite0")
    parser.add_argument("--images", type=int, default=8)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--allocator", action="store_true", help="let glibc keep the memory that torch frees")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    if options.allocator:
        assert keep_freed_memory({})
    images = torch.randn(options.images, 3, SIDE, SIDE).to(memory_format=torch.channels_last)
    networks = {
        setting: build_tiled(
            options.backbone, tile=setting[0], tile_stride=setting[1], tile_input=setting[2], pretrained=False
        )
        .eval()
        .to(memory_format=torch.channels_last)
        for setting in SETTINGS
    }
    ways: dict[tuple[int, ...], Callable[[Tensor], Tensor]] = {
        (): build_tiled(options.backbone, tile=SIDE, pretrained=False).network.eval(),
        **networks,
    }
    times: dict[tuple[int, ...], list[float]] = {way: [] for way in ways}
    for number in range(options.rounds + 1):
        for way, network in ways.items():
            seconds = seconds_an_image(network, images)
            if number:  # the first round warms up
                times[way].append(seconds)
    whole = statistics.median(times[()])
    print(f"{options.backbone}, whole: {1 / whole:.1f} images a second of processor time")
    for setting, count in SETTINGS.items():
        tile, stride, side = setting
        seconds = statistics.median(times[setting])
        expected = whole * count * (side / SIDE) ** 2
        print(
            f"{count} tiles of {tile}, {stride} apart, at {side}: {1 / seconds:.2f} images a second, "
            f"expected {1 / expected:.2f}, {seconds / expected:.2f} × its time"
        )


if __name__ == "__main__":
    main()
