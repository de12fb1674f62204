"""``pixpnet explain``: pictures of why a network decided as it did."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from pixpnet.cli.arguments import Parser, folder_to_write, whole_number
from pixpnet.config.ranges import Range

__all__ = ["run"]


def run(arguments: Sequence[str]) -> int:
    """Write the explanation of each image and print the paths."""
    options = _parser().parse(arguments)
    from pixpnet.explanation import explain_images

    for path in explain_images(
        options.run_dir,
        options.images,
        top_k=options.top_k,
        by=options.by,
        method=options.method,
        against=options.against,
        formats=options.formats,
        atlas=options.atlas,
        out=options.out,
        dataset_root=options.dataset_root,
    ):
        print(path)
    return 0


def _parser() -> Parser:
    parser = Parser(prog="pixpnet explain", description="Draw why a trained network decides as it does.")
    parser.add_argument("run_dir", type=Path, metavar="RUN_DIR", help="folder of the run, or a .ckpt file")
    images_help = "image files (default: the first test image of each of the first classes)"
    parser.add_argument("images", type=Path, nargs="*", default=[], metavar="IMAGE", help=images_help)
    class_help = (
        "show why not this class, given by name or index; for images that are predicted as X, "
        "why not the second most likely class"
    )
    parser.add_argument("--class", dest="against", metavar="X", help=class_help)
    at_least_one = whole_number(Range(minimum=1))
    top_k_help = "prototypes in a picture (default: 5)"
    parser.add_argument("--top-k", type=at_least_one, default=5, metavar="K", help=top_k_help)
    by_help = "show those of the largest contribution (default) or similarity"
    parser.add_argument("--by", default="contribution", metavar="ORDER", help=by_help)
    method_help = "maps and boxes: receptive_field (default), upsampling, prp or random"
    parser.add_argument("--method", default="receptive_field", metavar="NAME", help=method_help)
    format_help = "one or more of png, pdf and json, with commas between (default: png)"
    parser.add_argument("--format", dest="formats", type=_parts, default=("png",), help=format_help)
    atlas_help = "draw the prototypes of each class (or of --class), and only these images that are named"
    parser.add_argument("--atlas", action="store_true", help=atlas_help)
    out_help = "folder for the files (default: results/explanations in RUN_DIR)"
    parser.add_argument("--out", type=folder_to_write, metavar="DIR", help=out_help)
    parser.add_dataset_root()
    return parser


def _parts(text: str) -> tuple[str, ...]:
    """The words between commas, each once."""
    return tuple(dict.fromkeys(part.strip().lower() for part in text.split(",") if part.strip()))
