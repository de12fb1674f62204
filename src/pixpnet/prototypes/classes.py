"""How messages name classes."""

from __future__ import annotations

from collections.abc import Sequence

_NAMED = 5


def describe_classes(classes: Sequence[int], class_names: Sequence[str] | None = None) -> str:
    """The classes by name, or by number where there are no names; only the first few of many.

    >>> describe_classes([2], ["wren", "tern", "gull"])
    'class gull'
    >>> describe_classes(range(7))
    'classes 0, 1, 2, 3, 4 and 2 more'
    """
    if not classes:
        return "no class"
    names = [class_names[number] if class_names else str(number) for number in classes[:_NAMED]]
    more = f" and {len(classes) - _NAMED} more" if len(classes) > _NAMED else ""
    return f"class{'es' if len(classes) > 1 else ''} {', '.join(names)}{more}"
