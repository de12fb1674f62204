"""A value as a user gave it, before it has a type."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from pixpnet.config.options import OPTIONS, SECTIONS, Option, did_you_mean
from pixpnet.errors import ConfigError

__all__ = ["Given", "give", "refuse_both_forms", "shown"]

_NEGATIVE_NAMES = {option.negative_name: name for name, option in OPTIONS.items() if option.is_flag}


class Given(NamedTuple):
    """One option with its value, as the command line or a file gave it."""

    option: Option
    value: str | list[str] | None
    """The text, the texts of a list, or None for ``null``."""
    negative: bool
    """Whether the name was the one that switches a flag off."""
    spelled: str
    """Where the option stands and how the user spelled it, to begin an error with."""


def give(name: str, value: str | list[str] | None, *, where: str = "", dashes: str = "") -> Given:
    """Look up an option by its dotted name.

    Args:
        name: Its name as the user spelled it, without dashes before it.
        value: Its value.
        where: What an error begins with (``file.yaml:3: ``).
        dashes: What stands before the names of options at that place (``--``).

    Raises:
        ConfigError: If there is no such option.
    """
    kebab = name.replace("_", "-")
    spelled = f"{where}{dashes}{name}"
    if kebab in OPTIONS:
        return Given(OPTIONS[kebab], value, False, spelled)
    if kebab in _NEGATIVE_NAMES:
        return Given(OPTIONS[_NEGATIVE_NAMES[kebab]], value, True, spelled)
    if kebab in SECTIONS:
        raise ConfigError(f"{spelled}: {shown(value)} is a value, but {kebab} is a section {_members(kebab)}")
    raise ConfigError(
        f"{where}unknown option {dashes}{name} (its value: {shown(value)})"
        f"{_nearest(kebab, dashes)} {_members(kebab.partition('.')[0])}"
    )


def refuse_both_forms(given: Iterable[Given]) -> None:
    """Refuse an option in both of its forms (``--train.checkpoint --train.no-checkpoint``).

    Raises:
        ConfigError: That names both.
    """
    first: dict[str, Given] = {}
    for one in given:
        other = first.setdefault(one.option.name, one)
        if other.negative != one.negative:
            raise ConfigError(f"{one.spelled}: contradicts {other.spelled}; give one of the two")


def shown(value: object) -> str:
    """A value for an error message: on one line, quoted where one would not see its ends."""
    if value is None:
        return "null"
    if isinstance(value, list | tuple):
        return f"[{', '.join(map(shown, value))}]"
    text = str(value)
    return text if text.isprintable() and text and not set(text) & set(" ,;:'\"") else repr(text)


def _nearest(name: str, dashes: str) -> str:
    key = name.rpartition(".")[2]
    elsewhere = [known for known in OPTIONS if known.rpartition(".")[2] == key]
    if elsewhere:
        return f"; did you mean {' or '.join(dashes + known for known in elsewhere)}?"
    return did_you_mean(name, [*OPTIONS, *_NEGATIVE_NAMES], before=dashes)


def _members(section: str) -> str:
    if section not in SECTIONS:
        outside = [name for name, option in OPTIONS.items() if not option.section]
        return f"(sections: {', '.join(SECTIONS)}; options outside: {', '.join(outside)})"
    keys = [name.partition(".")[2] for name, option in OPTIONS.items() if option.section == section]
    return f"(options of {section}: {', '.join(keys)})"
