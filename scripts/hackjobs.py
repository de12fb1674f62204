"""The Goldilocks experiments: every stage of every backbone of the paper, finetuned with a linear head.

The same as `pixpnet goldilocks --mode finetune`, with the original's options, models, data and file name.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path

from pixpnet.cli import Parser, exit_code, number_in, say
from pixpnet.config import FROM_1, Config, parse_config
from pixpnet.errors import ConfigError

FOLDER = Path("results", "hackjob")
DEBUG = "_DEBUG"

ORIGINAL = ("--dataset.name", "IMAGENETTE", "--dataset.val-size", "0", "--train.batch-size", "32")
"""Settings of the original."""

TRAIN_OPTIONS = ("dataset.", "seed", "gpus", "model.pretrained", "train.batch-size")
"""Options of `pixpnet train`, or beginnings of their names, that are taken as well."""


def main(arguments: Sequence[str]) -> int:
    """Measure what is left to measure; 0, 1 (it failed), 2 (wrong usage) or 130 (interrupted)."""
    return exit_code("hackjobs", lambda: run(arguments))


def run(arguments: Sequence[str]) -> int:
    """Measure, and print the advice and the files."""
    options, others = _parser().parse_beside_configuration(arguments, in_use=TRAIN_OPTIONS)
    config = _config(others, debug=options.debug)
    from pixpnet.goldilocks import explore

    models = models_with(options.filter)
    table = (
        _table_to_resume(options.resume, debug=options.debug)
        if options.resume
        else new_table(debug=options.debug)
    )
    say(f"{len(models)} models; go on with: --resume {table}", error=True)
    try:
        outcome = explore(
            config, models=models, out=table, mode="finetune", epochs=options.epochs, jobs=options.jobs
        )
    except KeyboardInterrupt as interrupt:
        raise KeyboardInterrupt(f"go on with --resume {table}") from interrupt
    say(outcome.advice.line)
    for file in outcome.files:
        say(file)
    return 0


def models_with(text: str) -> list[str]:
    """The models of the paper whose name holds the text.

    Raises:
        ConfigError: There is none.
    """
    from pixpnet.goldilocks import zoo

    models = [name for name in zoo() if text in name]
    if not models:
        raise ConfigError(f"--filter: no model's name holds {text!r}; there are {', '.join(zoo())}")
    return models


def new_table(*, debug: bool) -> Path:
    """The path of a table that is not there yet."""
    stamp = datetime.now().strftime("%Y-%m-%dT%H_%M_%S")
    return FOLDER / f"hackjob_results_{stamp}{DEBUG if debug else ''}.csv"


def _table_to_resume(table: Path, *, debug: bool) -> Path:
    if not table.is_file():
        raise ConfigError(f"--resume: there is no file {table}")
    if table.stem.endswith(DEBUG) != debug:
        raise ConfigError(f"--resume: {table} was begun with{'out' if debug else ''} --debug")
    return table


def _parser() -> Parser:
    parser = Parser(
        "hackjobs",
        "Accuracy of every stage of every backbone of the paper, finetuned: the Goldilocks experiments.",
        of=["pixpnet.goldilocks:explore"],
    )
    parser.add_argument("--filter", default="", metavar="TEXT", help="only models whose name holds the text")
    parser.take("epochs", type=number_in(FROM_1), metavar="N")
    parser.add_argument("--debug", action="store_true", help="three batches of the training and test images")
    resume = "table of an interrupted run: only what is missing is measured"
    parser.add_argument("--resume", type=Path, metavar="CSV", help=resume)
    parser.take("jobs", type=number_in(FROM_1), metavar="N")
    others = "--dataset.* --seed --gpus --model.no-pretrained --train.batch-size"
    parser.epilog = f"Also, as in pixpnet train: {others} (from {' '.join(ORIGINAL)})."
    return parser


def _config(others: Sequence[str], *, debug: bool) -> Config:
    debugging = ["--debug"] if debug else []
    return parse_config(["-c", "goldilocks", *ORIGINAL, *others, *debugging])


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
