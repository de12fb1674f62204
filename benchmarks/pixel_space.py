"""Time and memory of receptive-field maps beside a loop over cells, on vgg16_bn at 224×224.

(a) The loop restates the definition: cell after cell, all prototypes at once, in place. (b) is this loop
painting the maximum, the mean and the sum of all 2000 prototypes, as an explanation does that paints before
it chooses; beside it stands our map of the 10 that are shown.

Both sides are measured in the same two states of memory, in a process of their own for each line and side
(Linux), taking turns. `first`: the first run (one with a single prototype went before it, so that libraries
are loaded); it takes the memory for its result from the system. Just before, another process has held and
released as much as three results: whoever is the first to touch memory that a virtual machine has given back
to its host waits long, and that would be the side that starts first. `ours` and `loop`: medians of later
runs, which paint into the memory of the result before (`out=`), as one does who paints image after image;
in every turn one run that does not count goes first. `memory` is filling that memory with a number and
nothing else. Times are processor time on one thread. MiB is what a first run holds at its peak.

Usage: python benchmarks/pixel_space.py [--layers maxpool3 maxpool5] [--prototypes 10 200 2000]
       [--maps max mean sum] [--rounds 5] [--no-everything]
"""

from __future__ import annotations

import argparse
import ctypes
import multiprocessing
import re
import statistics
import time
from collections.abc import Callable, Sequence
from functools import partial
from multiprocessing.connection import Connection
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from pixpnet.backbones import build_backbone
from pixpnet.pixel_space import pixel_space_map
from pixpnet.receptive_fields import ReceptiveField, receptive_field

SIDE, ALL, SHOWN = 224, 2000, 10
REDUCTIONS = ("max", "mean", "sum")
LAYERS = ("maxpool3", "maxpool5")
Subject = Callable[[list[Tensor] | None], list[Tensor]]
"""Makes maps, in memory of its own or in that of earlier ones."""

TURN = 0.4
"""Seconds of runs that are counted in a turn; at least one run."""


def bells(centers: Tensor, sigma: float) -> Tensor:
    """The Gaussians of all rows (or columns) of cells along the image; their largest value is 1."""
    distances = torch.arange(SIDE) + 0.5 - centers[:, None]
    nearest = (centers % 1 - 0.5)[:, None]
    return torch.exp((nearest**2 - distances**2) / (2 * sigma**2)).float()


def cell_loop(
    similarities: Tensor, field: ReceptiveField, reduction: str, memory: Tensor | None = None
) -> Tensor:
    """Maps [p H W] of similarities [p h w], painted cell by cell."""
    centers = torch.from_numpy(field.centers)
    rows = bells(centers[:, 0, 1], field.full_size[0])
    columns = bells(centers[0, :, 0], field.full_size[1])
    maps = torch.empty(len(similarities), SIDE, SIDE) if memory is None else memory
    maps.fill_(-torch.inf if reduction == "max" else 0.0)
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


def ours(
    similarities: Tensor,
    field: ReceptiveField,
    reduction: str,
    memory: Tensor | None = None,
    *,
    shown: int | None = None,
) -> Tensor:
    """The same maps, or those of the first prototypes only."""
    return pixel_space_map(
        "receptive_field",
        similarities[None],
        field,
        (SIDE, SIDE),
        prototypes=None if shown is None else range(shown),
        reduction=reduction,
        out=None if memory is None else memory[None],
    )[0]


def subject(
    paint: Callable[..., Tensor], similarities: Tensor, field: ReceptiveField, reductions: Sequence[str]
) -> Subject:
    """Paints one map after the other."""

    def run(memory: list[Tensor] | None) -> list[Tensor]:
        places = memory or [None] * len(reductions)
        return [
            paint(similarities, field, reduction, place)
            for reduction, place in zip(reductions, places, strict=True)
        ]

    return run


def fill(count: int) -> Subject:
    """Writes the memory of so many maps."""

    def run(memory: list[Tensor] | None) -> list[Tensor]:
        return [maps.fill_(1.0) for maps in memory or [torch.empty(count, SIDE, SIDE)]]

    return run


class Side:
    """A subject in a process of its own, which measures when it is asked to."""

    def __init__(self, count: int, subject: Subject, warm_up: Subject) -> None:
        context = multiprocessing.get_context("fork")
        before = context.Process(target=np.ones, args=((3 * count, SIDE, SIDE), np.float32))
        before.start()
        before.join()
        self.pipe, far_end = context.Pipe()
        self.seconds: list[float] = []
        self.process = context.Process(target=serve, args=(far_end, subject, warm_up), daemon=True)
        self.process.start()
        self.first, self.mebibytes = self.pipe.recv()

    def turn(self) -> None:
        """Measure some runs."""
        self.pipe.send(True)
        self.seconds += self.pipe.recv()

    def finish(self) -> float:
        """Median seconds of a run."""
        self.pipe.send(False)
        self.process.join()
        return statistics.median(self.seconds)


