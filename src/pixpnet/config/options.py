"""What an option is: its name as users type it, its type and default, the values it accepts, and its help."""

from __future__ import annotations

import dataclasses
import math
import sys
import types
import typing
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Annotated, Any

from pixpnet.config import _sources


@dataclass(frozen=True)
class Range:
    """Finite numbers between bounds.

    >>> str(Range(minimum=0, below=1))
    '≥ 0 and < 1'
    """

    minimum: float = -math.inf
    above: float = -math.inf
    maximum: float = math.inf
    below: float = math.inf

    def __str__(self) -> str:
        bounds = {"≥": self.minimum, ">": self.above, "≤": self.maximum, "<": self.below}
        known = {sign: bound for sign, bound in bounds.items() if math.isfinite(bound)}
        return " and ".join(f"{sign} {bound:.15g}" for sign, bound in known.items())

    def holds(self, value: float) -> bool:
        """Whether the number is finite and in range."""
        inside = self.above < value < self.below and self.minimum <= value <= self.maximum
        return inside and math.isfinite(value)


@dataclass(frozen=True)
class Text:
    """Texts of one character or more that have none of some characters."""

    without: str = "\0"

    def __str__(self) -> str:
        shown = [character for character in self.without if character.isprintable()]
        return "that is not empty" + (f" and has no {' '.join(shown)}" if shown else "")

    def holds(self, value: str) -> bool:
        """Whether the text is not empty and has no forbidden character."""
        return value != "" and not set(value) & set(self.without)


@dataclass(frozen=True)
class KeyOf:
    """The names of a table of a room above this one, such as ``pixpnet.prototypes:DISTANCES``."""

    table: str

    @property
    def names(self) -> tuple[str, ...]:
        """As they are now where the table's room is loaded, else as its source has them."""
        module, _, name = self.table.partition(":")
        loaded = sys.modules.get(module)
        return tuple(getattr(loaded, name)) if loaded else _sources.keys(self.table)


@dataclass(frozen=True)
class OneOf:
    """Names that no table has."""

    names: tuple[str, ...]


Rule = Range | Text | KeyOf | OneOf

FROM_0 = Range(minimum=0)
FROM_1 = Range(minimum=1)
SEED = Range(minimum=0, maximum=2**32 - 1)  # what numpy's and torch's generators both take

SIDE = Range(minimum=1, maximum=10_000)
"""Pixels of a network's input."""
COUNT = Range(minimum=1, maximum=100_000)
"""What time and memory follow from: epochs, prototypes, trials."""
LARGEST = 1e9
"""More has no use, and what it is multiplied with may no longer be finite."""

From0 = Annotated[int, FROM_0]
From1 = Annotated[int, FROM_1]
Seed = Annotated[int, SEED]
Side = Annotated[int, SIDE]
Count = Annotated[int, COUNT]
Factor = Annotated[float, Range(minimum=-LARGEST, maximum=LARGEST)]
Positive = Annotated[float, Range(above=0, maximum=LARGEST)]
NotNegative = Annotated[float, Range(minimum=0, maximum=LARGEST)]
BelowOne = Annotated[float, Range(minimum=0, below=1)]


@dataclass(frozen=True)
class Option:
    """One option.

    Args:
        name: Dotted, in kebab case: ``train.batch-size``.
        section: Its section, "" for the options of the whole run.
        field: Its field in the data class of its section.
        type: Its type, or that of the items of a list.
        is_list: Whether it has several values.
        optional: Whether None is a value of its own.
        rule: Which values of the type it accepts.
        default: Its default.
        help: One sentence from the docstring of its data class.
    """

    name: str
    section: str
    field: str
    type: type
    is_list: bool
    optional: bool
    rule: Rule
    default: Any
    help: str

    @property
    def is_flag(self) -> bool:
        return self.type is bool

    @property
    def choices(self) -> tuple[str, ...]:
        """The allowed values where they are a closed set, else ()."""
        return self.rule.names if isinstance(self.rule, KeyOf | OneOf) else ()

    @property
    def negative_name(self) -> str:
        """The name that switches a flag off: ``train.no-checkpoint``."""
        return f"{self.section}.no-{to_kebab(self.field)}".removeprefix(".")

    @property
    def allowed(self) -> str:
        """What its values may be, to follow "is not"."""
        if self.choices:
            return f"one of {', '.join(self.choices)}"
        if self.is_flag:
            return "true or false"
        kind = {str: "a text", int: "a whole number", float: "a number"}[self.type]
        return f"{'a list of whole numbers' if self.is_list else kind} {self.rule}".rstrip()

    def accepts(self, value: Any) -> bool:
        """Whether a value has the type, and lies in the range or among the choices."""
        if value is None:
            return self.optional
        if self.is_list:
            return isinstance(value, tuple) and value != () and all(map(self._accepts_one, value))
        return self._accepts_one(value)

    def _accepts_one(self, value: Any) -> bool:
        kind = (int, float) if self.type is float else self.type
        if not isinstance(value, kind) or isinstance(value, bool) != self.is_flag:
            return False
        return value in self.choices if isinstance(self.rule, KeyOf | OneOf) else self.rule.holds(value)


def options_of(section: type, name: str = "") -> Iterable[Option]:
    """The options of a data class, and those of the data classes in it after its own.

    Args:
        section: The data class; a field's type may carry its `Rule`, as in ``Annotated[int, FROM_1]``.
        name: Its section.
    """
    hints = typing.get_type_hints(section, include_extras=True)
    docs = _sources.argument_docs(section.__doc__ or "")
    inner = [field for field in dataclasses.fields(section) if dataclasses.is_dataclass(hints[field.name])]
    for field in dataclasses.fields(section):
        if field not in inner:
            kind, optional = _without_none(hints[field.name])
            is_list = typing.get_origin(kind) is tuple
            kind, rule = _with_rule(typing.get_args(kind)[0] if is_list else kind)
            dotted = to_kebab(f"{name}.{field.name}").removeprefix(".")
            yield Option(
                dotted, name, field.name, kind, is_list, optional, rule, field.default, docs[field.name]
            )
    for field in inner:
        yield from options_of(hints[field.name], field.name)


def to_kebab(name: str) -> str:
    """
    >>> to_kebab("train.batch_size")
    'train.batch-size'
    """
    return name.replace("_", "-")


def _without_none(hint: Any) -> tuple[Any, bool]:
    """A type without None, and whether None was a part of it."""
    if typing.get_origin(hint) not in (typing.Union, types.UnionType):
        return hint, False
    (kept,) = [part for part in typing.get_args(hint) if part is not type(None)]
    return kept, True


def _with_rule(hint: Any) -> tuple[type, Rule]:
    """A type without what it carries, and the rule of its values."""
    if typing.get_origin(hint) is Annotated:
        kind, rule = typing.get_args(hint)
        return kind, rule
    if typing.get_origin(hint) is typing.Literal:
        return str, OneOf(typing.get_args(hint))
    return hint, Text() if hint is str else Range()
