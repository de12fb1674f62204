"""Reading chosen indices along one dimension: slices, padding, cropping, and what is made of them."""

from __future__ import annotations

import numpy as np
from jaxtyping import Int64

from pixpnet.receptive_fields.intervals import NO_TAP, OUTSIDE, Taps
from pixpnet.receptive_fields.tensor import FieldTensor, NotKnown, arrange, arrange_words
from pixpnet.receptive_fields.terms import through

MOST_ELEMENTS = 20_000


def kind(x: FieldTensor, dim: int) -> str:
    """Whether a dimension holds rows (h), columns (w) or channels (c)."""
    word = x.dims[dim]
    if word == "":
        return "hw"[dim - 2] if x.is_map and dim >= 2 else "c"
    if len(word) > 1:
        raise NotKnown(f"dimension {dim} holds rows or columns merged with others")
    return word


def take(
    x: FieldTensor, dim: int, indices: Int64[np.ndarray, "n"], pattern: Taps | None = None
) -> FieldTensor:
    """The tensor at these indices of a dimension; ``OUTSIDE`` gives zeros that see nothing.

    ``pattern``, where given, says what would be read if rows or columns had no border; without it, evenly
    spaced indices go on evenly and others repeat.
    """
    size = x.shape[dim]
    if np.array_equal(indices, np.arange(size)):
        return x
    axis = kind(x, dim)
    if axis == "c":
        return _take_channels(x, dim, indices)
    taps = pattern or _endless(indices)
    return x.moved(taps, None) if axis == "h" else x.moved(None, taps)


def _endless(indices: Int64[np.ndarray, "n"]) -> Taps:
    steps = np.unique(np.diff(indices))
    if (indices != OUTSIDE).all() and len(steps) <= 1:
        step = int(steps[0]) if len(steps) else 1
        return Taps(indices[:, None], indices[:1, None], step)
    pattern = np.where(indices == OUTSIDE, NO_TAP, indices)
    return Taps(indices[:, None], pattern[:, None], len(indices))


def _take_channels(x: FieldTensor, dim: int, indices: Int64[np.ndarray, "n"]) -> FieldTensor:
    position = sum(word.count("c") for word in x.dims[:dim])
    labels = x.labels if x.dims[dim] else np.expand_dims(x.labels, position)
    nothing = np.full_like(labels.take([0], axis=position), len(x.fields))
    labels = np.concatenate([labels, nothing], axis=position).take(indices, axis=position)
    words = [*x.dims[:dim], "c", *x.dims[dim + 1 :]]
    return arrange_words(words, labels, (*x.fields, ()), x.grid, x)


def elements(x: FieldTensor) -> FieldTensor:
    """The same tensor, every cell of which counts as a channel of its own."""
    height, width = x.grid
    if height * width * len(x.fields) > MOST_ELEMENTS:
        raise NotKnown(f"it would take more than {MOST_ELEMENTS} single cells")

    def only(index: int) -> Taps:
        return Taps(np.array([[index]]), np.array([[index]]), 0)

    fields = tuple(
        through(field, only(row), only(column))
        for field in x.fields
        for row in range(height)
        for column in range(width)
    )
    atoms = [atom for dim in x.atoms() for atom in dim]
    channel_axes = [axis for axis, (letter, _) in enumerate(atoms) if letter == "c"]
    labels = np.expand_dims(
        x.labels * (height * width), [a for a in range(len(atoms)) if a not in channel_axes]
    )
    for axis, (letter, size) in enumerate(atoms):
        if letter != "c":
            step = width if letter == "h" else 1
            labels = labels + (np.arange(size) * step).reshape(
                [-1 if a == axis else 1 for a in range(len(atoms))]
            )
    dims = [[("c", size) for _, size in dim] for dim in x.atoms()]
    return arrange(dims, labels, fields, (1, 1), None)


def insert_channels(x: FieldTensor, dim: int, size: int) -> FieldTensor:
    """A dimension of size 1 widened to ``size`` channels that all see the same."""
    if size == 1:
        return x
    position = sum(word.count("c") for word in x.dims[:dim])
    labels = np.repeat(np.expand_dims(x.labels, position), size, axis=position)
    words = [*x.dims[:dim], "c", *x.dims[dim + 1 :]]
    return arrange_words(words, labels, x.fields, x.grid, None)