def serve(pipe: Connection, subject: Subject, warm_up: Subject) -> None:
    """What a side's process does: a first run, the peak of a second one, then turns in the same memory."""
    warm_up(None)
    first = timed(lambda: subject(None))
    pipe.send((first, peak(subject)))
    memory = subject(None)

    def again() -> None:
        found = subject(memory)
        assert all(map_.data_ptr() == place.data_ptr() for map_, place in zip(found, memory, strict=True))

    while pipe.recv():
        again()
        seconds = [timed(again)]
        while sum(seconds) < TURN:
            seconds.append(timed(again))
        pipe.send(seconds)


def timed(run: Callable[[], object]) -> float:
    """Seconds of processor time of a run."""
    start = time.process_time()
    run()
    return time.process_time() - start


def peak(subject: Subject) -> float:
    """MiB of memory that a first run holds at its peak, beyond what it starts with."""

    def kibibytes(name: str) -> int:
        found = re.search(rf"{name}:\s+(\d+)", Path("/proc/self/status").read_text())
        assert found
        return int(found[1])

    ctypes.CDLL(None).malloc_trim(0)
    Path("/proc/self/clear_refs").write_text("5")  # the peak starts anew
    before = kibibytes("VmRSS")
    result = subject(None)
    kib = kibibytes("VmHWM") - before
    del result
    return kib / 1024


def in_turns(sides: dict[str, Side], rounds: int) -> dict[str, float]:
    """Median milliseconds of each side."""
    for _ in range(rounds):
        for side in sides.values():
            side.turn()
    return {name: side.finish() * 1e3 for name, side in sides.items()}


def compare_loops(
    layer: str, field: ReceptiveField, similarities: Tensor, *, maps: Sequence[str], rounds: int
) -> None:
    """Print our maps beside (a)."""
    count = len(similarities)
    torch.testing.assert_close(
        *(subject(paint, similarities[:SHOWN], field, REDUCTIONS)(None) for paint in (ours, cell_loop))
    )
    for reduction in maps:
        sides = {
            name: Side(
                count,
                subject(paint, similarities, field, [reduction]),
                subject(paint, similarities[:1], field, [reduction]),
            )
            for name, paint in (("ours", ours), ("loop", cell_loop))
        }
        sides["memory"] = Side(count, fill(count), fill(1))
        took = in_turns(sides, rounds)
        first = {name: side.first * 1e3 for name, side in sides.items()}
        print(
            f"| {layer} | {reduction} | {count} | {took['ours']:.2f} | {took['loop']:.1f} "
            f"| {took['loop'] / took['ours']:.1f} | {first['ours']:.2f} | {first['loop']:.1f} "
            f"| {first['loop'] / first['ours']:.1f} | {took['memory']:.2f} "
            f"| {sides['ours'].mebibytes:.0f} | {sides['loop'].mebibytes:.0f} |",
            flush=True,
        )


def compare_everything(layer: str, field: ReceptiveField, similarities: Tensor, rounds: int) -> None:
    """Print our maps of the shown prototypes beside (b)."""
    shown = partial(ours, shown=SHOWN)
    one = similarities[:1]
    sides = {
        reduction: Side(
            SHOWN,
            subject(shown, similarities, field, [reduction]),
            subject(ours, one, field, [reduction]),
        )
        for reduction in REDUCTIONS
    }
    sides["everything"] = Side(
        ALL, subject(cell_loop, similarities, field, REDUCTIONS), subject(cell_loop, one, field, REDUCTIONS)
    )
    took = in_turns(sides, rounds)
    whole = sides["everything"]
    for reduction in REDUCTIONS:
        side = sides[reduction]
        first = side.first * 1e3
        print(
            f"| {layer} | {reduction} | {SHOWN} of {ALL} | {took[reduction]:.2f} | {took['everything']:.0f} "
            f"| {took['everything'] / took[reduction]:.0f} | {first:.2f} | {whole.first * 1e3:.0f} "
            f"| {whole.first * 1e3 / first:.0f} | | {side.mebibytes:.0f} | {whole.mebibytes:.0f} |",
            flush=True,
        )


def main() -> None:
    parser = argparse.ArgumentParser(description="Measure pixel-space maps.")
    parser.add_argument("--layers", nargs="+", default=LAYERS, choices=LAYERS)
    parser.add_argument("--prototypes", nargs="*", type=int, default=(SHOWN, 200, ALL))
    parser.add_argument("--maps", nargs="+", default=REDUCTIONS, choices=REDUCTIONS)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--no-everything", action="store_true", help="leave (b) out")
    options = parser.parse_args()
    torch.set_num_threads(1)
    titles = "layer, map, prototypes, ours ms, loop ms, ratio, first: ours ms, loop ms, ratio, memory ms, "
    titles += "ours MiB, loop MiB"
    print("| " + titles.replace(", ", " | ") + " |")
    print("|---" * len(titles.split(", ")) + "|")
    for layer in options.layers:
        field = receptive_field(build_backbone("vgg16_bn", layer=layer, pretrained=False), (SIDE, SIDE))
        generator = torch.Generator().manual_seed(0)
        similarities = torch.rand(ALL, *field.grid_size, generator=generator)
        for count in options.prototypes:
            compare_loops(layer, field, similarities[:count], maps=options.maps, rounds=options.rounds)
        if not options.no_everything:
            compare_everything(layer, field, similarities, options.rounds)


if __name__ == "__main__":
    main()
