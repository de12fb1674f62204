"""Joining tensors along a dimension."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from pixpnet.receptive_fields.intervals import OUTSIDE
from pixpnet.receptive_fields.rules.pointwise import pointwise
from pixpnet.receptive_fields.rules.shape import unsqueeze
from pixpnet.receptive_fields.rules.take import elements, kind, take
from pixpnet.receptive_fields.tensor import DoesNotFit, FieldTensor, NotKnown, arrange


def stack(tensors: Sequence[Any], dim: int = 0) -> FieldTensor:
    """torch.stack."""
    like = next(x for x in tensors if isinstance(x, FieldTensor))
    place = dim % (len(like.dims) + 1)
    return cat(
        [unsqueeze(x, place) if isinstance(x, FieldTensor) else x.unsqueeze(place) for x in tensors], place
    )


def cat(tensors: Sequence[Any], dim: int = 0) -> FieldTensor:
    """torch.cat: along channels, or along rows or columns of feature maps."""
    parts = _with_constants(tensors, dim)
    place = parts[0].dim(dim)
    if any(len(x.dims[place]) > 1 for x in parts):
        parts = [elements(x) for x in parts]
    kinds = {kind(x, place) for x in parts if x.dims[place]} or {kind(parts[0], place)}
    if len(kinds) > 1:
        raise NotKnown("it joins rows or columns with something else")
    shapes = {(*x.shape[:place], *x.shape[place + 1 :]) for x in parts}
    words = {(*x.dims[:place], *x.dims[place + 1 :]) for x in parts}
    if len(shapes) > 1:
        raise DoesNotFit(f"tensors of shapes {', '.join(str(x.shape) for x in parts)} cannot be joined")
    if len(words) > 1:
        raise NotKnown("it joins tensors whose rows, columns and channels lie in different dimensions")
    return _cat_channels(parts, place) if kinds == {"c"} else _cat_cells(parts, place)


def _with_constants(tensors: Sequence[Any], dim: int) -> list[FieldTensor]:
    """Constants become tensors that see nothing, arranged like the first tensor that does see the image."""
    like = next(x for x in tensors if isinstance(x, FieldTensor))
    place = like.dim(dim)
    parts = []
    for x in tensors:
        if isinstance(x, FieldTensor):
            parts.append(x)
            continue
        if kind(like, place) != "c" or len(x.shape) != len(like.dims):
            raise NotKnown("it joins a constant to rows or columns")
        atoms = like.atoms()
        atoms[place] = [("c", x.shape[place])]
        sizes = [size for dim_atoms in atoms for letter, size in dim_atoms if letter == "c"]
        parts.append(arrange(atoms, np.zeros(sizes, dtype=np.int64), ((),), like.grid, None))
    return parts


def _cat_channels(parts: list[FieldTensor], place: int) -> FieldTensor:
    grids = {x.grid for x in parts}
    if len(grids) > 1:
        raise NotKnown("it joins tensors of different grids")
    axis = sum(word.count("c") for word in parts[0].dims[:place])
    start, labels, fields = 0, [], []
    for x in parts:
        labels.append((x.labels if x.dims[place] else np.expand_dims(x.labels, axis)) + start)
        fields.extend(x.fields)
        start += len(x.fields)
    atoms = parts[0].atoms()
    atoms[place] = [("c", sum(x.shape[place] for x in parts))]
    return arrange(atoms, np.concatenate(labels, axis=axis), tuple(fields), parts[0].grid, None)


def _cat_cells(parts: list[FieldTensor], place: int) -> FieldTensor:
    """Every part, with cells that see nothing in place of the others; then the union."""
    total, start, padded = sum(x.shape[place] for x in parts), 0, []
    for x in parts:
        indices = np.full(total, OUTSIDE)
        indices[start : start + x.shape[place]] = np.arange(x.shape[place])
        padded.append(take(x, place, indices))
        start += x.shape[place]
    return pointwise(*padded)
