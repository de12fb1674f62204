"""From a command line or a YAML text to a checked configuration."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pixpnet.config.arguments import read_arguments
from pixpnet.config.given import Given
from pixpnet.config.options import OPTIONS, SECTIONS, Option
from pixpnet.config.sections import Config
from pixpnet.config.validate import refuse, validate
from pixpnet.config.yaml_files import read_file, read_yaml
from pixpnet.errors import ConfigError

if TYPE_CHECKING:
    from jsonargparse import ArgumentParser

__all__ = ["config_from_yaml", "parse_config"]


def parse_config(argv: Sequence[str]) -> Config:
    """The configuration of a command line: defaults, then each ``-c FILE``, then ``--section.option value``.

    Raises:
        ConfigError: In one line: the option as the user spelled it, its value, what is allowed, the nearest.
    """
    arguments = read_arguments(argv)
    given = [one for file in arguments.files for one in read_file(Path(file))]
    return _checked([*given, *arguments.given])


def config_from_yaml(text: str, *, source: str = "configuration") -> Config:
    """The configuration of a YAML text, such as `config_to_yaml` writes.

    Args:
        text: The YAML.
        source: Where it is from, for errors.

    Raises:
        ConfigError: In one line, with source and line.
    """
    return _checked(read_yaml(text, source=source))


def _checked(given: Iterable[Given]) -> Config:
    values: dict[str, Any] = {}
    for one in given:
        values[one.option.name] = _typed(one)
    config = _build(values)
    validate(config)
    return config


def _typed(given: Given) -> Any:
    """The value of the option's type, in its range."""
    option = given.option
    try:
        value = _convert(option, given.value)
    except ConfigError:
        raise refuse(option.name, given.value, spelled=given.spelled) from None
    if not option.accepts(value):
        raise refuse(option.name, given.value, spelled=given.spelled)
    return not value if given.negative else value


def _convert(option: Option, value: str | list[str] | None) -> Any:
    """Texts to numbers and flags by jsonargparse; what shall be a text stays as it is."""
    from jsonargparse import ArgumentError

    if value is None or option.type is str or option.choices:
        return value
    if ":" in "".join(value):
        raise ConfigError("YAML 1.1 would read 1:30 as the number 90")
    try:
        return _converter(option.type).parse_object({"value": value}).value
    except ArgumentError as error:
        raise ConfigError(str(error)) from None


@cache
def _converter(kind: Any) -> ArgumentParser:
    from jsonargparse import ArgumentParser

    parser = ArgumentParser(exit_on_error=False)
    parser.add_argument("--value", type=kind)
    return parser


def _build(values: Mapping[str, Any]) -> Config:
    """A configuration with some values other than the defaults, by dotted name."""
    by_section: dict[str, dict[str, Any]] = {section: {} for section in ("", *SECTIONS)}
    for name, value in values.items():
        by_section[OPTIONS[name].section][OPTIONS[name].field] = value
    if "name" in by_section["dataset"]:
        by_section["dataset"]["name"] = re.sub("[-_]", "", by_section["dataset"]["name"]).upper()
    sections = {name: section(**by_section[name]) for name, section in SECTIONS.items()}
    return Config(**by_section[""], **sections)
