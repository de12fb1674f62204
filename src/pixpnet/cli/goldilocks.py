"""``pixpnet goldilocks``: which layer of which backbone is just right for a data set."""

from __future__ import annotations

from argparse import RawDescriptionHelpFormatter
from collections.abc import Sequence
from importlib.resources import as_file, files
from pathlib import Path
from typing import TYPE_CHECKING

from pixpnet.cli.console import print_table, progress_bar
from pixpnet.cli.parser import Parser, file_to_write, folder_to_write, number_in
from pixpnet.config import FROM_1, Config, Range, parse_config
from pixpnet.errors import ConfigError

if TYPE_CHECKING:
    from rich.table import Table

    from pixpnet.goldilocks.run import Outcome

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


def goldilocks(arguments: Sequence[str]) -> int:
    """Measure, and print the table, the advice and the files."""
    options, others = _parser().parse_beside_configuration(arguments, in_use=IN_USE)
    config = _config(others)
    if options.mode == "probe" and options.epochs is not None:
        raise ConfigError(
            "--epochs is for --mode finetune; to train the backbones that are probed, use "
            f"--model.no-pretrained --train.backbone-epochs {options.epochs}"
        )
    from pixpnet.goldilocks import explore
    from pixpnet.goldilocks.tasks import split_models

    given = {name: value for name, value in vars(options).items() if value is not None}
    given["models"] = split_models(options.models)
    given.setdefault("out", Path("logs", "goldilocks", config.dataset.name.lower()))
    with progress_bar("stages") as progress:
        outcome = explore(config, **given, progress=progress)
    print_table(_table(outcome), width=140)
    print(outcome.advice.line)
    for file in outcome.files:
        print(file)
    return 0


def _parser() -> Parser:
    parser = Parser(
        "pixpnet goldilocks",
        DESCRIPTION,
        of=["pixpnet.goldilocks:explore"],
        epilog=CONFIG_HELP,
        formatter_class=RawDescriptionHelpFormatter,
    )
    models_help = "backbones, as in vgg16_bn,resnet18,timm/tf_efficientnet_lite0"
    parser.add_argument("--models", required=True, metavar="NAME,NAME,…", help=models_help)
    mode = "linear heads on the frozen backbone (minutes), or each cut network trained"
    parser.take("mode", choices=("probe", "finetune"), says=mode)
    parser.take("epochs", type=number_in(FROM_1), metavar="N", says="of --mode finetune")
    parser.set_defaults(epochs=None)  # where nothing is said, the function's
    parser.take("max_rf", type=number_in(Range(above=0, maximum=100), float), metavar="PERCENT")
    parser.take("jobs", type=number_in(FROM_1), metavar="N")
    cluster = "spread the work over the machines of a Ray cluster (pip install 'pixpnet[ray]')"
    parser.take("cluster", says=cluster)
    out_help = "folder, or CSV file (default: logs/goldilocks/<data set>)"
    parser.add_argument("--out", type=_table_or_folder, metavar="DIR|CSV", help=out_help)
    return parser


def _table_or_folder(text: str) -> Path:
    return (file_to_write if text.lower().endswith(".csv") else folder_to_write)(text)


def _config(arguments: Sequence[str]) -> Config:
    with as_file(files("pixpnet") / "configs" / "goldilocks.yaml") as packaged:
        return parse_config(["-c", str(packaged), *arguments])


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
