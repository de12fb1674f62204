"""``pixpnet data``: the names of the data sets, getting them, looking at them, and SynthBirds as files."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path

from pixpnet.choices import did_you_mean
from pixpnet.cli.console import progress_bar, say
from pixpnet.cli.parser import Parser, file_to_write, number_in
from pixpnet.config import OPTIONS, DatasetConfig, Range, to_kebab
from pixpnet.errors import ConfigError, DataError
from pixpnet.files import write_atomically

USAGE = """\
usage: pixpnet data list
       pixpnet data prepare NAME [--root data]
       pixpnet data check NAME [--root data] [--out FILE.png] [...]
       pixpnet data synthbirds --out DIR [--classes 10] [--size 128] [...]

`pixpnet data prepare --help` and so on tell more."""

OPTIONS_OF = "pixpnet.config:DatasetConfig"


def data(arguments: Sequence[str]) -> int:
    """List, prepare or check data sets, or render SynthBirds."""
    name, *rest = arguments or ["--help"]
    if name in ("-h", "--help"):
        print(USAGE)
        return 0
    if name not in ACTIONS:
        nearest = did_you_mean(name, ACTIONS)
        raise ConfigError(f"data: {name!r} is not one of {', '.join(ACTIONS)}{nearest}")
    return ACTIONS[name](rest)


def _list(arguments: Sequence[str]) -> int:
    Parser("pixpnet data list", "Names for dataset.name.").parse(arguments)
    from pixpnet.data import DATASETS

    print("\n".join(DATASETS))
    return 0


def _prepare(arguments: Sequence[str]) -> int:
    parser = Parser(
        "pixpnet data prepare",
        "Download, unpack or render a data set, and read its tables, so that training can start.",
        of=[OPTIONS_OF],
    )
    _add_name_and_root(parser)
    options = parser.parse(arguments)
    from pixpnet.data import prepare

    with progress_bar("preparing") as progress:
        images = prepare(options.name, options.root, progress=progress)
    say(
        f"{images.name} in {images.root}: {images.num_classes} classes, {len(images.train)} training and "
        f"{len(images.test)} test images"
    )
    return 0


def _check(arguments: Sequence[str]) -> int:
    parser = Parser(
        "pixpnet data check",
        "Read every image of a data set: counts, files left out, damaged files, images that stand twice or "
        "almost, class balance, parts, boxes and masks; and draw a sheet of some, and one of the pairs that "
        "are almost alike. The exit code is 1 if an image is damaged, stands in training and test or in two "
        "classes, or if there is only one class.",
        of=[OPTIONS_OF],
    )
    _add_name_and_root(parser)
    out_help = "the sheet, a PNG (default: logs/data/<name>.png)"
    parser.add_argument("--out", type=file_to_write, metavar="FILE", help=out_help)
    _add_numbers(parser, *_OF_SYNTHBIRDS, "test_size", "min_images", "max_pixels", "bits", "mask_label")
    for name in ("table", "columns", "group_by"):
        parser.take(name)
    for name in ("on_unreadable", "orientation"):
        parser.take(name, choices=OPTIONS[f"dataset.{to_kebab(name)}"].choices)
    options = vars(parser.parse(arguments))
    from pixpnet.data import alike_sheet, annotated_sheet, check_dataset, read_dataset

    out = options.pop("out")
    config = DatasetConfig(**options)
    with progress_bar("reading images") as progress:
        found = check_dataset(read_dataset(config, progress=progress), progress=progress)
    out = out or Path("logs", "data", f"{found.images.name.lower()}.png")
    sheets = {"sheet of images": (out, annotated_sheet(found.images))}
    if alike := alike_sheet(found):
        sheets["sheet of images that are almost alike"] = (out.with_stem(f"{out.stem}-alike"), alike)
    for file, sheet in sheets.values():
        write_atomically(file, partial(sheet.save, format="PNG"))
    say(*found.lines(), *(f"{name}: {file}" for name, (file, _) in sheets.items()))
    if faults := found.faults():
        raise DataError(f"{'; '.join(faults)} (see the list above)")
    return 0


def _synthbirds(arguments: Sequence[str]) -> int:
    parser = Parser(
        "pixpnet data synthbirds",
        "Render SynthBirds in the folder layout of CUB-200-2011; a seed gives the same pixels.",
        of=[OPTIONS_OF],
    )
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="new folder to write")
    _add_numbers(parser, *_OF_SYNTHBIRDS)
    options = vars(parser.parse(arguments))
    from pixpnet.data import DATASETS
    from pixpnet.synthbirds import render_dataset

    options["size"] = options["size"] or DATASETS["SYNTHBIRDS"].default_size
    out = options.pop("out")
    with progress_bar("rendering images") as progress:
        render_dataset(out, **options, progress=progress)
    say(out)
    return 0


def _add_name_and_root(parser: Parser) -> None:
    parser.add_argument("name", metavar="NAME", help="a name of `pixpnet data list`")
    parser.take("root", says="folder of the data sets")


_OF_SYNTHBIRDS = ("size", "classes", "train_images", "test_images", "seed")


def _add_numbers(parser: Parser, *names: str) -> None:
    """Options of the data set that `pixpnet train` has too, with their defaults and ranges."""
    for name in names:
        option = OPTIONS[f"dataset.{to_kebab(name)}"]
        assert isinstance(option.rule, Range)
        says = "side of the images in pixels; None: 128" if name == "size" else ""
        parser.take(name, type=number_in(option.rule, option.type), metavar="N", says=says)


ACTIONS: Mapping[str, Callable[[Sequence[str]], int]] = {
    "list": _list,
    "prepare": _prepare,
    "check": _check,
    "synthbirds": _synthbirds,
}
