"""Time and memory of receptive-field maps beside a loop over cells, on vgg16_bn at 224×224.

(a) The loop restates the definition: cell after cell, all prototypes at once, in place. (b) is this loop
painting the maximum, the mean and the sum of all 2000 prototypes, as an explanation does that paints before
it chooses; beside it stands our map of the 10 that are shown. They run in turns, short ones several times in
a row; medians of single runs are reported. Times are processor time on one thread. Memory is what a second
run holds at its peak, in a process of its own (Linux).

Usage: python benchmarks/pixel_space.py [--layers maxpool3 maxpool5] [--prototypes 10 200 2000] [--rounds 5]
"""

from __future__ import annotations

import argparse
import ctypes
import multiprocessing
import re
import statistics
import time
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor

from pixpnet.backbones import build_backbone
from pixpnet.pixel_space import pixel_space_map
from pixpnet.receptive_fields import ReceptiveField, receptive_field

SIDE, ALL, SHOWN = 224, 2000, 10
REDUCTIONS = ("max", "mean", "sum")
LAYERS = ("maxpool3", "maxpool5")
TURN = 0.4
"""Seconds of runs in a row; a first run pays for memory where a virtual machine gave it back to its host."""


def bells(centers: Tensor, sigma: float) -> Tensor:
    """The Gaussians of all rows (or columns) of cells along the image; their largest value is 1."""
    distances = torch.arange(SIDE) + 0.5 - centers[:, None]
    nearest = (centers % 1 - 0.5)[:, None]
    return torch.exp((nearest**2 - distances**2) / (2 * sigma**2)).float()


def cell_loop(similarities: Tensor, field: ReceptiveField, reduction: str) -> Tensor:
    """Maps [p H W] of similarities [p h w], painted cell by cell."""
    centers = torch.from_numpy(field.centers)
    rows = bells(centers[:, 0, 1], field.full_size[0])
    columns = bells(centers[0, :, 0], field.full_size[1])
    start = -torch.inf if reduction == "max" else 0.0
    maps = torch.full((len(similarities), SIDE, SIDE), start)
    count = torch.zeros(SIDE, SIDE)
    for i in range(field.grid_size[0]):
        for j in range(field.grid_size[1]):
            left, top, right, bottom = field.boxes[i, j].tolist()
            bell = rows[i, top:bottom, None] * columns[j, left:right]
            painted = similarities[:, i, j, None, None] * bell
            region = maps[:, top:bottom, left:right]
            if reduction == "max":
                torch.maximum(region, painted, out=region)
            else:
                region += painted
            count[top:bottom, left:right] += 1
    if reduction == "max":
        return maps.masked_fill_(count == 0, 0.0)
    return maps.div_(count.clamp_(min=1)) if reduction == "mean" else maps


def everything(similarities: Tensor, field: ReceptiveField) -> list[Tensor]:
    """All three maps of all prototypes."""
    return [cell_loop(similarities, field, reduction) for reduction in REDUCTIONS]


def ours(similarities: Tensor, field: ReceptiveField, reduction: str, shown: int) -> Tensor:
    """The map of the first prototypes; similarities are of all."""
    return pixel_space_map(
        "receptive_field",
        similarities[None],
        field,
        (SIDE, SIDE),
        prototypes=range(shown),
        reduction=reduction,
    )[0]


def medians(subjects: dict[str, Callable[[], object]], rounds: int) -> dict[str, float]:
    """Median seconds of single runs, in turns of TURN seconds or one run; a first round only warms up."""
    seconds: dict[str, list[float]] = {name: [] for name in subjects}
    for number in range(rounds + 1):
        for name, subject in subjects.items():
            began = time.process_time()
            while True:
                start = time.process_time()
                subject()
                if number:
                    seconds[name].append(time.process_time() - start)
                if time.process_time() - began > TURN or not number:
                    break
    return {name: statistics.median(times) for name, times in seconds.items()}


def peak(subject: Callable[[], object]) -> float:
    """MiB of memory that a run holds at its peak, beyond what it starts with."""
    context = multiprocessing.get_context("fork")
    receiver, sender = context.Pipe(duplex=False)

    def measure() -> None:
        def kibibytes(name: str) -> int:
            found = re.search(rf"{name}:\s+(\d+)", Path("/proc/self/status").read_text())
            assert found
            return int(found[1])

        subject()  # what is loaded on first use does not count
        ctypes.CDLL(None).malloc_trim(0)
        Path("/proc/self/clear_refs").write_text("5")  # the peak starts anew
        before = kibibytes("VmRSS")
        result = subject()
        sender.send(kibibytes("VmHWM") - before)
        del result

    process = context.Process(target=measure)
    process.start()
    kib = receiver.recv()
    process.join()
    return kib / 1024


def compare_loops(layer: str, field: ReceptiveField, similarities: Tensor, rounds: int) -> None:
    """Print our three maps beside (a)."""
    count = len(similarities)
    for reduction in REDUCTIONS:
        subjects: dict[str, Callable[[], object]] = {
            "ours": lambda: ours(similarities, field, reduction, count),  # noqa: B023 - called in this round
            "loop": lambda: cell_loop(similarities, field, reduction),  # noqa: B023
        }
        if count == SHOWN:
            torch.testing.assert_close(subjects["ours"](), subjects["loop"]())
        took = medians(subjects, rounds)
        memory = {name: peak(subject) for name, subject in subjects.items()}
        print(
            f"| {layer} | {reduction} | {count} | {took['ours'] * 1e3:.2f} | {took['loop'] * 1e3:.1f} "
            f"| {took['loop'] / took['ours']:.1f} | {memory['ours']:.0f} | {memory['loop']:.0f} |",
            flush=True,
        )


def compare_everything(layer: str, field: ReceptiveField, similarities: Tensor, rounds: int) -> None:
    """Print our maps of the shown prototypes beside (b)."""
    subjects: dict[str, Callable[[], object]] = {
        reduction: lambda reduction=reduction: ours(similarities, field, reduction, SHOWN)
        for reduction in REDUCTIONS
    }
    subjects["everything"] = lambda: everything(similarities, field)
    took = medians(subjects, rounds)
    memory = peak(subjects["everything"])
    for reduction in REDUCTIONS:
        print(
            f"| {layer} | {reduction} | {SHOWN} of {ALL} | {took[reduction] * 1e3:.2f} "
            f"| {took['everything'] * 1e3:.0f} | {took['everything'] / took[reduction]:.0f} "
            f"| {peak(subjects[reduction]):.0f} | {memory:.0f} |",
            flush=True,
        )


def main() -> None:
    parser = argparse.ArgumentParser(description="Measure pixel-space maps.")
    parser.add_argument("--layers", nargs="+", default=LAYERS, choices=LAYERS)
    parser.add_argument("--prototypes", nargs="*", type=int, default=(SHOWN, 200, ALL))
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--no-everything", action="store_true", help="leave (b) out")
    options = parser.parse_args()
    torch.set_num_threads(1)
    print("| layer | map | prototypes | ours, ms | loop, ms | ratio | ours, MiB | loop, MiB |")
    print("|---|---|---|---|---|---|---|---|")
    for layer in options.layers:
        field = receptive_field(build_backbone("vgg16_bn", layer=layer, pretrained=False), (SIDE, SIDE))
        generator = torch.Generator().manual_seed(0)
        similarities = torch.rand(ALL, *field.grid_size, generator=generator)
        for count in options.prototypes:
            compare_loops(layer, field, similarities[:count], options.rounds)
        if not options.no_everything:
            compare_everything(layer, field, similarities, options.rounds)


if __name__ == "__main__":
    main()
