"""Operations on matching elements, with broadcasting."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from jaxtyping import Int64

from pixpnet.receptive_fields.intervals import Axis
from pixpnet.receptive_fields.rules.arguments import whole_numbers
from pixpnet.receptive_fields.tensor import Atom, DoesNotFit, FieldTensor, NotKnown, arrange, combine
from pixpnet.receptive_fields.terms import Field, Term, change


def same(x: Any, *arguments: Any, **options: Any) -> Any:
    """An operation that changes nothing: dropout, a cast, a copy."""
    del arguments, options
    return x


def pointwise(*arguments: Any, **options: Any) -> FieldTensor:
    """Every element sees what the matching elements of all arguments see."""
    operands = list(_tensors([*arguments, *options.values()]))
    tensors = [x for x in operands if isinstance(x, FieldTensor)]
    try:
        shape = tuple(torch.broadcast_shapes(*(tuple(x.shape) for x in operands)))
    except RuntimeError as error:
        raise DoesNotFit(str(error)) from error
    if len(tensors) == 1 and tensors[0].shape == shape:
        return replace(tensors[0], alias=object())
    return _broadcast(tensors, shape)


def where(condition: Any, first: Any, second: Any) -> FieldTensor:
    """torch.where with two choices."""
    return pointwise(condition, first, second)


def _tensors(arguments: Any) -> Iterator[Any]:
    for argument in arguments:
        if isinstance(argument, (FieldTensor, torch.Tensor)):
            yield argument
        elif isinstance(argument, (list, tuple)):
            yield from _tensors(argument)


def _broadcast(tensors: list[FieldTensor], shape: tuple[int, ...]) -> FieldTensor:
    aligned = [replace(x, dims=("",) * (len(shape) - len(x.dims)) + x.dims) for x in tensors]
    dims = _common_dims(aligned, shape)
    word = "".join(letter for dim in dims for letter, _ in dim)
    if word.count("h") > 1 or word.count("w") > 1:
        raise NotKnown("rows or columns lie in two dimensions at once")
    sizes = {letter: size for dim in dims for letter, size in dim}
    grid = (sizes.get("h", 1), sizes.get("w", 1))
    channels = [size for dim in dims for letter, size in dim if letter == "c"]
    labels, fields, start = [], [], 0
    for x in aligned:
        labels.append(np.broadcast_to(_widened(x, dims), channels).reshape(-1) + start)
        widened = _repeated_fields(x, grid)
        fields.extend(widened)
        start += len(widened)
    united, combined = combine(np.stack(labels), tuple(fields))
    return arrange(dims, united, combined, grid, None)


def _repeated_fields(x: FieldTensor, grid: tuple[int, int]) -> tuple[Field, ...]:
    def repeated(axis: Axis, length: int) -> Axis:
        return axis if len(axis) == length else axis.repeated(length)

    if x.grid == grid:
        return x.fields
    return tuple(
        change(old, lambda term: Term(repeated(term.rows, grid[0]), repeated(term.columns, grid[1])))
        for old in x.fields
    )


def _common_dims(tensors: list[FieldTensor], shape: tuple[int, ...]) -> list[list[Atom]]:
    atoms = [x.atoms() for x in tensors]
    everywhere = "".join(letter for dims in atoms for dim in dims for letter, _ in dim)
    common = []
    for place, size in enumerate(shape):
        candidates = [dims[place] for dims in atoms if dims[place]]
        if any(candidate != candidates[0] for candidate in candidates):
            raise NotKnown("rows, columns or channels of its inputs lie in different dimensions")
        if candidates:
            common.append(candidates[0])
        elif size == 1:
            common.append([])
        else:
            letter = "hw"[place - 2] if len(shape) == 4 and place >= 2 else "c"
            common.append([("c" if letter in everywhere else letter, size)])
    return common


def _widened(x: FieldTensor, dims: list[list[Atom]]) -> Int64[np.ndarray, "..."]:
    """The labels, with an axis of size 1 for every channel atom that the tensor lacks."""
    sizes = iter(x.labels.shape)
    wide = [
        next(sizes) if own else 1
        for own, dim in zip(x.dims, dims, strict=True)
        for letter, _ in dim
        if letter == "c"
    ]
    return x.labels.reshape(wide)


def expand(x: FieldTensor, *sizes: Any) -> FieldTensor:
    """Tensor.expand."""
    wanted = whole_numbers(*sizes)
    have = (1,) * (len(wanted) - len(x.dims)) + x.shape
    shape = tuple(old if new == -1 else new for old, new in zip(have, wanted, strict=True))
    return replace(_broadcast([x], shape), alias=x.alias)


def expand_as(x: FieldTensor, other: Any) -> FieldTensor:
    """Tensor.expand_as."""
    return expand(x, tuple(other.shape))
