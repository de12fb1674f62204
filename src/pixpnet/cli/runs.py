"""Commands that look at finished runs: ``pixpnet explain``, ``verify``, ``report`` and ``compare``."""

from __future__ import annotations

import argparse
import sys
import webbrowser
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from pixpnet.choices import did_you_mean
from pixpnet.cli.console import print_table, progress_bar, say
from pixpnet.cli.parser import Parser, file_to_write, folder_to_write, number_in, words
from pixpnet.config import COUNT, FROM_1, SEED, keys
from pixpnet.errors import ConfigError
from pixpnet.words import visible

if TYPE_CHECKING:
    from pixpnet.certificate import Certificate, Finding


HEADINGS = (
    *("region", "replaced by"),
    *("trials", "empty", "failing", "largest Δ features", "largest Δ similarity"),
)
"""Of the table of a certificate."""

FORMATS = {"md": ".md", "html": ".html"}
"""Format of a comparison -> how names of its files end."""


def explain(arguments: Sequence[str]) -> int:
    """Write the explanation of each image and print the paths."""
    description = "Draw why a trained network decides as it does."
    parser = Parser("pixpnet explain", description, of=["pixpnet.explanation:explain_images"])
    parser.add_run()
    images = "files, folders, patterns (default: the first test image of each of the first classes)"
    parser.add_argument("images", nargs="*", default=[], metavar="IMAGE", help=images)
    against = (
        "show why not this class, given by name or index; for images that are predicted as X, "
        "why not the second most likely class"
    )
    parser.take("against", "--class", metavar="X", says=against)
    parser.take("top_k", type=number_in(FROM_1), metavar="K")
    parser.take("by", metavar="ORDER", says="show those of the largest contribution or similarity")
    mappings = keys("pixpnet.pixel_space:MAPPINGS")
    parser.take("method", metavar="NAME", says="whose maps and boxes are shown", names=mappings)
    formats = "one or more of png, pdf and json, with commas between"
    parser.take("formats", "--format", type=words, metavar="FORMATS", says=formats)
    parser.take("on", metavar="WHAT")
    parser.take("dpi", type=number_in(FROM_1), metavar="N")
    atlas = "draw the prototypes of each class (or of --class), and only these images that are named"
    parser.take("atlas", says=atlas)
    parser.take("out", type=folder_to_write, metavar="DIR")
    options = parser.parse(arguments)
    from pixpnet.explanation import explain_images

    for path in explain_images(**vars(options)):
        say(path)
    return 0


def report(arguments: Sequence[str]) -> int:
    """Write the report and print its path."""
    parser = Parser(
        "pixpnet report",
        "Write one HTML file that shows a run: its figures, the evidence behind predictions, "
        "confused classes, every prototype, and what to be wary of. It opens without a server or a network.",
        of=["pixpnet.report:write_report"],
    )
    parser.add_run("folder of the run")
    parser.take("out", type=file_to_write, metavar="FILE")
    parser.take("images", type=number_in(COUNT), metavar="N")
    shown = "whether to show it in the browser (default: no)"
    parser.add_argument("--open", choices=("yes", "no"), default="no", help=shown)
    options = vars(parser.parse(arguments))
    is_opened = options.pop("open") == "yes"
    from rich.console import Console
    from rich.markup import escape

    from pixpnet.report import write_report

    with Console(file=sys.stderr).status("reading the run") as status:

        def show(done: int, total: int, doing: str = "", /) -> None:
            status.update(escape(visible(doing)))

        path = write_report(**options, progress=show)
    say(path)
    if is_opened:
        webbrowser.open(path.absolute().as_uri())
    return 0


def compare(arguments: Sequence[str]) -> int:
    """Print the comparison as Markdown, and write the files that are asked for."""
    parser = Parser(
        "pixpnet compare",
        "Runs side by side, as Markdown: accuracy, receptive field, size, and what `pixpnet "
        "evaluate` measured. Only the runs' files of results are read.",
    )
    runs_help = "folder of a run; two or more"
    parser.add_argument("run_dirs", type=Path, nargs="+", metavar="RUN_DIR", help=runs_help)
    out_help = "also write it to a file, as HTML or Markdown by its name"
    parser.add_argument("--out", type=file_to_write, metavar="FILE", help=out_help)
    format_help = "md, html, or md,html for two files beside each other (default: by the name of FILE)"
    parser.add_argument("--format", type=_formats, metavar="FORMATS", help=format_help)
    options = parser.parse(arguments)
    files = _files(options.out, options.format)
    from pixpnet.files import write_text
    from pixpnet.report import compare, read_runs, to_html, to_markdown

    comparison = compare(read_runs(options.run_dirs))
    texts = {"md": to_markdown(comparison)}
    if "html" in files:
        texts["html"] = to_html(comparison)
    for name, path in files.items():
        write_text(path, texts[name])
    print(texts["md"], end="")
    for path in files.values():
        say(path)
    return 0


