"""Time of consistency, stability and relevance ordering on a trained run, beside what they can't do without.

Consistency and stability: processor time of both measures together, beside the two bare forward passes (all
test images, and the same with noise, through the whole network, in batches of the same size, from memory).
Reading the images from their files is needed too and stands beside them. They take turns; medians. `plain` is
a restatement of how a first implementation goes about it: one image at a time, anew for consistency and for
each of stability's two looks, maps of all prototypes painted (the receptive field's cell by cell) though only
those of the image's class are looked at, then a loop over these prototypes and over parts. It runs on a few
images, is scaled to all, and must find the same percentages on these images as ours does.

Relevance ordering: of some (image, prototype) pairs, the curve at 256 steps, at every pixel in batches, and
at every pixel one image at a time (this on a few points, scaled to all), and by how much the areas differ.

Usage: python benchmarks/metrics.py RUN_DIR [--images 20] [--pairs 4] [--rounds 3] [--batch-size 32]
"""

from __future__ import annotations

import argparse
import math
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from pixel_space import cell_loop
from pixpnet.data import merge_sides
from pixpnet.evaluation import METRICS, PROTOCOL_IMAGES, Settings, Subject
from pixpnet.metrics import (
    PROTOCOLS,
    add_noise,
    normalised_curves,
    pixel_counts,
    relevance_curve,
    relevance_ranks,
    trapezoid,
)
from pixpnet.runs import load

CASES = (("pixpnet-2023", "receptive_field"), ("pixpnet-2023", "upsampling"), ("eval-2023", None))
STEPS = 256
SINGLE_POINTS = 128
"""Points of a curve that are measured one image at a time; the rest are taken to cost the same."""


def timed(subject: Callable[[], object]) -> float:
    """Seconds of processor time of a run."""
    start = time.process_time()
    subject()
    return time.process_time() - start


def ours(subject: Subject, method: str | None, settings: Settings) -> list[float]:
    """Consistency and stability in percent, hard and soft, of a subject that has seen nothing yet."""
    subject.forget()
    stability, consistency = (
        METRICS[name].measure(subject, method, settings) for name in ("stability", "consistency")
    )
    return [found.values[name].value for found in (consistency, stability) for name in ("hard", "soft")]


def noisy(subject: Subject, index: int, image: Tensor, settings: Settings) -> Tensor:
    """One image of a batch with the noise that our measure gives it."""
    protocol = PROTOCOLS[settings.protocol]
    (seed,) = subject.draw_seeds((index,), seed=settings.seed, purpose="noise")
    generator = torch.Generator().manual_seed(seed)
    return add_noise(image, generator=generator, sigma=protocol.noise_sigma, clip=protocol.noise_clip)


def plain_look(subject: Subject, image: Tensor, index: int, method: str | None, settings: Settings) -> Tensor:
    """Which (merged) parts each prototype of the image's class meets; maps are made of all prototypes."""
    protocol = PROTOCOLS[settings.protocol]
    similarities = subject.similarities(image)[0]
    field = subject.receptive_field
    if method == "receptive_field":
        cell_loop(similarities, field, "max")
    else:
        maps = functional.interpolate(similarities[None], subject.image_size, mode="bicubic")[0]
    names, (height, width) = subject.image_set.part_names, subject.image_size
    groups = merge_sides(names).members if protocol.merge_sides else [(q,) for q in range(len(names))]
    points, visible = subject.parts(index)
    prototypes = subject.prototypes_of(subject.labels[index])
    met = torch.zeros(len(prototypes), len(groups), dtype=torch.bool)
    for row, prototype in enumerate(prototypes):
        if protocol.center == "upsampled-argmax":
            y, x = divmod(int(maps[prototype].argmax()), width)
            x, y = x + 0.5, y + 0.5
        else:
            i, j = divmod(int(similarities[prototype].argmax()), field.grid_size[1])
            box = field.box(i, j)
            x, y = (box.left + box.right) / 2, (box.top + box.bottom) / 2
            if method == "upsampling":
                x, y = (j + 0.5) * width / field.grid_size[1], (i + 0.5) * height / field.grid_size[0]
        for group, members in enumerate(groups):
            for part in members:
                px, py = points[part].tolist()
                half = protocol.half_size
                if visible[part] and x - half <= px < x + half and y - half <= py < y + half:
                    met[row, group] = True
    return met


