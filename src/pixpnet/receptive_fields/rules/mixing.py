"""Operations that see along whole dimensions: reductions, softmax, matrix products, attention."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from pixpnet.receptive_fields.intervals import Axis
from pixpnet.receptive_fields.rules.arguments import only, whole_numbers
from pixpnet.receptive_fields.rules.pointwise import pointwise
from pixpnet.receptive_fields.rules.shape import split, squeeze
from pixpnet.receptive_fields.rules.take import insert_channels, take
from pixpnet.receptive_fields.tensor import DoesNotFit, FieldTensor, NotKnown, arrange, combine
from pixpnet.receptive_fields.terms import Term


def _letters(x: FieldTensor, dims: Sequence[int]) -> str:
    """The atoms of these dimensions; rows and columns of a feature map even where there is only one."""
    return "".join("hw"[dim - 2] if x.is_map and dim >= 2 else x.dims[dim] for dim in dims)


def spread(x: FieldTensor, dims: Sequence[int]) -> FieldTensor:
    """Every element sees what all elements along these dimensions see."""
    axes = x.channel_axes()
    mixed = x.mixed([axis for dim in dims for axis in axes[dim]])
    letters = _letters(x, dims)
    return replace(mixed.spread("h" in letters, "w" in letters), alias=object())


def reduce(x: FieldTensor, dims: Sequence[int], *, keepdim: bool) -> FieldTensor:
    """One element in place of all along these dimensions, which sees what they see."""
    axes = x.channel_axes()
    gone = {axis for dim in dims for axis in axes[dim]}
    letters = _letters(x, dims)

    def whole(axis: Axis, letter: str) -> Axis:
        return axis.whole(1) if letter in letters else axis

    mixed = x.mixed(sorted(gone))
    first = tuple(0 if axis in gone else slice(None) for axis in range(x.labels.ndim))
    words = ["" if dim in dims else word for dim, word in enumerate(x.dims)]
    rest = replace(mixed, labels=np.asarray(mixed.labels[first]), alias=object())
    grid = (1 if "h" in letters else x.grid[0], 1 if "w" in letters else x.grid[1])
    reduced = replace(rest, dims=tuple(words)).changed(
        lambda term: Term(whole(term.rows, "h"), whole(term.columns, "w")), grid
    )
    return reduced if keepdim else squeeze(reduced, list(dims))


def contract(x: FieldTensor, dim: int, size: int) -> FieldTensor:
    """A dimension replaced by ``size`` elements of the same kind that all see all of it."""
    reduced = reduce(x, [dim], keepdim=True)
    if x.is_map and x.dims[dim] in ("h", "w"):
        return take(reduced, dim, np.zeros(size, dtype=np.int64))
    return insert_channels(reduced, dim, size)


def dims_of(x: FieldTensor, dim: Any) -> list[int]:
    return list(range(len(x.dims))) if dim is None else [x.dim(place) for place in whole_numbers(dim)]


def total(
    x: FieldTensor, dim: Any = None, keepdim: bool = False, *, axis: Any = None, dtype: Any = None
) -> FieldTensor:
    """torch.mean, sum, amax and the like."""
    del dtype
    return reduce(x, dims_of(x, axis if dim is None else dim), keepdim=keepdim)


def extreme(x: Any, dim: Any = None, keepdim: bool = False) -> Any:
    """torch.max and min: over everything, along a dimension, or of two tensors."""
    if dim is None:
        return reduce(x, dims_of(x, None), keepdim=False)
    if not isinstance(dim, int):
        return pointwise(x, dim)
    reduced = reduce(x, dims_of(x, dim), keepdim=keepdim)
    return reduced, reduced


def deviation(
    x: FieldTensor, dim: Any = None, unbiased: bool = True, keepdim: bool = False, *, correction: Any = 1
) -> FieldTensor:
    """torch.var and std."""
    del unbiased, correction
    return reduce(x, dims_of(x, None if isinstance(dim, bool) else dim), keepdim=keepdim)


def norm(
    x: FieldTensor, p: Any = 2, dim: Any = None, keepdim: bool = False, *, dtype: Any = None
) -> FieldTensor:
    """torch.norm and torch.linalg.vector_norm."""
    del p, dtype
    return reduce(x, dims_of(x, dim), keepdim=keepdim)


def softmax(x: FieldTensor, dim: Any = None, _stacklevel: int = 3, dtype: Any = None) -> FieldTensor:
    """torch.softmax and the like."""
    del dtype, _stacklevel
    if dim is None:
        raise NotKnown("a softmax without dim")
    return spread(x, dims_of(x, dim))


def glu(x: FieldTensor, dim: int = -1) -> FieldTensor:
    """torch.nn.functional.glu: one half gates the other."""
    place = x.dim(dim)
    return pointwise(*split(x, x.shape[place] // 2, place))


def linear(x: Any, weight: Any, bias: Any = None) -> FieldTensor:
    """torch.nn.functional.linear; of the weight only the shape counts."""
    only(weight, bias)
    return project(x, weight.shape)


def project(x: Any, weight_shape: Sequence[int]) -> FieldTensor:
    """A linear layer with a weight of shape [out, in]: local over channels in the last dimension."""
    if not isinstance(x, FieldTensor):
        raise NotKnown("its weights depend on the image")
    outputs, inputs = weight_shape
    if x.shape[-1] != inputs:
        raise DoesNotFit(f"it takes {inputs} features and gets {x.shape[-1]}")
    return contract(x, len(x.dims) - 1, outputs)


def matmul(a: Any, b: Any) -> FieldTensor:
    """torch.matmul of matrices, one or both of which see the image."""
    if len(a.shape) < 2 or len(b.shape) < 2:
        raise NotKnown("a product with a vector")
    if a.shape[-1] != b.shape[-2]:
        raise DoesNotFit(f"shapes {tuple(a.shape)} and {tuple(b.shape)} cannot be multiplied")
    if isinstance(a, FieldTensor) and isinstance(b, FieldTensor):
        rows = reduce(a, [len(a.dims) - 1], keepdim=True)
        columns = reduce(b, [len(b.dims) - 2], keepdim=True)
        return pointwise(rows, columns)
    x, weight, dim = (a, b, -1) if isinstance(a, FieldTensor) else (b, a, -2)
    if math.prod(weight.shape[:-2]) != 1 or len(weight.shape) > len(x.dims):
        raise NotKnown("a batch of constant matrices")
    return contract(x, x.dim(dim), weight.shape[-1 if dim == -1 else -2])


def attention(
    query: Any,
    key: Any,
    value: Any,
    attn_mask: Any = None,
    dropout_p: float = 0.0,
    is_causal: bool = False,
    **options: Any,
) -> FieldTensor:
    """torch.nn.functional.scaled_dot_product_attention without a mask: every token sees all."""
    del dropout_p, options
    if attn_mask is not None or is_causal:
        raise NotKnown("attention with a mask")
    if not all(isinstance(x, FieldTensor) for x in (query, key, value)):
        raise NotKnown("attention to something that does not depend on the image")
    last = len(query.dims) - 1
    asking = reduce(query, [last], keepdim=True)
    matching = reduce(key, [last - 1, last], keepdim=True)
    return pointwise(asking, matching, reduce(value, [last - 1], keepdim=True))


def pooled_mix(x: Any, shape: Sequence[int]) -> FieldTensor:
    """After global pooling: elements of the given shape that all see everything the input sees."""
    if not isinstance(x, FieldTensor):
        raise NotKnown("its weights depend on the image")
    if not x.is_pooled:
        raise NotKnown("it works on one dimension while rows and columns are still there")
    labels, fields = combine(x.labels.reshape(-1, 1), x.fields)
    return arrange(
        [[("c", size)] for size in shape], np.broadcast_to(labels, math.prod(shape)), fields, (1, 1), None
    )
