"""Does forbidding patches help? A mark gives away the class of training pictures, and is missing in the test.

Usage: python benchmarks/forbid.py OUT [--classes 5] [--seeds 3] [--epochs 24] [--again 12] [--rounds 3]

As in ProtoPDebug (Bontempelli et al., ICLR 2023, section 4) a square of the class's colour lies at a random
place of each training picture; test pictures have none. A network is trained; the prototypes whose boxes hold
most of a square are forbidden (a person would see them in the report), and training goes on from there: as it
is, and with what is forbidden. Printed is the accuracy on the test pictures.
"""

from __future__ import annotations

import argparse
import colorsys
import statistics
from pathlib import Path

import numpy as np
from PIL import Image

import pixpnet
from pixpnet.cli import main as pixpnet_command
from pixpnet.runs import Change, Run, RunDirectory, load
from pixpnet.synthbirds import render_dataset
from pixpnet.types import Box

SIZE, SQUARE = 96, 14
ON_SQUARE = 0.5
"""A prototype is on the square if its box holds so much of it."""


def colour(label: int, classes: int) -> tuple[int, ...]:
    return tuple(round(255 * value) for value in colorsys.hsv_to_rgb(label / classes, 1, 1))


def make_pictures(out: Path, *, classes: int, seed: int) -> dict[str, Box]:
    """A folder of class folders; gives the square of each training picture."""
    birds = render_dataset(
        out / "birds", classes=classes, size=SIZE, train_images=30, test_images=30, seed=seed
    )
    draw, squares = np.random.default_rng(seed), dict[str, Box]()
    for file in sorted(birds.glob("images/*/*.png")):
        split, label = "train" if "_train_" in file.name else "test", int(file.parent.name[:3]) - 1
        pixels = np.array(Image.open(file).convert("RGB"))
        if split == "train":
            left, top = draw.integers(0, SIZE - SQUARE, 2).tolist()
            pixels[top : top + SQUARE, left : left + SQUARE] = colour(label, classes)
            squares[file.name] = Box(left, top, left + SQUARE, top + SQUARE)
        place = out / "pictures" / split / file.parent.name / file.name
        place.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels).save(place)
    return squares


def on_squares(run: Run, squares: dict[str, Box]) -> list[int]:
    """Prototypes whose boxes hold most of their picture's square."""
    found = []
    for source in run.sources:
        box, square = source.box, squares[Path(source.path).name]
        width = min(box.right, square.right) - max(box.left, square.left)
        height = min(box.bottom, square.bottom) - max(box.top, square.top)
        if max(width, 0) * max(height, 0) >= ON_SQUARE * square.area:
            found.append(source.prototype)
    return found


def trained(folder: Path, options: list[str]) -> Run:
    """Train, and read what came of it."""
    before = set(folder.rglob("scores.yaml"))
    if pixpnet_command(["train", "--log-dir", str(folder), *options]):
        raise SystemExit(1)
    (new,) = set(folder.rglob("scores.yaml")) - before
    return load(new.parents[1])


def folder_of(run: Run) -> str:
    directory = RunDirectory.of_checkpoint(run.checkpoint)
    assert directory is not None
    return str(directory.path)


def told(run: Run, squares: dict[str, Box]) -> tuple[float, int, int]:
    tested = run.tested()
    assert tested is not None
    return tested.accuracy, len(on_squares(run, squares)), run.network.num_prototypes


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("out", type=Path)
    parser.add_argument("--classes", type=int, default=5)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--epochs", type=int, default=24)
    parser.add_argument("--again", type=int, default=12, help="epochs that are trained on")
    parser.add_argument("--rounds", type=int, default=3, help="times that is done")
    parser.add_argument("options", nargs="*", help="of the training that goes on, as --loss.forbidden 2")
    options = parser.parse_args()
    rows: dict[str, list[tuple[float, int, int]]] = {}
    for seed in range(options.seeds):
        folder = options.out / f"seed{seed}"
        squares = make_pictures(folder, classes=options.classes, seed=seed)
        first = trained(
            folder / "first",
            [
                *("-c", "proto-synthbirds", "--seed", str(seed), "--dataset.name", "folder"),
                *("--dataset.root", str(folder / "pictures"), "--dataset.size", str(SIZE)),
                *("--model.feature-layer", "layer2"),
                *("--model.num-prototypes", str(4 * options.classes), "--train.backbone-epochs", "4"),
                *("--train.epochs", str(options.epochs), "--train.push-every", str(options.epochs)),
            ],
        )
        again = str(options.again)
        more = ["--train.epochs", again, "--train.push-every", again, "--train.backbone-epochs", "0"]
        more += options.options
        rows.setdefault("trained", []).append(told(first, squares))
        run = first
        for number in range(1, options.rounds + 1):
            run = trained(folder / "on", ["--from", folder_of(run), *more])
            rows.setdefault(f"trained on, {number}", []).append(told(run, squares))
        run = first
        for number in range(1, options.rounds + 1):
            wrong = on_squares(run, squares)
            if not wrong:
                break
            pixpnet.edit(run, Change("forbid", tuple(wrong)), by="benchmark", why="the square")
            run = trained(folder / "forbidden", ["--from", folder_of(run), *more])
            rows.setdefault(f"squares forbidden, trained on, {number}", []).append(told(run, squares))
    for name, found in rows.items():
        accuracy = ", ".join(f"{one:.3f}" for one, _, _ in found)
        on = ", ".join(f"{some} of {count}" for _, some, count in found)
        median = statistics.median(one for one, _, _ in found)
        print(f"{name}: accuracy without squares {accuracy} (median {median:.3f}); on squares {on}")


if __name__ == "__main__":
    main()
