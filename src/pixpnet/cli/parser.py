"""One kind of argument parser for all commands: its errors are one line, its options come from signatures.

What an option means and what its default is stands in the function (or the data class) that takes it, and is
read from there; a command adds what only a command line has: how the value is spelled and what it may be.
"""

from __future__ import annotations

import argparse
import math
import re
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, NoReturn

from pixpnet.choices import did_you_mean
from pixpnet.config import OPTIONS, REQUIRED, SECTIONS, SIDE, Config, Option, Range, parameters, to_kebab
from pixpnet.errors import ConfigError

HELP_WIDTH = 100
_METAVARS = {str: "TEXT", int: "INT", float: "FLOAT"}


class Parser(argparse.ArgumentParser):
    """An argument parser that raises ConfigError, and knows which option an unknown one is nearest to.

    Args:
        command: After ``pixpnet``.
        description: What it does.
        of: The functions or data classes whose parameters are its options, as `parameters` finds them; the
            last one that has a parameter wins.
        usage: How it is called, where that cannot be made of its options.
        layout: How argparse lays out its help.
    """

    def __init__(
        self,
        command: str,
        description: str,
        *,
        of: Sequence[str] = (),
        usage: str | None = None,
        layout: type[argparse.HelpFormatter] = argparse.HelpFormatter,
    ) -> None:
        self.command = command.removeprefix("pixpnet ")
        self._parameters = {name: one for where in of for name, one in parameters(where).items()}
        super().__init__(command, usage, description, formatter_class=layout, allow_abbrev=False)

    def add_run(self, what: str = "folder of the run, or a checkpoint") -> None:
        """The arguments of commands that look at a finished run and its data."""
        self.add_argument("run_dir", type=Path, metavar="RUN_DIR", help=what)
        moved = "where the run's data lies now, if it has moved (what dataset.root was in training)"
        self.add_argument("--dataset-root", type=Path, metavar="DIR", help=moved)

    def take(
        self,
        name: str,
        spelled: str = "",
        *,
        type: Callable[[str], object] = str,
        metavar: str | None = None,
        says: str = "",
        names: Iterable[str] = (),
        choices: Iterable[str] | None = None,
    ) -> None:
        """A parameter as an option.

        Args:
            name: The parameter's.
            spelled: The option's name, where it is another one.
            type: Converts its text; a parameter that is False is a flag.
            metavar: Stands for its value in the help.
            says: What it means, where the docstring says it for Python only.
            names: What the value may be, for the help; the function checks it.
            choices: The same, where the function does not check it.
        """
        parameter = self._parameters[name]
        what, shown = _without_none(says or parameter.help)
        assert what, f"nothing says what {name} is"
        what = what[0].lower() + what[1:] if what[1:2].islower() else what
        what = f"{what}: {', '.join(names)}" if names else what
        flag = spelled or f"--{to_kebab(name)}"
        if parameter.default is False:
            self.add_argument(flag, dest=name, action="store_true", help=what)
            return
        shown = shown if parameter.default is None else _shown(parameter.default)
        text = (f"{what} (default: {shown})" if shown else what).replace("%", "%%")
        others = {"metavar": metavar, "choices": choices, "help": text}
        self.add_argument(flag, dest=name, type=type, default=parameter.default, **others)

    def print_configuration_help(self) -> None:
        """Print the help, with every option of a configuration by section; `parse_config` reads these."""
        for section in ("", *SECTIONS):
            title = (type(getattr(Config(), section)).__doc__ or "").partition(".")[0] if section else ""
            group = self.add_argument_group(f"{section}: {title}" if section else "The run")
            for option in OPTIONS.values():
                names = [option.name, option.negative_name] if option.is_flag else [option.name]
                if option.section == section:
                    group.add_argument(*(f"--{name}" for name in names), **_shape(option), help=_help(option))
        self.print_help()

    def parse(self, arguments: Sequence[str]) -> argparse.Namespace:
        """The values of the arguments; options may stand between the positional ones.

        Raises:
            ConfigError: If one is unknown, missing or has a wrong value.
            SystemExit: After ``--help``.
        """
        values, unknown = self.parse_known_intermixed_args(arguments)
        if unknown:
            nearest = did_you_mean(unknown[0].partition("=")[0], self._names())
            allowed = ", ".join(self._long_names())
            raise ConfigError(
                f"{self.command}: unknown argument {unknown[0]!r}{nearest} (options: {allowed})"
            )
        return values

    def parse_beside_configuration(
        self, arguments: Sequence[str], *, in_use: tuple[str, ...]
    ) -> tuple[argparse.Namespace, list[str]]:
        """The values of its own arguments, and the arguments that are for `parse_config`.

        Args:
            in_use: Options of the configuration that have an effect, or beginnings of their names.

        Raises:
            ConfigError: As `parse`; or an option of a configuration has no effect.
        """
        own: list[str] = []
        others: list[str] = []
        into = own
        for argument in arguments:
            name = argument.partition("=")[0]
            if name in self._names():
                into = own
            elif re.match(r"-[^\d.]", argument):
                self._check(name, in_use)
                into = others
            into.append(argument)
        return self.parse(own), others

    def _check(self, name: str, in_use: tuple[str, ...]) -> None:
        known = {f"--{option.name}": option.name for option in OPTIONS.values()}
        known |= {f"--{option.negative_name}": option.name for option in OPTIONS.values() if option.is_flag}
        option = known.get(to_kebab(name))
        if name in ("-c", "--config") or (option and option.startswith(in_use)):
            return
        if option:
            instead = option == "model.feature-extractor" and "--models" in self._names()
            hint = "; give --models" if instead else ""
            raise ConfigError(f"{self.command}: {name} has no effect here{hint}")
        usable = [spelled for spelled, option in known.items() if option.startswith(in_use)]
        nearest = did_you_mean(name, [*self._names(), *usable])
        every = [*self._long_names(), *(f"--{start}{'*' * start.endswith('.')}" for start in in_use)]
        raise ConfigError(f"{self.command}: unknown option {name}{nearest} (options: {', '.join(every)})")

    def _names(self) -> list[str]:
        return [name for action in self._actions for name in action.option_strings]

    def _long_names(self) -> list[str]:
        return [name for name in self._names() if name.startswith("--")]

    def error(self, message: str) -> NoReturn:
        wanted = [str(one.metavar or one.dest) for one in self._actions if not one.option_strings]
        if "are required" in message and len(wanted) > 1:
            message += f"; wanted: pixpnet {self.command} {' '.join(wanted)}"
        raise ConfigError(f"{self.command}: {message}")


