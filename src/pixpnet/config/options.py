"""The table of options, read off the data classes: names as users type them, types, defaults and help."""

from __future__ import annotations

import dataclasses
import difflib
import re
import types
import typing
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from pixpnet.config.ranges import RANGES, Range, Text
from pixpnet.config.sections import Config

__all__ = ["OPTIONS", "SECTIONS", "Option", "did_you_mean", "to_kebab"]


@dataclass(frozen=True)
class Option:
    """One option.

    Args:
        name: Dotted, in kebab case: ``train.batch-size``.
        section: Its section, "" for the options of the whole run.
        field: Its field in the data class of its section.
        type: Its type without None.
        optional: Whether None is a value of its own.
        default: Its default.
        help: One sentence from the docstring of its data class.
    """

    name: str
    section: str
    field: str
    type: Any
    optional: bool
    default: Any
    help: str

    @property
    def is_flag(self) -> bool:
        return self.type is bool

    @property
    def is_list(self) -> bool:
        return typing.get_origin(self.type) is tuple

    @property
    def choices(self) -> tuple[str, ...]:
        """The allowed values where they are a closed set, else ()."""
        return typing.get_args(self.type) if typing.get_origin(self.type) is typing.Literal else ()

    @property
    def negative_name(self) -> str:
        """The name that switches a flag off: ``train.no-checkpoint``."""
        section, _, key = self.name.rpartition(".")
        return f"{section}.no-{key}" if section else f"no-{key}"

    @property
    def range(self) -> Range | Text:
        return RANGES.get(self.name, Range())

    @property
    def allowed(self) -> str:
        """What its values may be, to follow "is not"."""
        if self.choices:
            return f"one of {', '.join(self.choices)}"
        if self.is_flag:
            return "true or false"
        kind = _KINDS[tuple if self.is_list else self.type]
        return f"{kind} {self.range}".rstrip()

    def accepts(self, value: object) -> bool:
        """Whether a value has the type, and lies in the range or among the choices."""
        if value is None:
            return self.optional
        if self.choices:
            return value in self.choices
        if isinstance(value, bool) or self.is_flag:
            return isinstance(value, bool) and self.is_flag
        if self.is_list:
            return isinstance(value, tuple) and value != () and all(map(self._accepts_one, value))
        return self._accepts_one(value)

    def _accepts_one(self, value: object) -> bool:
        if isinstance(value, str) and isinstance(self.range, Text):
            return self.type is str and self.range.holds(value)
        if isinstance(value, int | float) and isinstance(self.range, Range):
            return (self.type is float or isinstance(value, int)) and self.range.holds(value)
        return False


_KINDS = {str: "a text", int: "a whole number", float: "a number", tuple: "a list of whole numbers"}


def to_kebab(name: str) -> str:
    """
    >>> to_kebab("train.batch_size")
    'train.batch-size'
    """
    return name.replace("_", "-")


def did_you_mean(wrong: str, candidates: Iterable[str], *, before: str = "") -> str:
    """``; did you mean X?`` for the candidate that is spelled most like ``wrong``, else ""."""
    by_lower = {candidate.lower(): candidate for candidate in candidates}
    cutoff = 0.6 if len(wrong) > 3 else 0.5  # one wrong letter of two (l3 for l2) makes them half alike
    nearest = difflib.get_close_matches(wrong.lower(), by_lower, n=1, cutoff=cutoff)
    return f"; did you mean {before}{by_lower[nearest[0]]}?" if nearest else ""


def _argument_docs(section: type) -> Mapping[str, str]:
    """The sentences under ``Args:`` in the docstring of a data class."""
    _, _, arguments = (section.__doc__ or "").partition("Args:")
    found = re.findall(r"^\s+(\w+): (.+(?:\n(?!\s+\w+: ).+)*)", arguments, flags=re.MULTILINE)
    return {name: " ".join(text.split()) for name, text in found}


def _without_none(hint: Any) -> tuple[Any, bool]:
    """A type without None, and whether None was a part of it."""
    if typing.get_origin(hint) not in (typing.Union, types.UnionType):
        return hint, False
    (kept,) = [part for part in typing.get_args(hint) if part is not type(None)]
    return kept, True


def _options_of(section: type, name: str) -> Iterable[Option]:
    hints = typing.get_type_hints(section)
    docs = _argument_docs(section)
    for field in dataclasses.fields(section):
        if dataclasses.is_dataclass(hints[field.name]):
            continue
        kind, optional = _without_none(hints[field.name])
        dotted = to_kebab(f"{name}.{field.name}" if name else field.name)
        yield Option(dotted, name, field.name, kind, optional, field.default, docs[field.name])


def _sections() -> dict[str, type]:
    hints = typing.get_type_hints(Config)
    return {
        name: hint
        for name, hint in hints.items()
        if isinstance(hint, type) and dataclasses.is_dataclass(hint)
    }


SECTIONS: Mapping[str, type] = _sections()

OPTIONS: Mapping[str, Option] = {
    option.name: option
    for name, section in {"": Config, **SECTIONS}.items()
    for option in _options_of(section, name)
}
