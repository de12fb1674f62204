"""The entry: which sub-command runs, and how its errors end."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib import import_module

import pixpnet
from pixpnet.config.options import did_you_mean
from pixpnet.errors import ConfigError, PixPNetError
from pixpnet.log import start_logging

__all__ = ["COMMANDS", "exit_code", "main"]


@dataclass(frozen=True)
class Command:
    """A sub-command; its module has ``run(arguments) -> exit code``, and is imported when it is called."""

    name: str
    module: str
    help: str


COMMANDS = {
    command.name: command
    for command in (
        Command("train", "pixpnet.cli.train", "train a network, project its prototypes, test it"),
        Command("demo", "pixpnet.cli.demo", "train on built-in pictures of birds, then explain some"),
        Command("explain", "pixpnet.cli.explain", "draw why a trained network decides as it does"),
        Command("verify", "pixpnet.cli.verify", "try whether pixels outside the displayed boxes matter"),
        Command("evaluate", "pixpnet.cli.evaluate", "measure how good its explanations are"),
        Command("report", "pixpnet.cli.report", "write one HTML file that shows a run"),
        Command("compare", "pixpnet.cli.compare", "runs side by side, as Markdown and HTML"),
        Command("rf", "pixpnet.cli.rf", "receptive fields of every layer of a backbone"),
        Command("goldilocks", "pixpnet.cli.goldilocks", "which layer of which backbone is just right"),
        Command("data", "pixpnet.cli.data", "list, prepare and check data sets; render SynthBirds"),
    )
}


def main(argv: Sequence[str] | None = None) -> int:
    """Run ``pixpnet`` and return its exit code: 0, 1 (it failed), 2 (wrong usage) or 130 (interrupted).

    Args:
        argv: The arguments; none: the process's.
    """
    arguments = list(sys.argv[1:] if argv is None else argv)
    return exit_code("pixpnet", lambda: _dispatch(arguments))


def exit_code(program: str, run: Callable[[], int]) -> int:
    """Start logging and run; errors meant for users become a line on stderr, and a code as `main` has it."""
    try:
        start_logging(os.environ)
        return run()
    except PixPNetError as error:
        print(f"{program}: error: {_one_line(error)}", file=sys.stderr)
        return 2 if isinstance(error, ConfigError) else 1
    except KeyboardInterrupt as interrupt:
        print(f"{program}: interrupted{_note(interrupt)}", file=sys.stderr)
        return 130
    except SystemExit as end:  # argparse's --help
        return int(end.code or 0)
    except BrokenPipeError:  # the reader of our output is gone: `pixpnet rf resnet18 | head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except OSError as error:  # a full disk, a folder that is a file, no permission
        print(f"{program}: error: {error}", file=sys.stderr)
        return 1


def _dispatch(arguments: list[str]) -> int:
    name, *rest = arguments or ["--help"]
    if name in ("-h", "--help"):
        print(_help())
    elif name == "--version":
        print(f"pixpnet {pixpnet.__version__}")
    elif name in COMMANDS:
        return import_module(COMMANDS[name].module).run(rest)
    else:
        raise ConfigError(f"{name!r} is not one of {', '.join(COMMANDS)}{did_you_mean(name, COMMANDS)}")
    return 0


def _help() -> str:
    commands = "\n".join(f"  {command.name:<10} {command.help}" for command in COMMANDS.values())
    return (
        "usage: pixpnet COMMAND [...]\n\n"
        "Pixel-grounded prototypical part networks.\n\n"
        f"commands:\n{commands}\n\n"
        "`pixpnet COMMAND --help` tells more of each; `pixpnet --version` prints the version.\n"
        "PIXPNET_LOG_LEVEL (DEBUG, INFO, WARNING, ERROR) sets what is logged."
    )


def _one_line(error: PixPNetError) -> str:
    return " ".join(str(error).split())


def _note(interrupt: KeyboardInterrupt) -> str:
    return f": {interrupt.args[0]}" if interrupt.args else ""