class ConfigurationHelp(argparse.RawDescriptionHelpFormatter):
    """Each option on a line of its own, what it means below."""

    def __init__(self, prog: str) -> None:
        super().__init__(prog, max_help_position=8, width=HELP_WIDTH)


def _shape(option: Option) -> dict[str, Any]:
    if option.is_flag:
        return {"action": "store_true"}
    metavar = "{" + ",".join(option.choices) + "}" if option.choices else _METAVARS[option.type]
    return {"metavar": metavar, "nargs": "+" if option.is_list else None}


def _help(option: Option) -> str:
    """What it means, its range if it is a number, and its default."""
    what, shown = _without_none(option.help)
    shown = shown or "none" if option.default is None else _shown(option.default)
    if option.name in REQUIRED:
        shown = "none, it is required"
    bounds = f"{option.rule}; " if option.type in (int, float) and str(option.rule) else ""
    return f"{what} ({bounds}default: {shown})".replace("%", "%%")


def _shown(default: object) -> str:
    if isinstance(default, bool):
        return "on" if default else "off"
    if isinstance(default, tuple):
        return " ".join(map(str, default))
    return f"{default:g}" if isinstance(default, float) else str(default)


def _without_none(text: str) -> tuple[str, str]:
    """What a docstring says, and what it says of None.

    >>> _without_none("GPUs to use; None: one if there is one.")
    ('GPUs to use', 'one if there is one')
    """
    text = text.replace("``", "`").replace("; none: ", "; None: ").rstrip(".")
    what, _, default = text.partition("; None: ")
    return what, default


def number_in(range_: Range, kind: type[int] | type[float] = int) -> Callable[[str], float]:
    """The type of an argument that is a number in a range."""

    def convert(text: str) -> float:
        try:
            value = kind(text) if kind is float or re.fullmatch(r"\d+", text) else math.nan
        except ValueError:
            value = math.nan
        if not range_.holds(value):
            name = "a whole number" if kind is int else "a number"
            raise argparse.ArgumentTypeError(f"{text!r} is not {name} {range_}")
        return value

    return convert


def words(text: str) -> tuple[str, ...]:
    """The words between commas or spaces, each once.

    >>> words("png, JSON,png")
    ('png', 'json')
    """
    return tuple(dict.fromkeys(word for word in re.split(r"[,\s]+", text.lower()) if word))


def image_size(text: str) -> tuple[int, int]:
    """(height, width) from ``224`` or ``160x224``.

    >>> image_size("224"), image_size("160x224"), image_size("9×8")
    ((224, 224), (160, 224), (9, 8))
    """
    found = re.fullmatch(r"(\d+)(?:[x×](\d+))?", text)
    height, width = (int(found[1]), int(found[2] or found[1])) if found else (0, 0)
    if not (SIDE.holds(height) and SIDE.holds(width)):
        raise argparse.ArgumentTypeError(
            f"{text!r} is not an image size such as 224 or 160x224 (height x width, each {SIDE})"
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
