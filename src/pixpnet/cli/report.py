"""``pixpnet report``: what there is to see of a run, as one HTML file."""

from __future__ import annotations

import sys
import webbrowser
from collections.abc import Sequence
from pathlib import Path

from pixpnet.cli.arguments import Parser, file_to_write, whole_number
from pixpnet.config.ranges import Range

__all__ = ["run"]

IMAGES = 10
"""Test images in each group, where nothing is said."""


def run(arguments: Sequence[str]) -> int:
    """Write the report and print its path."""
    parser = Parser(
        prog="pixpnet report",
        description="Write one HTML file that shows a run: its figures, the evidence behind predictions, "
        "confused classes, every prototype, and what to be wary of. It opens without a server or a network.",
    )
    parser.add_argument("run_dir", type=Path, metavar="RUN_DIR", help="folder of the run")
    out_help = "where to write (default: results/report.html in RUN_DIR)"
    parser.add_argument("--out", type=file_to_write, metavar="FILE", help=out_help)
    images_help = f"test images in each of its groups, at most (default: {IMAGES})"
    at_least_one = whole_number(Range(minimum=1))
    parser.add_argument("--images", type=at_least_one, default=IMAGES, metavar="N", help=images_help)
    open_help = "whether to show it in the browser (default: no)"
    parser.add_argument("--open", choices=("yes", "no"), default="no", help=open_help)
    parser.add_dataset_root()
    options = parser.parse(arguments)
    from rich.console import Console

    from pixpnet.report import write_report

    with Console(file=sys.stderr).status("reading the run") as status:
        path = write_report(
            options.run_dir,
            out=options.out,
            images=options.images,
            dataset_root=options.dataset_root,
            progress=lambda done, total, doing="", /: status.update(doing),
        )
    print(path)
    if options.open == "yes":
        webbrowser.open(path.resolve().as_uri())
    return 0
