"""SynthBirds as a folder in the layout of CUB-200-2011, and a sheet of its images."""

from __future__ import annotations

import json
import multiprocessing
import os
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass
from functools import partial
from itertools import combinations
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image

from pixpnet.errors import ConfigError, DataError, FileError
from pixpnet.files import read_json, whole_folder
from pixpnet.synthbirds.picture import min_pixels, render_picture
from pixpnet.synthbirds.species import MAX_CLASSES, PART_IDS, PARTS, Species, catalogue, differing_organs
from pixpnet.types import Progress, no_progress
from pixpnet.workers import begin_worker, starting_processes

GENERATOR_VERSION = 1
"""Rises whenever the same parameters give other pixels."""

MIN_SIZE = 32
MAX_SIZE = 1024
SPLITS = ("train", "test")
MAX_WORKERS = 256
PROGRESS_STEP = 10
SMALL_SET = 64
"""Images below which other processes aren't worth their start."""

PART_COLOURS = (
    (0, 0, 0), (86, 180, 233), (230, 159, 0), (240, 228, 66), (213, 94, 0), (204, 121, 167), (0, 158, 115),
    (255, 255, 255), (140, 86, 75), (0, 114, 178), (148, 103, 189), (220, 220, 220), (100, 60, 50),
    (31, 90, 140), (44, 160, 44), (214, 39, 40),
)  # fmt: skip
"""Colour of each part id in the palette of the part masks."""


@dataclass(frozen=True)
class Parameters:
    """All that the pixels depend on."""

    classes: int
    size: int
    train_images: int
    test_images: int
    seed: int

    def __post_init__(self) -> None:
        bounds = {
            "classes": (1, MAX_CLASSES),
            "size": (MIN_SIZE, MAX_SIZE),
            "train_images": (1, 10_000),
            "test_images": (0, 10_000),
            "seed": (0, 2**63 - 1),
        }
        for name, (low, high) in bounds.items():
            _check_range(name, getattr(self, name), low, high)


def _check_range(name: str, value: int, low: int, high: int) -> None:
    if not low <= value <= high:
        raise ConfigError(f"SynthBirds: {name} must be from {low} to {high}, not {value}.")


class Task(NamedTuple):
    """One image to render; ``split`` is an index into `SPLITS`."""

    label: int
    split: int
    number: int


class Facts(NamedTuple):
    """What the text files say of one image."""

    box: tuple[int, int, int, int]
    part_points: list[tuple[float, float]]
    part_visible: list[bool]


def render_dataset(
    root: Path,
    *,
    classes: int = 10,
    size: int = 128,
    train_images: int = 60,
    test_images: int = 30,
    seed: int = 0,
    workers: int | None = None,
    progress: Progress = no_progress,
) -> Path:
    """Render the data set into the new folder ``root``; if it is there already, do nothing.

    Another process may do the same at the same time; it waits, and takes the first one's set.

    The pixels depend on the seed and the other parameters, never on ``workers`` (processes; None: one per
    free core, at most 8; 0 or 1: this process alone). ``progress`` is called with the images done and
    their total.

    Raises:
        ConfigError: a parameter out of range.
        DataError: ``root`` holds something else, or cannot be written.
    """
    parameters = Parameters(classes, size, train_images, test_images, seed)
    if workers is not None:
        _check_range("workers", workers, 0, MAX_WORKERS)
    root = Path(root)
    if _is_taken(root, parameters):
        return root
    try:
        with whole_folder(root) as folder:
            if not is_rendered(root, **asdict(parameters)):  # by another process, in the meantime
                workers = _free_cores() if workers is None else workers
                _fill(folder, parameters, workers, progress)
    except OSError as error:
        raise DataError(f"SynthBirds could not be written to {root}: {error}") from error
    _is_taken(root, parameters)
    return root


def _free_cores() -> int:
    """Cores that this process may use, at most 8."""
    return min(8, len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1)


