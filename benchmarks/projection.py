"""Time and memory of projection's pass beside a plain restatement that keeps every distance.

Features are random, so this measures the search and the lists, not a backbone. Both end with an exact
assignment per class on the best patch of each image (duplicate filter `sample`); their total distances are
compared. Times are processor time, on one thread.

Usage: python benchmarks/projection.py [--images 1000] [--prototypes 500] [--classes 50] [--agnostic]
"""

from __future__ import annotations

import argparse
import pickle
import time
from collections.abc import Iterator

import torch
from scipy.optimize import linear_sum_assignment
from torch import Tensor

from pixpnet.projection import PatchCandidates
from pixpnet.prototypes import regular_own_class


def batches(images: int, classes: int, channels: int, side: int) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
    """The same random features each time."""
    generator = torch.Generator().manual_seed(0)
    for indices in torch.arange(images).split(64):
        yield (
            torch.rand(len(indices), channels, side, side, generator=generator),
            indices % classes,
            indices,
        )


def plain(stream: Iterator, prototypes: Tensor, own_class: Tensor) -> tuple[float, int]:
    """Total distance and bytes kept: every distance of every image, then one assignment per class."""
    tables, labels = [], []
    flat = prototypes.flatten(1)
    for z, label, _ in stream:
        rows = z.flatten(2).transpose(1, 2)
        tables.append(torch.cdist(flat.expand(len(rows), -1, -1), rows).square())
        labels.append(label)
    table, label = torch.cat(tables), torch.cat(labels)
    total = 0.0
    for mask in own_class.unique(dim=0):
        members = (own_class == mask).all(1).nonzero().flatten()
        costs = table[mask[label]][:, members].amin(-1).T.numpy()
        total += costs[linear_sum_assignment(costs)].sum()
    return float(total), table.numel() * table.element_size()


def main() -> None:
    parser = argparse.ArgumentParser(description="Measure projection.")
    parser.add_argument("--images", type=int, default=1000)
    parser.add_argument("--prototypes", type=int, default=500)
    parser.add_argument("--classes", type=int, default=50)
    parser.add_argument("--channels", type=int, default=192)
    parser.add_argument("--side", type=int, default=14, help="cells along a side of the feature map")
    parser.add_argument("--agnostic", action="store_true", help="prototypes without classes")
    parser.add_argument(
        "--no-plain", action="store_true", help="leave the restatement out (its table is large)"
    )
    options = parser.parse_args()
    torch.set_num_threads(1)

    def stream() -> Iterator[tuple[Tensor, Tensor, Tensor]]:
        return batches(options.images, options.classes, options.channels, options.side)

    prototypes = torch.rand(
        options.prototypes, options.channels, 1, 1, generator=torch.Generator().manual_seed(1)
    )
    own_class = regular_own_class(options.prototypes, options.classes, class_specific=not options.agnostic)
    start = time.process_time()
    for _ in stream():
        pass
    making = time.process_time() - start

    candidates = PatchCandidates(prototypes, own_class, distance="l2", duplicate_filter="sample")
    start, largest = time.process_time(), 0
    for number, batch in enumerate(stream()):
        candidates.update(*batch)
        if number % 4 == 0:
            paused = time.process_time()
            largest = max(largest, len(pickle.dumps(candidates)))
            start += time.process_time() - paused
    searching = time.process_time() - start - making
    start = time.process_time()
    assignment = candidates.assign()
    assigning = time.process_time() - start
    total = float(assignment.distances.double().sum())
    print(
        f"ours:  {options.images / searching:.0f} images a second, assignment {assigning:.2f} s, "
        f"state at most {largest / 2**20:.0f} MiB, total distance {total:.3f}"
    )
    if options.no_plain:
        return
    start = time.process_time()
    plain_total, kept = plain(stream(), prototypes, own_class)
    took = time.process_time() - start - making
    print(
        f"plain: {options.images / took:.0f} images a second with its assignment, "
        f"keeps {kept / 2**20:.0f} MiB, total distance {plain_total:.3f}"
    )
    print(f"ratio of times, ours to plain: {(searching + assigning) / took:.2f}")


if __name__ == "__main__":
    main()
