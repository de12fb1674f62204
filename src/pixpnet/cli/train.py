"""``pixpnet train`` and ``demo``: train a network, or go on with a run."""

from __future__ import annotations

from collections.abc import Sequence
from importlib.resources import as_file, files
from pathlib import Path

from pixpnet.cli.console import say
from pixpnet.cli.parser import ConfigurationHelp, Parser
from pixpnet.config import Config, parse_config
from pixpnet.errors import ConfigError

TRAIN_USAGE = """\
pixpnet train -c FILE [-c FILE ...] [--section.option value ...]
       pixpnet train --resume RUN_DIR"""

TRAIN_USAGE = """\
%(prog)s -c FILE [-c FILE ...] [--section.option value ...]
       %(prog)s --resume RUN_DIR"""

TRAIN = """\
Trains a pixel-grounded prototypical part network, projects its prototypes onto training patches,
tests it, and prints the folder of the run. A later file wins over an earlier one, and the command line
over the files. In files, options are nested by section."""

DEMO_USAGE = "%(prog)s [--section.option value ...]"

DEMO = """\
Renders pictures of birds, trains a network on them, projects its prototypes, tests it, draws
explanations and writes a report. Options change the packaged configuration; the defaults below are
those of pixpnet train."""


def train(arguments: Sequence[str]) -> int:
    """Train, or resume, and print the run directory."""
    if _asks_for_help(arguments):
        parser = Parser("pixpnet train", TRAIN, usage=TRAIN_USAGE, layout=ConfigurationHelp)
        parser.add_argument("-c", "--config", metavar="FILE", help="YAML file with options")
        resume_help = "go on with a run that was stopped, from the end of its last whole epoch"
        parser.add_argument("--resume", metavar="RUN_DIR", help=resume_help)
        parser.print_configuration_help()
        return 0
    stopped = _run_to_resume(arguments)
    say(_resume(stopped) if stopped else _train_showing_run(parse_config(arguments)))
    return 0


def demo(arguments: Sequence[str]) -> int:
    """Train with the packaged configuration, explain, report, and say where everything is."""
    if _asks_for_help(arguments):
        parser = Parser("pixpnet demo", DEMO, usage=DEMO_USAGE, layout=ConfigurationHelp)
        parser.print_configuration_help()
        return 0
    with as_file(files("pixpnet") / "configs" / "demo.yaml") as packaged:
        config = parse_config(["-c", str(packaged), *arguments])
    run_dir = _train_showing_run(config)
    from pixpnet.explanation import explain_images
    from pixpnet.report import write_report

    pictures = explain_images(run_dir)
    report = write_report(run_dir)
    say(f"run: {run_dir}")
    for picture in pictures:
        say(f"explanation: {picture}")
    say(f"report: {report}")
    return 0


def _asks_for_help(arguments: Sequence[str]) -> bool:
    return "-h" in arguments or "--help" in arguments


def _train_showing_run(config: Config) -> Path:
    """Train; when interrupted, say which run it was and where it can go on.

    Raises:
        KeyboardInterrupt: With that sentence.
    """
    from pixpnet.training import train

    log_dir = Path(config.log_dir)
    before = _runs(log_dir)
    try:
        return train(config)
    except KeyboardInterrupt:
        started = sorted(_runs(log_dir) - before)
        raise KeyboardInterrupt(_how_to_go_on(started[-1]) if started else "nothing was begun") from None


def _resume(run_dir: Path) -> Path:
    from pixpnet.training import resume

    try:
        return resume(run_dir)
    except KeyboardInterrupt:
        raise KeyboardInterrupt(_how_to_go_on(run_dir)) from None


def _run_to_resume(arguments: Sequence[str]) -> Path | None:
    """The folder after ``--resume``, which stands alone: a run keeps its own options."""
    if not any(argument.partition("=")[0] == "--resume" for argument in arguments):
        return None
    first, equals, folder = arguments[0].partition("=")
    rest = list(arguments[1:])
    if first == "--resume" and equals and not rest:
        return Path(folder)
    if arguments[0] == "--resume" and len(rest) == 1:
        return Path(rest[0])
    raise ConfigError("--resume: takes one run directory and no other options, since the run keeps its own")


def _runs(log_dir: Path) -> set[Path]:
    """The run directories ``<log-dir>/<data set>/protonet/<timestamp>``."""
    return set(log_dir.glob("*/*/*"))


def _how_to_go_on(run_dir: Path) -> str:
    from pixpnet.runs import RunDirectory

    checkpoints = RunDirectory(run_dir).checkpoint_files()
    if not checkpoints:
        return f"{run_dir} holds no checkpoint yet, no epoch was complete"
    return f"the last good checkpoint is {checkpoints[-1]}; go on with: pixpnet train --resume {run_dir}"
