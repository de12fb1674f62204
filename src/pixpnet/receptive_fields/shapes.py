"""Operations that move elements: views, permutations, indexing, padding and joining."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise
from typing import Any

import numpy as np

from pixpnet.receptive_fields.intervals import OUTSIDE, Taps
from pixpnet.receptive_fields.mixing import pointwise
from pixpnet.receptive_fields.tensor import Atom, DoesNotFit, FieldTensor, NotKnown, arrange

INTERLEAVES = "the channels that it interleaves see different parts of the image"


def view(x: FieldTensor, size: Sequence[int]) -> FieldTensor:
    """Rows and columns may be merged with others and taken apart again, but not cut."""
    shape, total = [int(side) for side in size], math.prod(x.shape)
    if -1 in shape:
        known = -math.prod(shape)
        shape = [total // max(known, 1) if side == -1 else side for side in shape]
    if math.prod(shape) != total:
        raise DoesNotFit(f"a tensor of shape {x.shape} has no view of shape {tuple(shape)}")
    queue = [atom for atoms in x.atoms() for atom in atoms]
    dims = [_next_dim(queue, side) for side in shape]
    return _interleaved(arrange(dims, x.labels, x.fields, x.grid))


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


def _interleaved(x: FieldTensor) -> FieldTensor:
    """A feature map again, where every row or column of one became several (pixel shuffle, repetition)."""
    if len(x.dims) != 4 or not {"hc", "wc"} & set(x.dims[2:]) or x.dims[0] or x.dims[1] not in ("", "c"):
        return x
    for dim, kind in ((2, "h"), (3, "w")):
        if x.dims[dim] != f"{kind}c":
            continue
        axis = sum(word.count("c") for word in x.dims[:dim])
        first = x.labels.take([0], axis=axis)
        if (x.labels != first).any():
            raise NotKnown(INTERLEAVES)
        words = (*x.dims[:dim], kind, *x.dims[dim + 1 :])
        times = x.labels.shape[axis]
        x = repeated(replace(x, dims=words, labels=first.squeeze(axis)), dim, times)
    return x


def repeated(x: FieldTensor, dim: int, times: int) -> FieldTensor:
    """Every index of a dimension several times in a row."""
    pattern = np.zeros((times, 1), dtype=np.int64)
    size = x.shape[dim]
    return x.windows(dim, Taps.periodic(pattern, 1, inputs=size, outputs=size * times))


def permute(x: FieldTensor, dims: Sequence[int]) -> FieldTensor:
    """torch.permute."""
    places = [x.dim(place) for place in dims]
    axes = x.channel_axes()
    labels = x.labels.transpose([axis for place in places for axis in axes[place]])
    atoms = x.atoms()
    return arrange([atoms[place] for place in places], labels, x.fields, x.grid)


def transpose(x: FieldTensor, dim0: int = 0, dim1: int = 1) -> FieldTensor:
    """torch.transpose; without dimensions, of a matrix."""
    order = list(range(len(x.dims)))
    first, second = x.dim(dim0), x.dim(dim1)
    order[first], order[second] = second, first
    return permute(x, order)


def channel_shuffle(x: FieldTensor, groups: int) -> FieldTensor:
    """torch.nn.functional.channel_shuffle."""
    return x.take(1, np.arange(x.shape[1]).reshape(groups, -1).T.reshape(-1))


def squeeze(x: FieldTensor, dim: int | Sequence[int] | None = None) -> FieldTensor:
    """torch.squeeze."""
    dims = [dim] if isinstance(dim, int) else range(len(x.dims)) if dim is None else dim
    return x.without([x.dim(place) for place in dims])


def unsqueeze(x: FieldTensor, dim: int) -> FieldTensor:
    """torch.unsqueeze."""
    place = dim % (len(x.dims) + 1)
    return replace(x, dims=(*x.dims[:place], "", *x.dims[place:]))


def sliced(
    x: FieldTensor, dim: int = 0, start: int | None = None, end: int | None = None, step: int = 1
) -> Any:
    """A slice of one dimension."""
    place = x.dim(dim)
    return x.take(place, np.arange(x.shape[place])[start:end:step])


def select(x: FieldTensor, dim: int, index: int) -> FieldTensor:
    """One element of a dimension, which goes."""
    place = x.dim(dim)
    return x.take(place, np.arange(x.shape[place])[[int(index)]]).without([place])


def index_select(x: FieldTensor, dim: int, index: Any) -> FieldTensor:
    """torch.index_select with constant indices, or a constant mask."""
    if isinstance(index, FieldTensor):
        raise NotKnown("which elements it picks depends on the image")
    place = x.dim(dim)
    numbers = np.asarray(index)
    if numbers.ndim > 1:
        raise NotKnown("indexing with a list of more than one dimension")
    return x.take(place, np.arange(x.shape[place])[numbers.reshape(-1)])


def index(x: Any, indices: Sequence[Any]) -> FieldTensor:
    """Indexing by at most one list of constant indices."""
    given = [place for place, item in enumerate(indices) if item is not None]
    if any(isinstance(indices[place], FieldTensor) for place in given):
        raise NotKnown("which elements it picks depends on the image")
    if len(given) > 1:
        raise NotKnown("indexing with several lists of indices")
    return index_select(x, given[0], indices[given[0]])


def flip(x: FieldTensor, dims: Sequence[int]) -> FieldTensor:
    """torch.flip."""
    for dim in dims:
        x = sliced(x, dim, step=-1)
    return x


def roll(x: FieldTensor, shifts: Sequence[int], dims: Sequence[int] = ()) -> FieldTensor:
    """torch.roll along dimensions."""
    if not dims:
        raise NotKnown("a roll of the flattened tensor")
    for shift, dim in zip(shifts, dims, strict=True):
        place = x.dim(dim)
        x = x.take(place, np.roll(np.arange(x.shape[place]), shift))
    return x


def tile(x: FieldTensor, repeats: Sequence[int]) -> FieldTensor:
    """Tensor.repeat."""
    x = replace(x, dims=("",) * (len(repeats) - len(x.dims)) + x.dims)
    for place, count in enumerate(repeats):
        x = x.take(place, np.tile(np.arange(x.shape[place]), count))
    return x


def split_with_sizes(x: FieldTensor, sizes: Sequence[int], dim: int = 0) -> list[FieldTensor]:
    """torch.split into pieces of these sizes."""
    bounds = np.cumsum([0, *sizes]).tolist()
    if bounds[-1] != x.shape[x.dim(dim)]:
        raise DoesNotFit(f"sections of {bounds[-1]} in total do not fit {x.shape[x.dim(dim)]}")
    return [sliced(x, dim, start, stop) for start, stop in pairwise(bounds)]


def split(x: FieldTensor, size: int, dim: int = 0) -> list[FieldTensor]:
    """torch.split into pieces of one size."""
    total = x.shape[x.dim(dim)]
    bounds = [*range(0, total, int(size)), total]
    return [sliced(x, dim, start, stop) for start, stop in pairwise(bounds)]


def unbind(x: FieldTensor, dim: int = 0) -> list[FieldTensor]:
    """torch.unbind."""
    return [select(x, dim, number) for number in range(x.shape[x.dim(dim)])]


def glu(x: FieldTensor, dim: int = -1) -> FieldTensor:
    """torch.nn.functional.glu: one half gates the other."""
    return pointwise(*split(x, x.shape[x.dim(dim)] // 2, dim))


def pad(x: FieldTensor, pad: Sequence[int], mode: Any = "constant", value: Any = None) -> FieldTensor:
    """torch.nn.functional.pad; negative padding crops. Without the border, any padding is more image."""
    del value
    for position in range(len(pad) // 2):
        before, after = (int(amount) for amount in pad[2 * position : 2 * position + 2])
        if before or after:
            x = _pad_dim(
                x, len(x.dims) - 1 - position, before, after, mode if isinstance(mode, str) else "constant"
            )
    return x


def _pad_dim(x: FieldTensor, dim: int, before: int, after: int, mode: str) -> FieldTensor:
    size = x.shape[dim]
    total = size + before + after
    most = {"reflect": size - 1, "circular": size}.get(mode, max(before, after))
    if total < 1 or max(before, after) > most:
        raise DoesNotFit(f"padding by {before} and {after} ({mode}) does not fit {size} cells")
    places = np.arange(-before, size + after)
    if mode == "constant":
        places = np.where((places >= 0) & (places < size), places, OUTSIDE)
    elif mode == "replicate":
        places = np.clip(places, 0, size - 1)
    elif mode == "circular":
        places = places % size
    else:
        places = np.abs(places)
        places = np.minimum(places, 2 * (size - 1) - places)
    return x.windows(dim, Taps(places[:, None], np.array([[-before]], dtype=np.int64), 1))


def stack(tensors: Sequence[Any], dim: int = 0) -> FieldTensor:
    """torch.stack."""
    place = dim % (len(tensors[0].shape) + 1)
    return cat(
        [unsqueeze(x, place) if isinstance(x, FieldTensor) else x.unsqueeze(place) for x in tensors], place
    )


def cat(tensors: Sequence[Any], dim: int = 0) -> FieldTensor:
    """torch.cat: along channels, or along rows or columns of feature maps."""
    parts = _with_constants(tensors, dim)
    place = parts[0].dim(dim)
    if any(len(x.dims[place]) > 1 for x in parts):
        parts = [x.elements() for x in parts]
    kinds = {x.kind(place) for x in parts if x.dims[place]} or {parts[0].kind(place)}
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
        if like.kind(place) != "c" or len(x.shape) != len(like.dims):
            raise NotKnown("it joins a constant to rows or columns")
        atoms = like.atoms()
        atoms[place] = [("c", x.shape[place])]
        sizes = [size for dim_atoms in atoms for letter, size in dim_atoms if letter == "c"]
        parts.append(arrange(atoms, np.zeros(sizes, dtype=np.int64), ((),), like.grid))
    return parts


def _cat_channels(parts: list[FieldTensor], place: int) -> FieldTensor:
    if len({x.grid for x in parts}) > 1:
        raise NotKnown("it joins tensors of different grids")
    start, axis, labels, fields = 0, 0, [], []
    for x in parts:
        own, axis = x.labels_along(place)
        labels.append(own + start)
        fields.extend(x.fields)
        start += len(x.fields)
    return parts[0].with_labels(place, np.concatenate(labels, axis=axis), tuple(fields))


def _cat_cells(parts: list[FieldTensor], place: int) -> FieldTensor:
    """Every part, with cells that see nothing in place of the others; then the union."""
    total, start, padded = sum(x.shape[place] for x in parts), 0, []
    for x in parts:
        indices = np.full(total, OUTSIDE)
        indices[start : start + x.shape[place]] = np.arange(x.shape[place])
        padded.append(x.take(place, indices))
        start += x.shape[place]
    return pointwise(*padded)