def _is_taken(root: Path, parameters: Parameters) -> bool:
    """Whether the set is there.

    Raises:
        DataError: Something else is.
    """
    if is_rendered(root, **asdict(parameters)):
        return True
    if root.exists() and not (root.is_dir() and not any(root.iterdir())):
        raise DataError(
            f"{root} holds something else than SynthBirds with {_describe(parameters)}; "
            "delete it or name another folder."
        )
    return False


def is_rendered(
    root: Path, *, classes: int, size: int, train_images: int, test_images: int, seed: int
) -> bool:
    """Whether the folder is a whole SynthBirds of these parameters and of this generator."""
    try:
        found = read_json(Path(root) / "attributes.json")
    except FileError:
        return False
    wanted = asdict(Parameters(classes, size, train_images, test_images, seed))
    return (
        isinstance(found, dict)
        and found.get("generator_version") == GENERATOR_VERSION
        and found.get("parameters") == wanted
    )


def _describe(parameters: Parameters) -> str:
    return ", ".join(f"{name}={value}" for name, value in asdict(parameters).items())


def _fill(folder: Path, parameters: Parameters, workers: int, progress: Progress) -> None:
    species = catalogue(parameters.classes)
    numbers = (parameters.train_images, parameters.test_images)
    jobs = [
        Task(label, split, number)
        for label in range(parameters.classes)
        for split in range(len(SPLITS))
        for number in range(numbers[split])
    ]
    for kind in ("images", "segmentations", "part_masks"):
        for label in range(parameters.classes):
            (folder / kind / _class_folder(species, label)).mkdir(parents=True)
    facts: list[Facts] = []
    for fact in _map(partial(_render_files, folder, parameters), jobs, workers):
        facts.append(fact)
        if len(facts) % PROGRESS_STEP == 0 or len(facts) == len(jobs):
            progress(len(facts), len(jobs))
    _write_tables(folder, species, jobs, facts)
    attributes = _attributes(species, parameters)
    (folder / "attributes.json").write_text(json.dumps(attributes, indent=1) + "\n", "utf-8")


def _map(function: Callable[[Task], Facts], jobs: list[Task], workers: int) -> Iterator[Facts]:
    """The results in order, from this process or several."""
    if workers <= 1 or len(jobs) < SMALL_SET:
        yield from map(function, jobs)
        return
    # Workers only draw, so forking is safe, and unlike spawning it needs no main guard in the user's script.
    context = multiprocessing.get_context("fork" if sys.platform == "linux" else None)
    with ProcessPoolExecutor(workers, context, begin_worker, (os.getpid(),)) as pool:
        try:
            with starting_processes():  # an interrupt between two of them would leave those begun alone
                results = pool.map(function, jobs)
            yield from results  # one by one, for an interrupt waits for those begun
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise


def _render_files(folder: Path, parameters: Parameters, job: Task) -> Facts:
    sequence = np.random.SeedSequence([parameters.seed, job.split, job.label, job.number])
    rng = np.random.Generator(np.random.Philox(sequence))
    picture = render_picture(parameters.classes, job.label, size=parameters.size, rng=rng)
    name = _file_name(catalogue(parameters.classes), job)
    Image.fromarray(picture.image).save(folder / "images" / name, compress_level=1)
    mask = Image.fromarray(picture.segmentation.astype(np.uint8) * 255)
    mask.save(folder / "segmentations" / name, compress_level=1)
    parts = Image.fromarray(picture.part_mask)
    parts.putpalette([value for colour in PART_COLOURS for value in colour])
    parts.save(folder / "part_masks" / name, compress_level=1)
    points = [(float(x), float(y)) for x, y in picture.part_points]
    return Facts(picture.box, points, [bool(visible) for visible in picture.part_visible])


def _class_folder(species: tuple[Species, ...], label: int) -> str:
    return f"{label + 1:03d}.{species[label].name}"


def _file_name(species: tuple[Species, ...], job: Task) -> str:
    name = f"{species[job.label].name}_{SPLITS[job.split]}_{job.number + 1:04d}.png"
    return f"{_class_folder(species, job.label)}/{name}"


