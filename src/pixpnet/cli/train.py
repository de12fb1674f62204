"""``pixpnet train``: train a network, or go on with a run."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from pixpnet.config.help import options_help
from pixpnet.config.parse import parse_config
from pixpnet.config.sections import Config
from pixpnet.errors import ConfigError

__all__ = ["asks_for_help", "run", "train_showing_run"]

USAGE = """\
usage: pixpnet train -c FILE [-c FILE ...] [--section.option value ...]
       pixpnet train --resume RUN_DIR

Trains a pixel-grounded prototypical part network, projects its prototypes onto training patches,
tests it, and prints the folder of the run. A later file wins over an earlier one, and the command line
over the files. In files, options are nested by section.

  -c FILE, --config FILE
        YAML file with options.
  --resume RUN_DIR
        Go on with a run that was stopped, from the end of its last whole epoch.
  -h, --help
        This text."""


def run(arguments: Sequence[str]) -> int:
    """Train, or resume, and print the run directory."""
    if asks_for_help(arguments):
        print(f"{USAGE}\n{options_help()}")
        return 0
    stopped = _run_to_resume(arguments)
    print(_resume(stopped) if stopped else train_showing_run(parse_config(arguments)))
    return 0


def asks_for_help(arguments: Sequence[str]) -> bool:
    """Whether ``-h`` or ``--help`` is among the arguments."""
    return "-h" in arguments or "--help" in arguments


def train_showing_run(config: Config) -> Path:
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