def plain(subject: Subject, method: str | None, settings: Settings, images: Sequence[Tensor]) -> list[float]:
    """As `ours`, image by image, each image looked at three times."""
    protocol = PROTOCOLS[settings.protocol]
    size = len(subject.own_class)
    names = subject.image_set.part_names
    groups = merge_sides(names).members if protocol.merge_sides else [(q,) for q in range(len(names))]
    met, seen = np.zeros((size, len(groups))), np.zeros((size, len(groups)))
    equal, overlap, count = np.zeros(size), np.zeros(size), np.zeros(size)
    for index, image in enumerate(images):
        found = plain_look(subject, image, index, method, settings).numpy()
        _, visible = subject.parts(index)
        shown = np.array([bool(visible[list(members)].any()) for members in groups])
        for row, prototype in enumerate(subject.prototypes_of(subject.labels[index])):
            met[prototype] += found[row]
            seen[prototype] += shown
    for index, image in enumerate(images):
        _, visible = subject.parts(index)
        before = plain_look(subject, image, index, method, settings).numpy()
        after = plain_look(subject, noisy(subject, index, image, settings), index, method, settings).numpy()
        for row, prototype in enumerate(subject.prototypes_of(subject.labels[index])):
            if visible.any() or not protocol.skip_hidden:
                union = (before[row] | after[row]).sum()
                equal[prototype] += (before[row] == after[row]).all()
                overlap[prototype] += (before[row] & after[row]).sum() / union if union else 1
                count[prototype] += 1
    counted = seen.sum(axis=1) > 0
    best = (met[counted] / np.maximum(seen[counted], 1)).max(axis=1)
    return [
        100 * float(values.mean())
        for values in (
            best >= protocol.threshold,
            best,
            equal[counted] / count[counted],
            overlap[counted] / count[counted],
        )
    ]


@torch.inference_mode()
def compare_agreement(whole: Subject, few: Subject, rounds: int) -> None:
    """Print a row for each protocol and method."""
    print(f"Seconds for {len(whole.records)} test images; plain, for {len(few.records)} of them, scaled.")
    print("| protocol | method | passes | reading | ours | ours to passes | with reading | plain | to ours |")
    print("|---|---|---|---|---|---|---|---|---|")
    for protocol, method in CASES:
        settings = Settings(protocol=protocol)
        geometry = PROTOCOL_IMAGES[PROTOCOLS[protocol].image]
        subject, small = (one if geometry is None else one.seen_as(geometry) for one in (whole, few))
        images = [batch.images for batch in subject.class_batches()]
        noise = [
            add_noise(batch, generator=torch.Generator().manual_seed(0), sigma=0.2, clip=None).contiguous(
                memory_format=torch.channels_last
            )
            for batch in images
        ]
        sides = {
            "passes": lambda: [subject.network(batch) for batch in (*images, *noise)],  # noqa: B023
            "reading": lambda: list(subject.class_batches()),  # noqa: B023
            "ours": lambda: ours(whole, method, settings),  # noqa: B023
        }
        seconds: dict[str, list[float]] = {name: [] for name in sides}
        for _ in range(rounds):
            for name, side in sides.items():
                seconds[name].append(timed(side))
        took = {name: statistics.median(times) for name, times in seconds.items()}
        loaded = [small.load((index,)) for index in range(len(small.records))]
        expected = ours(few, method, settings)
        found: list[list[float]] = []
        scale = len(whole.records) / len(few.records)
        restated = scale * timed(lambda: found.append(plain(small, method, settings, loaded)))  # noqa: B023
        np.testing.assert_allclose(found[0], expected, atol=1e-6)
        needed = took["passes"] + took["reading"]
        print(
            f"| {protocol} | {method or 'its own'} | {took['passes']:.2f} | {took['reading']:.2f} "
            f"| {took['ours']:.2f} | {took['ours'] / took['passes']:.2f} | {took['ours'] / needed:.2f} "
            f"| {restated:.1f} | {restated / took['ours']:.0f} |",
            flush=True,
        )


