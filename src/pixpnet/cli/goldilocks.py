"""``pixpnet goldilocks``: which layer of which backbone is just right for a data set."""

from __future__ import annotations

import argparse
import math
from collections.abc import Sequence
from importlib.resources import as_file, files
from pathlib import Path
from typing import TYPE_CHECKING

from pixpnet.cli.arguments import Parser, file_to_write, folder_to_write, whole_number
from pixpnet.cli.console import print_table, progress_bar
from pixpnet.config import Config, parse_config
from pixpnet.config.options import OPTIONS, did_you_mean
from pixpnet.config.ranges import FROM_1, Range
from pixpnet.errors import ConfigError

if TYPE_CHECKING:
    from rich.table import Table

    from pixpnet.goldilocks import Outcome

__all__ = ["run"]

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

DEFAULT_EPOCHS = 10
"""Of finetuning: the original's."""


def run(arguments: Sequence[str]) -> int:
    """Measure, and print the table, the advice and the files."""
    parser = _parser()
    own, others = _split(arguments, [name for action in parser._actions for name in action.option_strings])
    options = parser.parse(own)
    config = _config(others)
    if options.mode == "probe" and options.epochs is not None:
        raise ConfigError(
            "--epochs is for --mode finetune; to train the backbones that are probed, use "
            f"--model.no-pretrained --train.backbone-epochs {options.epochs}"
        )
    from pixpnet.goldilocks import explore, split_models

    with progress_bar("stages") as progress:
        outcome = explore(
            config,
            models=split_models(options.models),
            out=options.out or Path("logs", "goldilocks", config.dataset.name.lower()),
            mode=options.mode,
            epochs=options.epochs or DEFAULT_EPOCHS,
            max_rf=options.max_rf,
            jobs=options.jobs,
            cluster=options.cluster,
            progress=progress,
        )
    _print(outcome)
    return 0


def _parser() -> Parser:
    parser = Parser(prog="pixpnet goldilocks", description=DESCRIPTION)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.epilog = CONFIG_HELP
    models_help = "backbones, as in vgg16_bn,resnet18,timm/tf_efficientnet_lite0"
    parser.add_argument("--models", required=True, metavar="NAME,NAME,…", help=models_help)
    mode_help = "linear heads on the frozen backbone (minutes), or each cut network trained (default: probe)"
    parser.add_argument("--mode", choices=("probe", "finetune"), default="probe", help=mode_help)
    epochs_help = f"of --mode finetune (default: {DEFAULT_EPOCHS})"
    parser.add_argument("--epochs", type=whole_number(FROM_1), metavar="N", help=epochs_help)
    rf_help = "largest mean receptive field of the advised layer, percent of the image (default: 30)"
    parser.add_argument("--max-rf", type=_percent, default=30.0, metavar="PERCENT", help=rf_help)
    jobs_help = "processes on this machine (default: 1)"
    parser.add_argument("--jobs", type=whole_number(FROM_1), default=1, metavar="N", help=jobs_help)
    cluster_help = "spread the work over the machines of a Ray cluster (pip install 'pixpnet[ray]')"
    parser.add_argument("--cluster", action="store_true", help=cluster_help)
    out_help = "folder, or CSV file (default: logs/goldilocks/<data set>)"
    parser.add_argument("--out", type=_table_or_folder, metavar="DIR|CSV", help=out_help)
    return parser


def _table_or_folder(text: str) -> Path:
    return (file_to_write if text.lower().endswith(".csv") else folder_to_write)(text)


def _percent(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not Range(above=0, maximum=100).holds(value):
        raise argparse.ArgumentTypeError(f"{text!r} is not a number > 0 and ≤ 100")
    return value


def _split(arguments: Sequence[str], own_names: Sequence[str]) -> tuple[list[str], list[str]]:
    """The arguments of this command, and those that `pixpnet train` has too.

    Raises:
        ConfigError: An option of neither, or one without an effect here.
    """
    own: list[str] = []
    others: list[str] = []
    into = own
    for argument in arguments:
        name = argument.partition("=")[0]
        if name in own_names:
            into = own
        elif argument.startswith("-") and len(argument) > 1 and not argument[1].isdigit():
            _check(name, own_names)
            into = others
        into.append(argument)
    return own, others


def _check(name: str, own_names: Sequence[str]) -> None:
    if name in ("-c", "--config"):
        return
    kebab = name.removeprefix("--").replace("_", "-")
    known = {option.name: option.name for option in OPTIONS.values()}
    known |= {option.negative_name: option.name for option in OPTIONS.values() if option.is_flag}
    if kebab not in known:
        in_use = [f"--{spelled}" for spelled, option in known.items() if option.startswith(IN_USE)]
        nearest = did_you_mean(name, [*own_names, *in_use])
        raise ConfigError(f"goldilocks: unknown option {name}{nearest} (see pixpnet goldilocks --help)")
    if not known[kebab].startswith(IN_USE):
        hint = "; give --models" if kebab == "model.feature-extractor" else ""
        raise ConfigError(f"goldilocks: {name} has no effect here{hint}")


def _config(arguments: Sequence[str]) -> Config:
    with as_file(files("pixpnet") / "configs" / "goldilocks.yaml") as packaged:
        return parse_config(["-c", str(packaged), *arguments])


def _print(outcome: Outcome) -> None:
    print_table(_table(outcome), width=140)
    print(outcome.advice.line)
    for file in outcome.files:
        print(file)


def _table(outcome: Outcome) -> Table:
    from rich.table import Table

    first = outcome.rows[0]
    table = Table(title=f"{first.dataset}, {first.height}×{first.width}, {first.mode}", title_justify="left")
    for heading in ("readout", "rank", "model", "stage"):
        table.add_column(heading, justify="right" if heading == "rank" else "left", no_wrap=True)
    for heading in ("accuracy", "top 5", "mean RF, %", "max RF, %", "parameters", "multiply-adds"):
        table.add_column(heading, justify="right", no_wrap=True)
    table.add_column("weights", no_wrap=True)
    ordered = sorted(
        zip(outcome.rows, outcome.ranks, strict=True),
        key=lambda pair: (pair[0].readout, pair[1], -pair[0].test_accuracy, pair[0].mean_rf),
    )
    for (row, rank), (following, _) in zip(ordered, [*ordered[1:], ordered[-1]], strict=True):
        table.add_row(
            *(row.readout, str(rank), row.model, row.stage),
            *(f"{row.test_accuracy:.3f}", f"{row.test_accuracy_top5:.3f}"),
            *(f"{row.mean_rf:.2f}", f"{row.max_rf:.2f}", f"{row.parameters:,}", f"{row.macs:,}"),
            row.weights,
            end_section=row.readout != following.readout,
        )
    return table
