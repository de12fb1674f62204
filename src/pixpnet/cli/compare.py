"""``pixpnet compare``: runs side by side."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from pixpnet.cli.arguments import Parser, file_to_write
from pixpnet.config.options import did_you_mean
from pixpnet.errors import ConfigError

__all__ = ["run"]

FORMATS = {"md": ".md", "html": ".html"}
"""Format -> how names of its files end."""


def run(arguments: Sequence[str]) -> int:
    """Print the comparison as Markdown, and write the files that are asked for."""
    parser = Parser(
        prog="pixpnet compare",
        description="Runs side by side, as Markdown: accuracy, receptive field, size, and what `pixpnet "
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
        print(path)
    return 0


def _formats(text: str) -> tuple[str, ...]:
    names = tuple(dict.fromkeys(text.split(",")))
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