def _write_tables(folder: Path, species: tuple[Species, ...], jobs: list[Task], facts: list[Facts]) -> None:
    """The text files of CUB-200-2011."""
    tables = {
        "classes.txt": [f"{i + 1} {_class_folder(species, i)}" for i in range(len(species))],
        "images.txt": [f"{i} {_file_name(species, job)}" for i, job in enumerate(jobs, 1)],
        "image_class_labels.txt": [f"{i} {job.label + 1}" for i, job in enumerate(jobs, 1)],
        "train_test_split.txt": [f"{i} {int(job.split == 0)}" for i, job in enumerate(jobs, 1)],
        "bounding_boxes.txt": [
            f"{i} {' '.join(f'{value:.1f}' for value in fact.box)}" for i, fact in enumerate(facts, 1)
        ],
        "parts/parts.txt": [f"{i} {part}" for i, part in enumerate(PARTS, 1)],
        "parts/part_locs.txt": [
            f"{i} {part} {x:.1f} {y:.1f} {int(visible)}"
            for i, fact in enumerate(facts, 1)
            for part, ((x, y), visible) in enumerate(zip(fact.part_points, fact.part_visible, strict=True), 1)
        ],
    }
    (folder / "parts").mkdir()
    for name, lines in tables.items():
        (folder / name).write_text("\n".join(lines) + "\n", "utf-8")


def _attributes(species: tuple[Species, ...], parameters: Parameters) -> dict:
    """What each species looks like, what tells each pair apart, and what was asked for."""
    differences: dict[str, dict[str, list[str]]] = {str(i + 1): {} for i in range(len(species))}
    for i, j in combinations(range(len(species)), 2):
        organs = list(differing_organs(species[i], species[j]))
        differences[str(i + 1)][str(j + 1)] = organs
        differences[str(j + 1)][str(i + 1)] = organs
    return {
        "name": "SynthBirds",
        "generator_version": GENERATOR_VERSION,
        "parameters": asdict(parameters),
        "min_pixels": min_pixels(parameters.size),
        "part_ids": {organ: list(ids) for organ, ids in PART_IDS.items()},
        "species": {
            str(i + 1): {
                "name": bird.name,
                "genus": bird.genus,
                "parts": {organ: variant._asdict() for organ, variant in bird.variants.items()},
            }
            for i, bird in enumerate(species)
        },
        "differences": differences,
    }


def contact_sheet(
    root: Path, *, columns: int = 6, rows: int = 4, cell: int | None = None, border: int = 4
) -> Image.Image:
    """Images of SynthBirds side by side, one class after the other and then the next image of each.

    ``cell`` is the side of an image on the sheet in pixels (None: its own).

    Raises:
        DataError: the folder is no data set in CUB's layout.
    """
    try:
        labels = dict(
            line.split() for line in (root / "image_class_labels.txt").read_text("utf-8").splitlines()
        )
        files = dict(line.split(" ", 1) for line in (root / "images.txt").read_text("utf-8").splitlines())
    except (OSError, ValueError) as error:
        raise DataError(f"{root} is no folder of SynthBirds: {error}") from error
    ranks: dict[str, int] = {}
    order: list[tuple[int, int, str]] = []
    for image, label in labels.items():
        ranks[label] = ranks.get(label, 0) + 1
        order.append((ranks[label], int(label), image))
    chosen = [files[image] for _, _, image in sorted(order)[: columns * rows]]
    pictures = [Image.open(root / "images" / name).convert("RGB") for name in chosen]
    side = cell or pictures[0].width
    columns, rows = min(columns, len(pictures)), min(rows, -(-len(pictures) // columns))
    sheet = Image.new("RGB", (columns * (side + border) + border, rows * (side + border) + border), "white")
    for i, picture in enumerate(pictures):
        place = (border + i % columns * (side + border), border + i // columns * (side + border))
        sheet.paste(picture.resize((side, side), Image.Resampling.LANCZOS), place)
    return sheet
