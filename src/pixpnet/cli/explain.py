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
    parser.add_argument(
        "images", type=Path, nargs="*", metavar="IMAGE", help="image files; none: some test images"
    )
    parser.add_argument(
        "--top-k", type=whole_number(Range(minimum=1)), default=5, metavar="K", help="prototypes to show (5)"
    )
    parser.add_argument("--out", type=Path, metavar="DIR", help="folder of the pictures; none: in the run's")
    options = parser.parse(arguments)
    from pixpnet.report.explanations import explain_images

    for picture in explain_images(options.run_dir, options.images, top_k=options.top_k, out=options.out):
        print(picture)
    return 0
