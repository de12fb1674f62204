"""Arguments of torch's functions, brought into one form."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from pixpnet.receptive_fields.tensor import FieldTensor, NotKnown

Pair = tuple[int, int]


def pair(value: Any) -> Pair:
    """A number for both axes, or one for each."""
    if isinstance(value, Sequence):
        values = [int(item) for item in value]
        return (values[0], values[-1]) if len(values) > 1 else (values[0], values[0])
    return int(value), int(value)


def whole_numbers(*sizes: Any) -> list[int]:
    """Sizes or dimensions given one by one or as one sequence."""
    if len(sizes) == 1 and isinstance(sizes[0], Sequence):
        sizes = tuple(sizes[0])
    return [int(size) for size in sizes]


def feature_map(x: Any) -> FieldTensor:
    """The input of an operation on feature maps [1 c h w]."""
    if not isinstance(x, FieldTensor):
        raise NotKnown("its input does not depend on the image but another argument does")
    if not x.is_map:
        raise NotKnown(f"its input of shape {x.shape} is not a feature map [1, channels, rows, columns]")
    return x


def only(*arguments: Any) -> None:
    """Refuse arguments, other than the input, that depend on the image."""
    if any(isinstance(argument, FieldTensor) for argument in arguments):
        raise NotKnown("its weights depend on the image")
