"""A class as people type it."""

from __future__ import annotations

import re
from collections.abc import Sequence
from operator import index
from typing import SupportsIndex

from pixpnet.choices import nearest_names
from pixpnet.errors import ConfigError

_NEAREST = 3


def find_class(class_names: Sequence[str], wanted: SupportsIndex | str) -> int:
    """The index of a class given by index or by name; case, ``_`` and a number in front may be left out.

    Raises:
        ConfigError: There is no such class, or the name fits several; names the nearest ones.

    >>> find_class(["001.Blue_Wren", "002.Red_Wren"], "red wren")
    1
    """
    if isinstance(wanted, str) and wanted in class_names:
        return list(class_names).index(wanted)
    if not isinstance(wanted, str) or re.fullmatch(r"-?\d+", wanted):
        number = int(wanted) if isinstance(wanted, str) else index(wanted)  # NumPy's whole numbers too
        if not 0 <= number < len(class_names):
            raise ConfigError(f"there is no class {wanted}; the classes are 0 to {len(class_names) - 1}.")
        return number
    plain = [_plain(name) for name in class_names]
    found = [place for place, name in enumerate(plain) if name == _plain(wanted)]
    if len(found) == 1:
        return found[0]
    near = found or [
        plain.index(match) for match in nearest_names(_plain(wanted), plain, most=_NEAREST, cutoff=0)
    ]
    names = ", ".join(class_names[place] for place in near[:_NEAREST])
    problem = "fits several classes" if found else "is not one of the classes"
    raise ConfigError(
        f"{wanted!r} {problem}; nearest: {names} (or an index from 0 to {len(class_names) - 1})."
    )


def _plain(name: str) -> str:
    return re.sub(r"^\d+[. _-]+", "", name).replace("_", " ").lower().strip()
