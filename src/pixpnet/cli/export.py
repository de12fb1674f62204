"""``pixpnet export``: a trained network for others."""

from __future__ import annotations

from collections.abc import Sequence

from pixpnet.cli.console import say
from pixpnet.cli.parser import Parser, file_to_write
from pixpnet.config import keys


def export(arguments: Sequence[str]) -> int:
    """Write the network and print where."""
    description = "Write a trained network for others: a folder that stands alone, or a file for programs."
    parser = Parser("pixpnet export", description, of=["pixpnet.exporting:export"])
    parser.add_run()
    parser.add_argument("out", type=file_to_write, metavar="OUT", help="folder or file to write")
    formats = "pixpnet is a folder that other commands take in place of the run, the others are a file"
    parser.take("format", metavar="FORMAT", says=formats, names=keys("pixpnet.exporting:FORMATS"))
    thumbnails = "leave the prototypes' training pictures out, as their licence forbids it"
    parser.add_argument("--no-thumbnails", dest="thumbnails", action="store_false", help=thumbnails)
    parser.take("licence", metavar="NAME", says="licence of the pictures, as the model card says it")
    options = vars(parser.parse(arguments))
    from pixpnet.exporting import export
    from pixpnet.runs import load

    run = load(options.pop("run_dir"), dataset_root=options.pop("dataset_root"))
    say(export(run, **options))
    return 0
