"""``pixpnet fit``: a folder of photographs in, a trained, certified and explained network out."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from pixpnet.cli.console import progress_bar, say
from pixpnet.cli.parser import Parser, folder_to_write, number_in, words
from pixpnet.config import FROM_1, SEED, Range

DESCRIPTION = """\
Looks at a folder of photographs (a folder for each class), chooses the pretrained network and the size of the
patches that tell the classes best, trains prototypes, projects and tests them, certifies that nothing outside
the patches matters, explains some pictures and writes a report. A call that was stopped goes on."""


def fit(arguments: Sequence[str]) -> int:
    """Fit, or with --dry-run only say what would be done."""
    parser = Parser("pixpnet fit", DESCRIPTION, of=["pixpnet.fitting:fit"])
    parser.add_argument("folder", type=Path, metavar="FOLDER", help="a folder of pictures for each class")
    parser.take("minutes", type=number_in(Range(above=0), float), metavar="N")
    parser.take("max_field", type=number_in(Range(above=0, below=1), float), metavar="SHARE")
    tried = "networks to try, with commas between (default: a few whose weights are at hand)"
    parser.take("backbones", type=words, metavar="NAMES", says=tried)
    out = "folder of the results (default: logs/fit/<name of the folder>)"
    parser.take("out", type=folder_to_write, metavar="DIR", says=out)
    parser.take("trials", type=number_in(FROM_1), metavar="N")
    parser.take("seed", type=number_in(SEED), metavar="N")
    parser.take("strict")
    parser.take("min_images", type=number_in(FROM_1), metavar="N")
    thumbnails = "keep no copies of the prototypes' training pictures in the run, as their licence forbids it"
    parser.add_argument("--no-thumbnails", dest="thumbnails", action="store_false", help=thumbnails)
    parser.add_argument("--dry-run", action="store_true", help="only say what was found and would be done")
    options = vars(parser.parse(arguments))
    is_dry = options.pop("dry_run")
    from pixpnet.fitting import fit, plan_fit

    if is_dry:
        del options["out"], options["trials"], options["thumbnails"]
        for line in plan_fit(**options, bars=progress_bar).lines():
            say(line)
    else:
        fit(**options, tell=say, bars=progress_bar)
    return 0