def curve(network: torch.nn.Module, image: Tensor, ranks: Tensor, counts: Tensor, batch_size: int) -> Tensor:
    """The relevance curve of the network's only prototype."""

    def similarity_of(batch: Tensor) -> Tensor:
        return network(batch.contiguous(memory_format=torch.channels_last)).similarities[:, 0]

    return relevance_curve(similarity_of, image, ranks=ranks, counts=counts, batch_size=batch_size)


@torch.inference_mode()
def compare_ordering(subject: Subject, pairs: int) -> None:
    """Print what a curve costs at 256 steps and at every pixel, and how far the areas are apart."""
    pixels = math.prod(subject.image_size)
    counts = {"steps": pixel_counts(pixels, steps=STEPS), "pixels": pixel_counts(pixels, steps=None)}
    seconds: dict[str, list[float]] = {"steps": [], "pixels": [], "single": []}
    differences = []
    for index in subject.sample(pairs, seed=0):
        prototype = subject.prototypes_of(subject.labels[index])[:1]
        network = subject.network_of(prototype)
        (image,) = images = subject.load((index,))
        similarities = subject.similarities(images, prototype)
        maps = subject.maps("receptive_field", images, similarities, prototype, seeds=(0,))
        ranks = relevance_ranks(maps[0, 0])

        areas = {}
        for name, points in counts.items():
            start = time.process_time()
            curves = curve(network, image, ranks, points, subject.batch_size).numpy()[None]
            seconds[name].append(time.process_time() - start)
            areas[name] = trapezoid(normalised_curves(curves)[0], points.numpy() / pixels)[0]
        differences.append(areas["steps"] - areas["pixels"])
        some = counts["pixels"][:: pixels // SINGLE_POINTS][:SINGLE_POINTS]
        one_by_one = timed(lambda: curve(network, image, ranks, some, 1))  # noqa: B023
        seconds["single"].append(one_by_one * len(counts["pixels"]) / len(some))
    took = {name: statistics.median(times) for name, times in seconds.items()}
    fewer = len(counts["pixels"]) / len(counts["steps"])
    height, width = subject.image_size
    print(
        f"\nRelevance ordering, {pairs} pairs, {height}×{width} pixels. Seconds a pair: {took['steps']:.2f} "
        f"at {STEPS} steps, {took['pixels']:.1f} at every pixel in batches of {subject.batch_size}, "
        f"{took['single']:.1f} at every pixel one by one.\n"
        f"Ratios {took['pixels'] / took['steps']:.1f} and {took['single'] / took['steps']:.1f}: "
        f"{fewer:.1f} times fewer points; a point alone costs {took['single'] / took['pixels']:.2f} times as "
        f"much as one of a batch.\n"
        f"Area at {STEPS} steps less the area at every pixel: {np.mean(differences):+.5f} in the mean, "
        f"at most {np.abs(differences).max():.5f}."
    )


def main() -> None:
    parser = argparse.ArgumentParser(description="Measure the metrics of a run.")
    parser.add_argument("run", metavar="RUN_DIR")
    parser.add_argument("--images", type=int, default=20, help="test images of the plain restatement")
    parser.add_argument("--pairs", type=int, default=4, help="curves of relevance ordering; 0: none")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--batch-size", type=int, default=32)
    options = parser.parse_args()
    torch.set_num_threads(1)
    whole = Subject(load(options.run), device=torch.device("cpu"), batch_size=options.batch_size)
    spread = whole.records[:: max(1, len(whole.records) // options.images)][: options.images]
    few = Subject(
        whole.run,
        image_set=replace(whole.image_set, test=spread),
        device=torch.device("cpu"),
        batch_size=options.batch_size,
    )
    if options.rounds:
        compare_agreement(whole, few, options.rounds)
    if options.pairs:
        compare_ordering(whole, options.pairs)


if __name__ == "__main__":
    main()
