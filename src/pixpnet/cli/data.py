"""``pixpnet data``: the names of the data sets, and SynthBirds as files."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from pixpnet.cli.arguments import Parser, whole_number
from pixpnet.config.options import OPTIONS, did_you_mean
from pixpnet.config.ranges import Range
from pixpnet.errors import ConfigError

__all__ = ["run"]

USAGE = """\
usage: pixpnet data list
       pixpnet data synthbirds --out DIR [--classes 10] [--size 128] [...]

`pixpnet data synthbirds --help` tells more."""


def run(arguments: Sequence[str]) -> int:
    """List the data sets, or render SynthBirds."""
    name, *rest = arguments or ["--help"]
    if name in ("-h", "--help"):
        print(USAGE)
        return 0
    if name not in ACTIONS:
        nearest = did_you_mean(name, ACTIONS)
        raise ConfigError(f"data: {name!r} is not one of {', '.join(ACTIONS)}{nearest}")
    return ACTIONS[name](rest)


def _list(arguments: Sequence[str]) -> int:
    Parser(prog="pixpnet data list", description="Names for dataset.name.").parse(arguments)
    from pixpnet.data import DATASETS

    print("\n".join(DATASETS))
    return 0


def _synthbirds(arguments: Sequence[str]) -> int:
    options = _synthbirds_parser().parse(arguments)
    from rich.console import Console
    from rich.progress import Progress

    from pixpnet.data import DATASETS
    from pixpnet.data.synthbirds import render_dataset

    with Progress(console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("rendering images", total=None)
        render_dataset(
            options.out,
            classes=options.classes,
            size=options.size or DATASETS["SYNTHBIRDS"].default_size,
            train_images=options.train_images,
            test_images=options.test_images,
            seed=options.seed,
            progress=lambda done, total: bar.update(task, completed=done, total=total),
        )
    print(options.out)
    return 0


def _synthbirds_parser() -> Parser:
    """The options of the data set that `pixpnet train` has too, with their defaults and ranges."""
    parser = Parser(
        prog="pixpnet data synthbirds",
        description="Render SynthBirds in the folder layout of CUB-200-2011; a seed gives the same pixels.",
    )
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="new folder to write")
    for name in ("size", "classes", "train-images", "test-images", "seed"):
        option = OPTIONS[f"dataset.{name}"]
        assert isinstance(option.range, Range)
        shown = "128" if option.default is None else option.default
        parser.add_argument(
            f"--{name}",
            type=whole_number(option.range),
            default=option.default,
            metavar="N",
            help=f"{option.help.removeprefix('SYNTHBIRDS: ')} (default: {shown})",
        )
    return parser


ACTIONS: Mapping[str, Callable[[Sequence[str]], int]] = {"list": _list, "synthbirds": _synthbirds}
