"""``pixpnet evaluate``: measures of interpretability of a trained network."""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Sequence
from dataclasses import fields
from itertools import groupby
from typing import TYPE_CHECKING

from pixpnet.cli.console import going_on, print_table, progress_bar, say
from pixpnet.cli.parser import Parser, folder_to_write, number_in, words
from pixpnet.config import COUNT, FROM_1, SEED, Range, keys

if TYPE_CHECKING:
    from pixpnet.evaluation import Measurement

HEADINGS = ("metric", "method", "quantity", "value", "interval", "of", "left out")


def evaluate(arguments: Sequence[str]) -> int:
    """Measure, print a table of it, and print where it was written."""
    options = vars(_parser().parse(arguments))
    run_dir, dataset_root = options.pop("run_dir"), options.pop("dataset_root")
    from pixpnet.evaluation import EvaluationFiles, Settings, evaluate
    from pixpnet.runs import load

    settings = Settings(**{field.name: options.pop(field.name) for field in fields(Settings)})
    loaded = load(run_dir, dataset_root=dataset_root)
    with progress_bar("reading the data set") as update, going_on("what was measured is written"):
        evaluation = evaluate(loaded, settings=settings, **options, progress=update)
    metrics, methods = options["metrics"], options["methods"]
    shown = [
        one
        for one in evaluation.measurements
        if (metrics is None or one.metric in metrics)
        and (methods is None or one.method is None or one.method in methods)
    ]
    title = "Means over prototypes, with their 95 % intervals"
    print_table(title, HEADINGS, _grouped(shown), right=HEADINGS[3:], wrapped=HEADINGS[:3], width=150)
    for path in EvaluationFiles.of_checkpoint(loaded.checkpoint, out=options["out"]).existing():
        say(path)
    return 0


def _parser() -> Parser:
    parser = Parser(
        "pixpnet evaluate",
        "Measure how the explanations of a trained network fare: consistency, stability, "
        "relevance ordering and others. What has been measured is written at once and is not measured again.",
        of=["pixpnet.evaluation:evaluate", "pixpnet.evaluation:Settings"],
    )
    parser.add_run()
    whole = number_in(COUNT)
    all_metrics, all_methods = keys("pixpnet.evaluation:METRICS"), keys("pixpnet.pixel_space:MAPPINGS")
    metrics = "what to measure; None: all that the data set allows"
    parser.take("metrics", type=_names, metavar="A,B", says=metrics, names=all_metrics)
    methods = "whose explanations; None: all that the network allows"
    parser.take("methods", type=_names, metavar="A,B", says=methods, names=all_methods)
    parser.take("protocol", metavar="NAME", names=keys("pixpnet.metrics:PROTOCOLS"))
    parser.take("center", metavar="PLACE")
    parser.take("half_size", type=number_in(Range(above=0), float), metavar="PIXELS")
    parser.take("steps", type=_steps, metavar="N", says="points of a relevance curve, or all: every pixel")
    parser.take("samples", type=whole, metavar="N")
    parser.take("pairs", type=whole, metavar="N")
    parser.take("start", metavar="KIND")
    parser.take("prototypes", metavar="WHOSE")
    parser.take("seed", type=number_in(SEED), metavar="N")
    batch_size = "images at a time; None: 32, on a GPU 256"
    parser.take("batch_size", type=whole, metavar="N", says=batch_size)
    parser.take("out", type=folder_to_write, metavar="DIR", says="where to write; None: results/ in RUN_DIR")
    return parser


def _names(text: str) -> tuple[str, ...]:
    names = words(text.replace("-", "_"))
    if not names:
        raise argparse.ArgumentTypeError("no name is given")
    return names


def _steps(text: str) -> float | None:
    return None if text == "all" else number_in(FROM_1)(text)


def _grouped(measurements: Sequence[Measurement]) -> Iterator[list[tuple[str, ...]]]:
    """The rows of each metric."""
    for title, group in groupby(measurements, key=_title):
        rows = [row for one in group for row in _rows(one)]
        yield [("" if number else title, *row) for number, row in enumerate(rows)]


def _title(one: Measurement) -> str:
    from pixpnet.evaluation import METRICS

    known = METRICS.get(one.metric)  # the file may be of another version
    name = known.title if known else one.metric.replace("_", " ").capitalize()
    return f"{name}, {one.protocol}" if one.protocol else name


def _rows(one: Measurement) -> Iterator[tuple[str, ...]]:
    from pixpnet.evaluation import METRICS
    from pixpnet.pixel_space import mapping_title

    quantities = METRICS[one.metric].quantities if one.metric in METRICS else {}
    for number, (name, value) in enumerate(one.values.items()):
        yield (
            "" if number or one.method is None else mapping_title(one.method),
            quantities[name].title if name in quantities else name,
            *value.in_words(one.units[name]),
            str(value.count),
            str(value.left_out or ""),
        )
