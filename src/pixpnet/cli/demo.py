"""``pixpnet demo``: the whole way on built-in data, with the packaged configuration."""

from __future__ import annotations

from collections.abc import Sequence
from importlib.resources import as_file, files

from pixpnet.cli.train import asks_for_help, train_showing_run
from pixpnet.config.help import options_help
from pixpnet.config.parse import parse_config

__all__ = ["run"]

USAGE = """\
usage: pixpnet demo [--section.option value ...]

Renders pictures of birds, trains a network on them, projects its prototypes, tests it, draws
explanations and writes a report. Options change the packaged configuration; the defaults below are
those of pixpnet train."""

TOP_K = 5
"""Prototypes in each explanation."""


def run(arguments: Sequence[str]) -> int:
    """Train with the packaged configuration, explain, report, and say where everything is."""
    if asks_for_help(arguments):
        print(f"{USAGE}\n{options_help()}")
        return 0
    with as_file(files("pixpnet") / "configs" / "demo.yaml") as packaged:
        config = parse_config(["-c", str(packaged), *arguments])
    run_dir = train_showing_run(config)
    from pixpnet.explanation import explain_images
    from pixpnet.report import write_report

    pictures = explain_images(run_dir, top_k=TOP_K)
    report = write_report(run_dir)
    print(f"run: {run_dir}")
    for picture in pictures:
        print(f"explanation: {picture}")
    print(f"report: {report}")
    return 0
