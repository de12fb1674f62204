"""Milliseconds for the receptive fields of every named layer of a backbone, in one call.

Run it as ``python benchmarks/receptive_fields.py``. Each call gets a new network, so it includes the tracing
of the network's graph; there is no forward pass.
"""

from __future__ import annotations

import statistics
import time

import torch

from pixpnet.backbones import build_model, named_layers
from pixpnet.receptive_fields import receptive_fields

SUBJECTS = ("vgg16_bn", "resnet18", "squeezenet1_1", "densenet121")
SIDE, ROUNDS = 224, 5


def milliseconds(name: str, nodes: list[str]) -> float:
    """Wall-clock time of one call."""
    model = build_model(name).eval()
    start = time.perf_counter()
    receptive_fields(model, (SIDE, SIDE), nodes)
    return 1000 * (time.perf_counter() - start)


def main() -> None:
    """Print the median time of each backbone."""
    torch.set_num_threads(1)
    print(f"{SIDE}×{SIDE} pixels, 1 thread, median of {ROUNDS} calls")
    for name in SUBJECTS:
        nodes = [named.node for named in named_layers(name)]
        times = [milliseconds(name, nodes) for _ in range(ROUNDS + 1)]
        print(f"{name}: {len(nodes)} layers in {statistics.median(times[1:]):.0f} ms")


if __name__ == "__main__":
    main()