def _formats(text: str) -> tuple[str, ...]:
    names = words(text)
    for name in names:
        if name not in FORMATS:
            raise argparse.ArgumentTypeError(
                f"{name!r} is not one of {', '.join(FORMATS)}{did_you_mean(name, FORMATS)}"
            )
    return names


def _files(out: Path | None, formats: tuple[str, ...] | None) -> dict[str, Path]:
    """Format -> the file to write.

    Raises:
        ConfigError: out tells no format, or there is a format other than md but no out.
    """
    if out is None:
        if formats not in (None, ("md",)):
            raise ConfigError("compare: --format html needs a file to write to: --out FILE.")
        return {}
    if formats is None:
        found = [name for name, ending in FORMATS.items() if out.suffix.lower() == ending]
        if not found:
            endings = " nor ".join(FORMATS.values())
            raise ConfigError(f"compare: {out} ends in neither {endings}; say which with --format.")
        return {found[0]: out}
    if len(formats) == 1:
        return {formats[0]: out}
    return {name: out.with_suffix(FORMATS[name]) for name in formats}


def verify(arguments: Sequence[str]) -> int:
    """Print a table and the verdict, write the certificate; the exit code is 1 if a trial failed."""
    parser = Parser(
        "pixpnet verify",
        "Replace everything outside the box that is displayed for a prototype, and see that the features "
        "behind it do not change.",
        of=["pixpnet.certificate:verify"],
    )
    parser.add_run()
    trials = "pairs of test image and prototype that are tried"
    parser.take("trials", type=number_in(COUNT), metavar="N", says=trials)
    parser.take("seed", type=number_in(SEED), metavar="N", says="draws the pairs and the noise")
    options = parser.parse(arguments)
    from pixpnet.certificate import certificate_file, verify, write_certificate
    from pixpnet.runs import load, writing_to

    loaded = load(options.run_dir, dataset_root=options.dataset_root)
    with writing_to(certificate_file(loaded.checkpoint).parent), progress_bar("trials") as progress:
        certificate = verify(loaded, trials=options.trials, seed=options.seed, progress=progress)
        path = write_certificate(certificate, loaded.checkpoint)
    title = f"Grounding: all but the region is replaced (features may move by {certificate.tolerance:g})"
    print_table(title, HEADINGS, _grouped(certificate), right=HEADINGS[2:], wrapped=HEADINGS)
    say(certificate.verdict)
    if certificate.worst_failure is not None:
        say(_worst(certificate))
    say(path)
    return 0 if certificate.passed else 1


def _grouped(certificate: Certificate) -> Iterator[list[tuple[str, ...]]]:
    """The rows of each region, with those of all replacements together at its end."""
    from pixpnet.pixel_space import region_title

    for region in certificate.regions:
        found = [finding for finding in certificate.findings if finding.region == region]
        rows = map(_row, [*found, certificate.overall(region)])
        yield [("" if number else region_title(region), *row) for number, row in enumerate(rows)]


def _row(finding: Finding) -> tuple[str, ...]:
    return (
        finding.replacement,
        str(finding.trials),
        str(finding.unchanged),
        f"{100 * finding.share_failing:.1f} %",
        f"{finding.largest_feature_change:.2g}",
        f"{finding.largest_similarity_change:.2g}",
    )


def _worst(certificate: Certificate) -> str:
    worst = certificate.worst_failure
    assert worst is not None
    left, top, right, bottom = worst.box
    return (
        f"Worst: prototype {worst.prototype} in test image {worst.image_id}, cell {worst.cell}, box "
        f"x {left:g}-{right:g}, y {top:g}-{bottom:g}, the rest replaced by {worst.replacement}."
    )
