"""The help text of all options."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator

from pixpnet.config.options import OPTIONS, SECTIONS, Option
from pixpnet.config.sections import Config
from pixpnet.config.validate import REQUIRED

__all__ = ["options_help"]

WIDTH = 100
_METAVARS = {str: "TEXT", int: "INT", float: "FLOAT"}


def options_help() -> str:
    """Every option by section, with its values, default and meaning, at most 100 columns wide."""
    lines = []
    for name, section in {"": Config, **SECTIONS}.items():
        title = (section.__doc__ or "").partition("\n")[0]
        lines += ["", f"{name}: {title}" if name else "The run:"]
        for option in OPTIONS.values():
            if option.section == name:
                lines += _describe(option)
    return "\n".join(lines)


def _describe(option: Option) -> Iterator[str]:
    if option.is_flag:
        yield f"  --{option.name} / --{option.negative_name}"
    else:
        yield f"  --{option.name} {_metavar(option)}"
    meaning = option.help.replace("``", "`")
    text = f"{meaning} ({_bounds(option)}default: {_default(option)})"
    yield from textwrap.wrap(text, WIDTH, initial_indent=" " * 8, subsequent_indent=" " * 8)


def _metavar(option: Option) -> str:
    if option.choices:
        return "{" + ",".join(option.choices) + "}"
    return "INT [INT ...]" if option.is_list else _METAVARS[option.type]


def _bounds(option: Option) -> str:
    """The range of a number; which texts are refused is for the error to say."""
    numeric = option.type in (int, float) or option.is_list
    return f"{option.range}; " if numeric and str(option.range) else ""


def _default(option: Option) -> str:
    if option.name in REQUIRED:
        return "none, it is required"
    if option.is_flag:
        return "on" if option.default else "off"
    if option.is_list:
        return " ".join(map(str, option.default))
    return "none" if option.default is None else str(option.default)
