"""``pixpnet evaluate``: measures of interpretability of a trained network."""

from __future__ import annotations

import argparse
import math
import re
from collections.abc import Callable, Sequence
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING

from pixpnet.cli.arguments import Parser, folder_to_write, whole_number
from pixpnet.cli.console import print_table, progress_bar
from pixpnet.config.ranges import FROM_1, SEED

if TYPE_CHECKING:
    from rich.table import Table

    from pixpnet.evaluation import Measurement

__all__ = ["run"]

NAMES = (
    "stability",
    "consistency",
    "relevance_ordering",
    "deletion",
    "purity",
    "pointing",
    "telling_parts",
    "sparsity",
    "misalignment",
)
"""Those of METRICS, which takes a second to import; for the help."""

WIDTH = 150
"""Columns of a table that no terminal limits."""


def run(arguments: Sequence[str]) -> int:
    """Measure, print a table of it, and print where it was written."""
    options = _parser().parse(arguments)
    from pixpnet.evaluation import EvaluationFiles, Settings, evaluate
    from pixpnet.runs import load

    loaded = load(options.run_dir, dataset_root=options.dataset_root)
    with progress_bar("reading the data set") as update:
        try:
            evaluation = evaluate(
                loaded,
                metrics=options.metrics,
                methods=options.methods,
                settings=Settings(**{field.name: getattr(options, field.name) for field in fields(Settings)}),
                out=options.out,
                batch_size=options.batch_size,
                progress=update,
            )
        except KeyboardInterrupt as interrupt:
            raise KeyboardInterrupt(
                "what was measured is written; the same command goes on from there"
            ) from interrupt
    shown = [
        one
        for one in evaluation.measurements
        if (options.metrics is None or one.metric in options.metrics)
        and (options.methods is None or one.method is None or one.method in options.methods)
    ]
    print_table(_table(shown), width=WIDTH)
    for path in EvaluationFiles.of_checkpoint(loaded.checkpoint, out=options.out).existing():
        print(path)
    return 0


def _parser() -> Parser:
    parser = Parser(
        prog="pixpnet evaluate",
        description="Measure how the explanations of a trained network fare: consistency, stability, "
        "relevance ordering and others. What has been measured is written at once and is not measured again.",
    )
    number = whole_number(FROM_1)

    def add(
        name: str, type_: Callable[[str], object], metavar: str, words: str, default: object = None
    ) -> None:
        parser.add_argument(name, type=type_, metavar=metavar, help=words, default=default)

    parser.add_argument("run_dir", type=Path, metavar="RUN_DIR", help="folder of the run, or a checkpoint")
    add("--metrics", _names, "A,B", f"{', '.join(NAMES)} (default: all that the data set allows)")
    methods_help = "receptive_field, upsampling, random, prp (default: all)"
    add("--methods", _names, "A,B", methods_help)
    protocol_help = "of consistency and stability: pixpnet-2023 or eval-2023 (default: pixpnet-2023)"
    add("--protocol", str, "NAME", protocol_help, "pixpnet-2023")
    places = "mapping, argmax, upsampled-argmax or image"
    center_help = f"where their regions are centred: {places} (default: as the protocol says)"
    add("--center", str, "PLACE", center_help)
    half_help = "half the side of their regions (default: as the protocol says, 36)"
    add("--half-size", _positive, "PIXELS", half_help)
    steps_help = "points of a relevance curve, or all: every pixel (default: 256)"
    add("--steps", _steps, "N", steps_help, 256)
    add("--samples", number, "N", "test images that the slow metrics look at (default: 50)", 50)
    pairs_help = "of these images and prototypes, pairs that misalignment attacks at most (default: 100)"
    add("--pairs", number, "N", pairs_help, 100)
    start_help = "what pixels are before they are put in: zeros or noise (default: zeros)"
    add("--start", str, "KIND", start_help, "zeros")
    whose_help = "whose relevance curves: those of the image's class (own), or all (default: own)"
    add("--prototypes", str, "WHOSE", whose_help, "own")
    seed_help = "draws images, noise and the resamples of the intervals (default: 0)"
    add("--seed", whole_number(SEED), "N", seed_help, 0)
    add("--batch-size", number, "N", "images at a time (default: 32, on a GPU 256)")
    parser.add_dataset_root()
    add("--out", folder_to_write, "DIR", "where to write (default: results/ in RUN_DIR)")
    return parser


def _names(text: str) -> tuple[str, ...]:
    """
    >>> _names("stability, purity,stability")
    ('stability', 'purity')
    """
    names = [name for name in re.split(r"[,\s]+", text.strip()) if name]
    if not names:
        raise argparse.ArgumentTypeError("no name is given")
    return tuple(dict.fromkeys(name.replace("-", "_") for name in names))


def _steps(text: str) -> int | None:
    return None if text == "all" else whole_number(FROM_1)(text)


def _positive(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not (0 < value < math.inf):
        raise argparse.ArgumentTypeError(f"{text!r} is not a positive number")
    return value


def _table(measurements: Sequence[Measurement]) -> Table:
    from rich.table import Table

    from pixpnet.evaluation import METRICS
    from pixpnet.pixel_space import mapping_title

    table = Table(title="Means over prototypes, with their 95 % intervals", title_justify="left")
    for heading in ("metric", "method", "quantity"):
        table.add_column(heading)
    for heading in ("value", "interval", "of", "left out"):
        table.add_column(heading, justify="right", no_wrap=True)
    last = ""
    for one in measurements:
        known = METRICS.get(one.metric)  # the file may be of another version
        name_shown = known.title if known else one.metric.replace("_", " ").capitalize()
        title = f"{name_shown}, {one.protocol}" if one.protocol else name_shown
        if last not in ("", title):
            table.add_section()
        for number, (name, value) in enumerate(one.values.items()):
            table.add_row(
                "" if last == title else title,
                "" if number or one.method is None else mapping_title(one.method),
                known.quantities[name].title if known and name in known.quantities else name,
                *value.in_words(one.units[name]),
                str(value.count),
                str(value.left_out or ""),
            )
            last = title
    return table
