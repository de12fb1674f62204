"""``pixpnet predict``: a trained network on new pictures."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path

from pixpnet.cli.console import progress_bar, say
from pixpnet.cli.parser import Parser, file_to_write, folder_to_write, number_in
from pixpnet.config import FROM_1, Range
from pixpnet.errors import ConfigError

UNREADABLE = 3
"""The exit code of --strict, where a picture could not be read."""


def predict(arguments: Sequence[str]) -> int:
    """Write a row for each picture; pictures that can't be read are counted on stderr."""
    parser = Parser(
        "pixpnet predict",
        "Say what pictures show: class, probability, how unlike the training pictures they are, and the "
        "prototypes that speak for it, with their boxes in the pictures' own pixels.",
        of=["pixpnet.explanation:write_predictions"],
    )
    parser.add_run()
    pictures = "files, folders with all below them, patterns ('*.jpg'), or - for names on stdin, one a line"
    parser.add_argument("pictures", nargs="+", metavar="PICTURE", help=pictures)
    out = "write to this file: .csv, .jsonl or .parquet (which needs pyarrow); None: CSV on stdout"
    parser.take("out", type=file_to_write, metavar="FILE", says=out)
    resume = "go on with --out of a killed call: pictures that have a row get no other one"
    parser.take("resume", says=resume)
    parser.take("top_k", type=number_in(Range(minimum=0)), metavar="K")
    parser.take("explain", type=folder_to_write, metavar="DIR")
    review = "also write a page of the N pictures that the network is least certain of, beside --out"
    parser.take("review", type=number_in(Range(minimum=0)), metavar="N", says=review)
    parser.take("batch_size", type=number_in(FROM_1), metavar="N")
    strict = f"exit with {UNREADABLE} if a picture can't be read"
    parser.add_argument("--strict", action="store_true", help=strict)
    options = vars(parser.parse(arguments))
    is_strict, names = options.pop("strict"), options.pop("pictures")
    out, wanted = options["out"], options["review"]
    if wanted and out is None:
        raise ConfigError("predict: --review writes a page beside the file of --out: give one.")
    from pixpnet.explanation import write_predictions

    pictures = named_pictures(names)
    with progress_bar("reading the run") as progress:
        try:
            written = write_predictions(**options, pictures=pictures, progress=progress)
        except KeyboardInterrupt as interrupt:
            is_kept = out is not None and out.suffix.lower() != ".parquet"
            raise KeyboardInterrupt(*["the same command with --resume goes on"] * is_kept) from interrupt
    for place in ("out", "explain"):
        if options[place] is not None:
            say(options[place])
    if written.least_certain:
        from pixpnet.report import write_review
        from pixpnet.runs import load

        run = load(options["run_dir"], dataset_root=options["dataset_root"])
        page = out.with_suffix(".review.html")
        say(write_review(run, written.least_certain, page, total=written.pictures))
    if written.unreadable:
        where = out or "stdout"
        counts = f"{written.unreadable} of {written.pictures} pictures could not be read"
        say(f"pixpnet: {counts}; the column `error` of {where} says why.", error=True)
    return UNREADABLE if is_strict and written.unreadable else 0


def named_pictures(names: Iterable[str]) -> list[Path]:
    """The pictures that arguments mean, each once; those that stdin names may be missing.

    Raises:
        DataError: An argument means no picture.
    """
    from pixpnet.data import find_pictures

    found: dict[Path, None] = {}
    for name in names:
        if name == "-":
            lines = (line.rstrip(b"\r\n") for line in sys.stdin.buffer)
            found |= dict.fromkeys(Path(os.fsdecode(line)) for line in lines if line)
        else:
            found |= dict.fromkeys(find_pictures([name]))
    return list(found)
