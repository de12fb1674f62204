"""``pixpnet goldilocks``: which layer of which backbone is just right for a data set."""

from __future__ import annotations

from argparse import ArgumentTypeError, RawDescriptionHelpFormatter
from collections.abc import Sequence
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING

from pixpnet.cli.console import going_on, print_table, progress_bar, say
from pixpnet.cli.parser import Parser, file_to_write, folder_to_write, number_in
from pixpnet.config import COUNT, SIDE, Range, parse_config
from pixpnet.errors import ConfigError

if TYPE_CHECKING:
    from pixpnet.goldilocks import Outcome, Row

DESCRIPTION = """\
How well can classes be told from each stage of each backbone, and how much of the image does a cell see
there? Measures every stage (a command that was stopped goes on where it was), ranks them, and writes a
table, scatter plots, and a configuration for `pixpnet train -c`, cut at the best layer whose receptive
field is small enough."""

CONFIG_HELP = """\

Of the options of `pixpnet train`, on the command line or in a file (-c), these have an effect:
  --dataset.*                    the images
  --seed, --gpus                 as there (the seed is 0 where none is given)
  --model.no-pretrained          backbones without their published weights
  --model.weights FILE           weights of the one backbone
  --train.backbone-epochs N      probe: train each backbone on this data first, through heads at all stages
  --train.batch-size, --train.gradient-clip-norm, --train.precision, --optimizer.*
                                 how (from 32, adam, 1e-3); --test.batch-size for what is only read
`pixpnet train --help` tells more of each."""

IN_USE = (
    "seed",
    "gpus",
    "dataset.",
    "model.pretrained",
    "model.weights",
    "train.backbone-epochs",
    "train.batch-size",
    "train.gradient-clip-norm",
    "train.precision",
    "test.batch-size",
    "optimizer.",
)
"""Options of `pixpnet train`, or beginnings of their names, that have an effect."""


HEADINGS = (
    *("readout", "rank", "model", "stage", "accuracy", "top 5"),
    *("mean RF, %", "max RF, %", "parameters", "multiply-adds", "weights"),
)


def goldilocks(arguments: Sequence[str]) -> int:
    """Measure, and print the table, the advice and the files."""
    options, others = _parser().parse_beside_configuration(arguments, in_use=IN_USE)
    config = parse_config(["-c", "goldilocks", *others])
    if options.mode == "probe" and options.epochs is not None:
        raise ConfigError(
            "--epochs is for --mode finetune; to train the backbones that are probed, use "
            f"--model.no-pretrained --train.backbone-epochs {options.epochs}"
        )
    from pixpnet.goldilocks import explore, split_models

    given = {name: value for name, value in vars(options).items() if value is not None}
    given["models"] = split_models(options.models)
    given.setdefault("out", Path("logs", "goldilocks", config.dataset.name.lower()))
    with progress_bar("stages") as progress, going_on("what was measured is written"):
        outcome = explore(config, **given, progress=progress)
    _print(outcome)
    say(outcome.advice.line)
    for file in outcome.files:
        say(file)
    return 0


def _parser() -> Parser:
    parser = Parser(
        "pixpnet goldilocks",
        DESCRIPTION,
        of=["pixpnet.goldilocks:explore"],
        layout=RawDescriptionHelpFormatter,
    )
    parser.epilog = CONFIG_HELP
    models_help = "backbones, as in vgg16_bn,resnet18,timm/tf_efficientnet_lite0"
    parser.add_argument("--models", required=True, metavar="NAME,NAME,…", help=models_help)
    tiles = "sides in pixels, as in 48,64,80,112: the whole network on tiles of each, in place of layers"
    parser.take("tiles", type=_sides, metavar="N,N,…", says=tiles)
    parser.take("tile_input", type=number_in(SIDE), metavar="N", says="side that tiles are resized to")
    mode = "linear heads on the frozen backbone (minutes), or each cut network trained"
    parser.take("mode", choices=("probe", "finetune"), says=mode)
    parser.take("epochs", type=number_in(COUNT), metavar="N", says="of --mode finetune")
    parser.set_defaults(epochs=None)  # where nothing is said, the function's
    parser.take("max_rf", type=number_in(Range(above=0, maximum=100), float), metavar="PERCENT")
    parser.take("jobs", type=number_in(Range(minimum=1, maximum=256)), metavar="N")
    cluster = "spread the work over the machines of a Ray cluster (pip install 'pixpnet[ray]')"
    parser.take("cluster", says=cluster)
    out_help = "folder, or CSV file (default: logs/goldilocks/<data set>)"
    parser.add_argument("--out", type=_table_or_folder, metavar="DIR|CSV", help=out_help)
    return parser


def _sides(text: str) -> tuple[int, ...]:
    one = number_in(SIDE)
    sides = tuple(int(one(side)) for side in text.split(","))
    twice = next((side for side in sides if sides.count(side) > 1), None)
    if twice is not None:
        raise ArgumentTypeError(f"{twice} is there twice")
    return sides


def _table_or_folder(text: str) -> Path:
    return (file_to_write if text.lower().endswith(".csv") else folder_to_write)(text)


def _print(outcome: Outcome) -> None:
    first = outcome.rows[0]
    ordered = sorted(
        zip(outcome.rows, outcome.ranks, strict=True),
        key=lambda pair: (pair[0].readout, pair[1], -pair[0].test_accuracy, pair[0].mean_rf),
    )
    groups = [
        [_words(row, rank) for row, rank in group]
        for _, group in groupby(ordered, key=lambda pair: pair[0].readout)
    ]
    title = f"{first.dataset}, {first.height}×{first.width}, {first.mode}"
    right = {*HEADINGS} - {"readout", "model", "stage", "weights"}
    print_table(title, HEADINGS, groups, right=right, width=140)


def _words(row: Row, rank: int) -> tuple[str, ...]:
    return (
        *(row.readout, str(rank), row.model, row.stage),
        *(f"{row.test_accuracy:.3f}", f"{row.test_accuracy_top5:.3f}"),
        *(f"{row.mean_rf:.2f}", f"{row.max_rf:.2f}", f"{row.parameters:,}", f"{row.macs:,}"),
        row.weights,
    )
