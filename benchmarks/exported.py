"""A run's exported files beside the network itself: size, speed, answers, and whether their boxes are true.

Usage: python benchmarks/exported.py RUN [--images 300] [--batch 8] [--rounds 7] [--trials 300]

torch (eager) and onnxruntime, on one thread each, answer the same batches in turn; what is said of speed is
the median over rounds of the ratio within a round. In a trial everything outside the box of a prototype's
best cell is replaced, by noise, black or another image in turn: at that cell the similarity may not change,
so that the largest one may not become smaller, and must be the same where it stays at the cell.
"""

from __future__ import annotations

import argparse
import random
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnxruntime
import torch
from rich.console import Console
from rich.table import Table

import pixpnet
from pixpnet.exporting import OUTPUTS, EvidenceNetwork
from pixpnet.runs import Run, load

FILES = {"onnxruntime": "onnx", "onnxruntime, int8": "onnx-int8"}
"""What answers -> the format that it reads."""
TITLES = (
    *("", "MB", "images/s", "× torch", "accuracy", "same class", "same cells", "logits off by"),
    *("changed trials", "by at most"),
)
TOLERANCE = 1e-5
"""Rounding of a similarity, times the largest one."""

Answers = dict[str, np.ndarray]
Network = Callable[[np.ndarray], Answers]


def eager(run: Run) -> Network:
    """The network as torch runs it."""
    network = EvidenceNetwork(run).eval()

    @torch.inference_mode()
    def answer(images: np.ndarray) -> Answers:
        return dict(zip(OUTPUTS, (one.numpy() for one in network(torch.as_tensor(images))), strict=True))

    return answer


def in_onnxruntime(path: Path) -> Network:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    return lambda images: dict(zip(OUTPUTS, session.run(None, {"images": images}), strict=True))


def answers(network: Network, images: np.ndarray, batch: int) -> Answers:
    parts = [network(images[start : start + batch]) for start in range(0, len(images), batch)]
    return {name: np.concatenate([part[name] for part in parts]) for name in OUTPUTS}


def speed(networks: dict[str, Network], images: np.ndarray, rounds: int) -> dict[str, list[float]]:
    """Seconds of the processor that each network takes for the batch, round by round."""
    times: dict[str, list[float]] = {name: [] for name in networks}
    for number in range(rounds + 1):
        for name, network in networks.items():
            start = time.process_time()
            network(images)
            if number:  # the first round warms up
                times[name].append(time.process_time() - start)
    return times


def trials(network: Network, images: np.ndarray, count: int) -> tuple[int, float]:
    """How many of the trials changed something, and the largest change."""
    draw, changed, largest = random.Random(0), 0, 0.0
    for number in range(count):
        one, other = draw.sample(range(len(images)), 2)
        before = network(images[one : one + 1])
        prototype = draw.randrange(before["cells"].shape[1])
        left, top, right, bottom = before["boxes"][0, prototype]
        noise = np.random.default_rng(number).random(images[one].shape, np.float32)
        new = (noise, np.zeros_like(images[one]), images[other].copy())[number % 3]
        new[:, top:bottom, left:right] = images[one][:, top:bottom, left:right]
        after = network(new[None])
        was, now = (float(answer["similarities"][0, prototype]) for answer in (before, after))
        stayed = before["cells"][0, prototype] == after["cells"][0, prototype]
        change = abs(now - was) if stayed else max(was - now, 0.0)
        changed += change > TOLERANCE * max(1.0, float(np.abs(before["similarities"]).max()))
        largest = max(largest, change)
    return changed, largest


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("run")
    parser.add_argument("--images", type=int, default=300, help="test images that are answered")
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--trials", type=int, default=300)
    parser.add_argument("--dataset-root")
    options = parser.parse_args()
    torch.set_num_threads(1)
    assert pixpnet.keep_freed_memory({})
    run = load(options.run, dataset_root=options.dataset_root)
    paths = sorted(run.image_set.test, key=lambda record: record.image_id)[: options.images]
    mean, std = (np.array(values, np.float32)[:, None, None] for values in run.normalization)
    test = {record.image_id: index for index, record in enumerate(run.image_set.test)}
    shown = [run.test_images[test[record.image_id]].image.numpy() * std + mean for record in paths]
    images = np.clip(np.stack(shown), 0, 1).astype(np.float32)
    labels = np.array([record.label for record in paths])
    with tempfile.TemporaryDirectory() as folder:
        networks, sizes = {"torch": eager(run)}, {"torch": run.checkpoint.stat().st_size}
        for name, format in FILES.items():
            file = pixpnet.export(run, Path(folder) / format, format=format)
            networks[name], sizes[name] = in_onnxruntime(file), file.stat().st_size
        times = speed(networks, images[: options.batch], options.rounds)
        own = answers(networks["torch"], images, options.batch)
        table = Table(*TITLES)
        for name, network in networks.items():
            told = answers(network, images, options.batch)
            ratios = [mine / its for mine, its in zip(times["torch"], times[name], strict=True)]
            changed, largest = trials(network, images, options.trials)
            table.add_row(
                name,
                f"{sizes[name] / 1e6:.1f}",
                f"{options.batch / statistics.median(times[name]):.1f}",
                f"{statistics.median(ratios):.2f} ({min(ratios):.2f}-{max(ratios):.2f})",
                f"{(told['logits'].argmax(1) == labels).mean():.3f}",
                f"{(told['logits'].argmax(1) == own['logits'].argmax(1)).mean():.3f}",
                f"{(told['cells'] == own['cells']).mean():.3f}",
                f"{np.abs(told['logits'] - own['logits']).max():.2g}",
                f"{changed} of {options.trials}",
                f"{largest:.2g}",
            )
    print(f"{run.config.model.network}, {len(images)} test images, batches of {options.batch}, one thread")
    Console(width=160).print(table)


if __name__ == "__main__":
    main()
