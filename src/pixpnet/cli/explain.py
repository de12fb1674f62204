"""``pixpnet explain``: pictures of why a network decided as it did."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from pixpnet.cli.arguments import Parser, whole_number
from pixpnet.config.ranges import Range

__all__ = ["run"]


def run(arguments: Sequence[str]) -> int:
    """Draw one PNG per image and print its path."""
    parser = Parser(prog="pixpnet explain", description="Draw why a trained network decides as it does.")
    parser.add_argument("run_dir", type=Path, metavar="RUN_DIR", help="folder of the run")
    images_help = "image files (default: the first test image of each of the first classes)"
    parser.add_argument("images", type=Path, nargs="*", default=[], metavar="IMAGE", help=images_help)
    at_least_one = whole_number(Range(minimum=1))
    parser.add_argument("--top-k", type=at_least_one, default=5, help="prototypes in a picture (default: 5)")
    out_help = "folder for the pictures (default: results/explanations in RUN_DIR)"
    parser.add_argument("--out", type=Path, metavar="DIR", help=out_help)
    options = parser.parse(arguments)
    from pixpnet.report.explanations import explain_images

    for picture in explain_images(options.run_dir, options.images, top_k=options.top_k, out=options.out):
        print(picture)
    return 0
