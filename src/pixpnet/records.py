"""Plain values of a file (texts, numbers, lists, mappings) as records, every one held against its type."""

from __future__ import annotations

import math
import reprlib
import types
import typing
from collections.abc import Mapping, Sequence
from dataclasses import MISSING, fields, is_dataclass
from typing import Any

from pixpnet.words import visible


def checked(kind: Any, value: Any, name: str = "it") -> Any:
    """A value of a type; a data class or named tuple is made of a mapping or list of its fields.

    Numbers are finite, and a whole one is a float where a float is wanted. Lists become tuples.

    Args:
        kind: `str`, `int`, `float`, `bool`, a record, or tuples, mappings and unions of these.
        value: What a file held.
        name: What a message calls it.

    >>> checked(tuple[int, ...], [1, 2]), checked(dict[str, float | None], {"a": 3, "b": None})
    ((1, 2), {'a': 3.0, 'b': None})

    Raises:
        ValueError: It, or something in it, is of another type; says where, and what was wanted.
    """
    origin, inner = typing.get_origin(kind), typing.get_args(kind)
    if origin in (typing.Union, types.UnionType):
        return _first_fit(inner, value, name)
    if origin is tuple:
        if isinstance(value, Sequence) and not isinstance(value, str):
            of = inner[:1] * len(value) if inner[-1] is Ellipsis else inner
            if len(of) == len(value):
                places = enumerate(zip(of, value, strict=True))
                return tuple(checked(one, item, f"{name}[{place}]") for place, (one, item) in places)
        raise _wrong("a list" if inner[-1] is Ellipsis else f"a list of {len(inner)}", value, name)
    if origin in (dict, Mapping):
        if not (isinstance(value, Mapping) and all(isinstance(key, str) for key in value)):
            raise _wrong("names and values", value, name)
        return {key: checked(inner[1], item, f"{name}.{key}") for key, item in value.items()}
    if is_dataclass(kind) or hasattr(kind, "_fields"):
        return _record(kind, value, name)
    return _plain(kind, value, name)


def _first_fit(kinds: Sequence[Any], value: Any, name: str) -> Any:
    """Of several types the first that a value has; the error is that of the first."""
    if value is None and type(None) in kinds:
        return None
    errors = []
    for kind in kinds:
        if kind is not type(None):
            try:
                return checked(kind, value, name)
            except ValueError as error:
                errors.append(error)
    raise errors[0]


def _record(kind: Any, value: Any, name: str) -> Any:
    if is_dataclass(kind):
        own = {one.name: one for one in fields(kind)}
        needed = {
            key for key, one in own.items() if one.default is MISSING and one.default_factory is MISSING
        }
    else:
        own, needed = dict.fromkeys(kind._fields), set(kind._fields) - set(kind._field_defaults)
    if isinstance(value, (list, tuple)) and len(value) == len(own):
        value = dict(zip(own, value, strict=True))
    if not isinstance(value, Mapping) or not needed <= set(value) <= set(own):
        raise _wrong(f"values of {', '.join(own)}", value, name)
    hints = typing.get_type_hints(kind)
    made: Any = kind
    return made(**{key: checked(hints[key], item, f"{name}.{key}") for key, item in value.items()})


def _plain(kind: type, value: Any, name: str) -> Any:
    words = {str: "a text", int: "a whole number", float: "a finite number", bool: "true or false"}
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    if kind is float and is_number and -1e300 < value < 1e300 and math.isfinite(value):
        return float(value)
    if type(value) is not kind or kind is float:
        raise _wrong(words[kind], value, name)
    return value


def _wrong(wanted: str, value: Any, name: str) -> ValueError:
    return ValueError(f"{name} should be {wanted}, and is {visible(reprlib.repr(value))}")
