"""Argument parsers whose errors are one line that helps."""

from __future__ import annotations

import argparse
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NoReturn

from pixpnet.config.options import did_you_mean
from pixpnet.config.ranges import Range
from pixpnet.errors import ConfigError

__all__ = ["Parser", "file_to_write", "folder_to_write", "image_size", "whole_number"]


class Parser(argparse.ArgumentParser):
    """An argument parser that raises ConfigError, and knows which option an unknown one is nearest to."""

    def __init__(self, *, prog: str, description: str) -> None:
        self._command = prog.removeprefix("pixpnet ")
        super().__init__(prog=prog, description=description, allow_abbrev=False)

    def parse(self, arguments: Sequence[str]) -> argparse.Namespace:
        """The values of the arguments; options may stand between the positional ones.

        Raises:
            ConfigError: If one is unknown, missing or has a wrong value.
            SystemExit: After ``--help``.
        """
        values, unknown = self.parse_known_intermixed_args(arguments)
        if unknown:
            known = [name for action in self._actions for name in action.option_strings]
            nearest = did_you_mean(unknown[0].partition("=")[0], known)
            allowed = ", ".join(name for name in known if name.startswith("--"))
            raise ConfigError(
                f"{self._command}: unknown argument {unknown[0]!r}{nearest} (options: {allowed})"
            )
        return values

    def add_dataset_root(self) -> None:
        """The option of commands that look at a finished run's data."""
        text = "where the run's data lies now, if it has moved (what dataset.root was in training)"
        self.add_argument("--dataset-root", type=Path, metavar="DIR", help=text)

    def error(self, message: str) -> NoReturn:
        raise ConfigError(f"{self._command}: {message}")


def whole_number(range_: Range) -> Callable[[str], int]:
    """The type of an argument that is a whole number in a range."""

    def convert(text: str) -> int:
        if not re.fullmatch(r"\d+", text) or not range_.holds(int(text)):
            raise argparse.ArgumentTypeError(f"{text!r} is not a whole number {range_}")
        return int(text)

    return convert


def image_size(text: str) -> tuple[int, int]:
    """(height, width) from ``224`` or ``160x224``.

    >>> image_size("160x224")
    (160, 224)
    """
    found = re.fullmatch(r"(\d+)(?:[x×](\d+))?", text)
    height, width = (int(found[1]), int(found[2] or found[1])) if found else (0, 0)
    if not (height and width):
        raise argparse.ArgumentTypeError(
            f"{text!r} is not an image size such as 224 or 160x224 (height x width)"
        )
    return height, width


def folder_to_write(text: str) -> Path:
    """The type of an argument that is a folder to write to, made when it is needed."""
    path = Path(text)
    for place in (path, *path.parents):
        if place.exists():
            if not place.is_dir():
                raise argparse.ArgumentTypeError(f"{place} is a file; give a folder")
            break
    return path


def file_to_write(text: str) -> Path:
    """The type of an argument that is a file to write, with its folder if there is none."""
    path = Path(text)
    if path.is_dir():
        raise argparse.ArgumentTypeError(f"{path} is a folder; give the name of a file")
    folder_to_write(str(path.parent))
    return path
