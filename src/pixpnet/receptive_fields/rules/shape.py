"""Views, permutations, indexing and splitting."""

from __future__ import annotations

import math
import operator
from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise
from typing import Any

import numpy as np
import torch

from pixpnet.receptive_fields.intervals import Taps
from pixpnet.receptive_fields.rules.arguments import whole_numbers
from pixpnet.receptive_fields.rules.take import take
from pixpnet.receptive_fields.tensor import Atom, DoesNotFit, FieldTensor, NotKnown, arrange


def view(x: FieldTensor, *sizes: Any) -> FieldTensor:
    """Tensor.view, reshape: rows and columns may be merged with others and taken apart again, but not cut."""
    if len(sizes) == 1 and isinstance(sizes[0], torch.dtype):
        return x
    shape, total = whole_numbers(*sizes), math.prod(x.shape)
    if -1 in shape:
        known = -math.prod(shape)
        shape = [total // max(known, 1) if size == -1 else size for size in shape]
    if math.prod(shape) != total:
        raise DoesNotFit(f"a tensor of shape {x.shape} has no view of shape {tuple(shape)}")
    queue = [atom for atoms in x.atoms() for atom in atoms]
    dims = [_next_dim(queue, size) for size in shape]
    return arrange(dims, x.labels, x.fields, x.grid, x)


def _next_dim(queue: list[Atom], size: int) -> list[Atom]:
    """Take atoms of that size in total from the front of the queue; channels may be cut."""
    dim: list[Atom] = []
    while size > 1:
        letter, have = queue.pop(0)
        if size % have == 0:
            dim.append((letter, have))
            size //= have
        elif letter == "c" and have % size == 0:
            dim.append(("c", size))
            queue.insert(0, ("c", have // size))
            size = 1
        else:
            raise NotKnown("it cuts rows or columns into pieces")
    return dim


def view_as(x: FieldTensor, other: Any) -> FieldTensor:
    """Tensor.view_as, reshape_as."""
    return view(x, tuple(other.shape))


def flatten(x: FieldTensor, start_dim: int = 0, end_dim: int = -1) -> FieldTensor:
    """torch.flatten."""
    start, end = x.dim(start_dim), x.dim(end_dim)
    shape = x.shape
    return view(x, (*shape[:start], math.prod(shape[start : end + 1]), *shape[end + 1 :]))


def unflatten(x: FieldTensor, dim: int, sizes: Any) -> FieldTensor:
    """torch.unflatten."""
    position, shape, wanted = x.dim(dim), x.shape, whole_numbers(sizes)
    if -1 in wanted:
        rest = shape[position] // max(1, -math.prod(wanted))
        wanted = [rest if size == -1 else size for size in wanted]
    return view(x, (*shape[:position], *wanted, *shape[position + 1 :]))


def permute(x: FieldTensor, *order: Any) -> FieldTensor:
    """torch.permute."""
    places = [x.dim(place) for place in whole_numbers(*order)]
    axes = x.channel_axes()
    labels = x.labels.transpose([axis for place in places for axis in axes[place]])
    atoms = x.atoms()
    return arrange([atoms[place] for place in places], labels, x.fields, x.grid, x)


def transpose(x: FieldTensor, dim0: int, dim1: int) -> FieldTensor:
    """torch.transpose."""
    order = list(range(len(x.dims)))
    first, second = x.dim(dim0), x.dim(dim1)
    order[first], order[second] = second, first
    return permute(x, order)


def movedim(x: FieldTensor, source: int, destination: int) -> FieldTensor:
    """torch.movedim of one dimension."""
    order = [place for place in range(len(x.dims)) if place != x.dim(source)]
    order.insert(x.dim(destination), x.dim(source))
    return permute(x, order)


def squeeze(x: FieldTensor, dim: Any = None) -> FieldTensor:
    """torch.squeeze."""
    wanted = range(len(x.dims)) if dim is None else [x.dim(place) for place in whole_numbers(dim)]
    drop = {place for place in wanted if x.shape[place] == 1}
    return replace(x, dims=tuple(word for place, word in enumerate(x.dims) if place not in drop))


def unsqueeze(x: FieldTensor, dim: int) -> FieldTensor:
    """torch.unsqueeze."""
    place = dim % (len(x.dims) + 1)
    return replace(x, dims=(*x.dims[:place], "", *x.dims[place:]))


def narrow(x: FieldTensor, dim: int, start: int, length: int) -> FieldTensor:
    """torch.narrow."""
    place = x.dim(dim)
    return take(x, place, np.arange(x.shape[place])[int(start) :][: int(length)])


def select(x: FieldTensor, dim: int, index: int) -> FieldTensor:
    """torch.select."""
    place = x.dim(dim)
    return squeeze(take(x, place, np.arange(x.shape[place])[[int(index)]]), place)


def index_select(x: FieldTensor, dim: int, index: Any) -> FieldTensor:
    """torch.index_select with constant indices."""
    place = x.dim(dim)
    return take(x, place, np.arange(x.shape[place])[np.asarray(index)])


def flip(x: FieldTensor, *dims: Any) -> FieldTensor:
    """torch.flip."""
    for dim in whole_numbers(*dims):
        place = x.dim(dim)
        x = take(x, place, np.arange(x.shape[place])[::-1].copy())
    return x


def roll(x: FieldTensor, shifts: int, dims: int) -> FieldTensor:
    """torch.roll along one dimension."""
    place = x.dim(dims)
    return take(x, place, np.roll(np.arange(x.shape[place]), shifts))


def repeat(x: FieldTensor, *sizes: Any) -> FieldTensor:
    """Tensor.repeat."""
    times = whole_numbers(*sizes)
    x = replace(x, dims=("",) * (len(times) - len(x.dims)) + x.dims)
    for place, count in enumerate(times):
        x = take(x, place, np.tile(np.arange(x.shape[place]), count))
    return x


def repeat_interleave(x: FieldTensor, repeats: int, dim: int) -> FieldTensor:
    """torch.repeat_interleave along one dimension."""
    place = x.dim(dim)
    size = x.shape[place]
    pattern = np.zeros((repeats, 1), dtype=np.int64)
    taps = Taps.periodic(pattern, 1, inputs=size, outputs=size * repeats)
    return take(x, place, taps.indices[:, 0], taps)


def split(x: FieldTensor, split_size_or_sections: Any, dim: int = 0) -> tuple[FieldTensor, ...]:
    """torch.split."""
    place = x.dim(dim)
    size = x.shape[place]
    if isinstance(split_size_or_sections, Sequence):
        bounds = np.cumsum([0, *whole_numbers(split_size_or_sections)]).tolist()
    else:
        bounds = [*range(0, size, int(split_size_or_sections)), size]
    if bounds[-1] != size:
        raise DoesNotFit(f"sections of {bounds[-1]} in total do not fit {size}")
    return tuple(narrow(x, place, start, stop - start) for start, stop in pairwise(bounds))


def chunk(x: FieldTensor, chunks: int, dim: int = 0) -> tuple[FieldTensor, ...]:
    """torch.chunk."""
    place = x.dim(dim)
    return split(x, -(-x.shape[place] // int(chunks)), place)


def tensor_split(x: FieldTensor, indices_or_sections: Any, dim: int = 0) -> tuple[FieldTensor, ...]:
    """torch.tensor_split."""
    place = x.dim(dim)
    pieces = np.array_split(np.arange(x.shape[place]), indices_or_sections)
    return tuple(take(x, place, piece) for piece in pieces)


def unbind(x: FieldTensor, dim: int = 0) -> tuple[FieldTensor, ...]:
    """torch.unbind."""
    return tuple(select(x, dim, index) for index in range(x.shape[x.dim(dim)]))


def getitem(x: Any, index: Any) -> Any:
    """Indexing by numbers, slices, None, Ellipsis and at most one list of constant indices."""
    if not isinstance(x, FieldTensor):
        return x[index]
    items = list(index) if isinstance(index, tuple) else [index]
    if sum(isinstance(item, (list, torch.Tensor)) for item in items) > 1:
        raise NotKnown("indexing with several lists of indices")
    dims = sum(item is not None and item is not Ellipsis for item in items)
    if dims > len(x.dims):
        raise DoesNotFit(f"{dims} indices for a tensor of {len(x.dims)} dimensions")
    place, skipped = 0, len(x.dims) - dims
    for item in items:
        if item is None:
            x, place = unsqueeze(x, place), place + 1
        elif item is Ellipsis:
            place += skipped
        else:
            x, place = _index_dim(x, place, item)
    return x


def _index_dim(x: FieldTensor, place: int, item: Any) -> tuple[FieldTensor, int]:
    if isinstance(item, (FieldTensor, bool)):
        raise NotKnown("which elements it picks depends on the image")
    numbers = np.arange(x.shape[place])
    if isinstance(item, slice):
        return take(x, place, numbers[item]), place + 1
    if isinstance(item, (list, torch.Tensor)) and np.ndim(np.asarray(item)) == 1:
        return take(x, place, numbers[np.asarray(item)]), place + 1
    number: Any = item
    return select(x, place, operator.index(number)), place
