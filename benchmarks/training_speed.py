"""Images a second in training of cut backbones on the CPU, channels-last beside contiguous, interleaved.

Run it as ``python benchmarks/training_speed.py``.
"""

from __future__ import annotations

import statistics
import time

import torch
from torch import nn

from pixpnet.backbones import build_backbone

BACKBONES = (("small_resnet", "layer3"), ("resnet18", "layer2.0"))
FORMATS = {"contiguous": torch.contiguous_format, "channels-last": torch.channels_last}
BATCH, SIDE, ROUNDS = 32, 128, 9


def step(backbone: nn.Module, optimizer: torch.optim.Optimizer, images: torch.Tensor) -> float:
    """Seconds of one forward and backward pass and one step of the optimizer."""
    start = time.perf_counter()
    optimizer.zero_grad()
    backbone(images).mean().backward()
    optimizer.step()
    return time.perf_counter() - start


def main() -> None:
    """Print the median images a second of each backbone and memory format."""
    print(f"batch {BATCH}, {SIDE}×{SIDE}, {torch.get_num_threads()} threads, median of {ROUNDS} steps")
    for name, layer in BACKBONES:
        subjects = {}
        for label, memory_format in FORMATS.items():
            backbone = build_backbone(name, layer=layer, pretrained=False).train()
            backbone = backbone.to(memory_format=memory_format)  # pyright: ignore[reportCallIssue]
            images = torch.randn(BATCH, 3, SIDE, SIDE).contiguous(memory_format=memory_format)
            subjects[label] = (backbone, torch.optim.AdamW(backbone.parameters()), images)
        times: dict[str, list[float]] = {label: [] for label in FORMATS}
        for _ in range(ROUNDS + 1):
            for label, subject in subjects.items():
                times[label].append(step(*subject))
        for label, seconds in times.items():
            print(f"{name}/{layer}, {label}: {BATCH / statistics.median(seconds[1:]):.0f} images/s")


if __name__ == "__main__":
    main()
