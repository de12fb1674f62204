"""From command-line arguments to given values."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import NamedTuple

from pixpnet.config.given import Given, give, refuse_both_forms, shown
from pixpnet.errors import ConfigError

__all__ = ["read_arguments"]


class Arguments(NamedTuple):
    """The configuration files and the options of a command line, each in its order."""

    files: list[str]
    given: list[Given]


class _Token(NamedTuple):
    spelled: str
    values: list[str]


def read_arguments(argv: Sequence[str]) -> Arguments:
    """Split ``-c FILE`` and ``--section.option value`` (or ``--section.option=value``) arguments.

    Raises:
        ConfigError: If an option is unknown, has no value or too many, or comes in both of its forms.
    """
    files: list[str] = []
    given: list[Given] = []
    for token in _tokens(argv):
        if token.spelled in ("-c", "--config"):
            files.append(_config_file(token))
        else:
            given.append(_give(token))
    refuse_both_forms(given)
    return Arguments(files, given)


def _tokens(argv: Sequence[str]) -> list[_Token]:
    """Each option with the values up to the next one; a negative number is a value."""
    tokens: list[_Token] = []
    for argument in argv:
        if argument.startswith("--") and len(argument) > 2:
            spelled, equals, value = argument.partition("=")
            tokens.append(_Token(spelled, [value] if equals else []))
        elif re.match(r"-[a-zA-Z]", argument):
            tokens.append(_Token(argument, []))
        elif tokens:
            tokens[-1].values.append(argument)
        else:
            raise ConfigError(f"{shown(argument)} is not an option; options look like --train.epochs 3")
    return tokens


def _config_file(token: _Token) -> str:
    if len(token.values) != 1:
        raise ConfigError(f"{token.spelled} takes one YAML file, not {shown(token.values)}")
    return token.values[0]


def _give(token: _Token) -> Given:
    """An option with its one value (a bare flag is true; a list may have many)."""
    if not token.spelled.startswith("--"):
        raise ConfigError(f"unknown option {token.spelled}; -c FILE and -h are the only short ones")
    found = give(token.spelled[2:], " ".join(token.values), dashes="--")
    option, values = found.option, token.values
    if option.is_flag and not values:
        return found._replace(value="true")
    if option.is_list and values:
        return found._replace(value=re.sub(r"[\[\](),]", " ", " ".join(values)).split())
    if len(values) != 1:
        count = "no value" if not values else f"{len(values)} values: {shown(values)}"
        raise ConfigError(f"{found.spelled}: takes one value, {option.allowed}; got {count}")
    return found._replace(value=None if values[0] == "null" else values[0])
