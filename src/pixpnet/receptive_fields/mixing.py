"""Operations on matching elements, and those that see along whole dimensions: reductions, norms, products."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from jaxtyping import Int64

from pixpnet.receptive_fields.intervals import Axis, Field, Term, change
from pixpnet.receptive_fields.tensor import (
    Atom,
    DoesNotFit,
    FieldTensor,
    NotKnown,
    arrange,
    combine,
)


def only(*arguments: Any) -> None:
    """Refuse arguments, other than the input, that depend on the image."""
    if any(isinstance(argument, FieldTensor) for argument in arguments):
        raise NotKnown("its weights depend on the image")


def same(x: FieldTensor, *arguments: Any, **options: Any) -> FieldTensor:
    """A cast, a copy."""
    del arguments, options
    return x


def pointwise(*arguments: Any, **options: Any) -> FieldTensor:
    """Every element sees what the matching elements of all arguments see."""
    operands = [x for x in (*arguments, *options.values()) if isinstance(x, (FieldTensor, torch.Tensor))]
    tensors = [x for x in operands if isinstance(x, FieldTensor)]
    if len(operands) == 1:
        return tensors[0]
    try:
        shape = np.broadcast_shapes(*(tuple(x.shape) for x in operands))
    except ValueError as error:
        raise DoesNotFit(str(error)) from error
    if len(tensors) == 1 and tensors[0].shape == shape:
        return tensors[0]
    return _broadcast(tensors, shape)


def _broadcast(tensors: list[FieldTensor], shape: tuple[int, ...]) -> FieldTensor:
    aligned = [replace(x, dims=("",) * (len(shape) - len(x.dims)) + x.dims) for x in tensors]
    for place in range(len(shape)):
        if len({x.dims[place] for x in aligned} - {""}) > 1:
            aligned = [_narrowed(x, place) for x in aligned]
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
    return arrange(dims, united, combined, grid)


def _narrowed(x: FieldTensor, dim: int) -> FieldTensor:
    """Channels that all see the same (an expanded dimension) written as one, which fits rows and columns."""
    if x.dims[dim] != "c":
        return x
    labels, axis = x.labels_along(dim)
    first = labels.take(0, axis=axis)
    if (labels != np.expand_dims(first, axis)).any():
        return x
    return replace(x, dims=(*x.dims[:dim], "", *x.dims[dim + 1 :]), labels=first)


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


def expand(x: FieldTensor, size: Sequence[int], **options: Any) -> FieldTensor:
    """Tensor.expand."""
    del options
    have = (1,) * (len(size) - len(x.dims)) + x.shape
    return _broadcast([x], tuple(old if new == -1 else int(new) for old, new in zip(have, size, strict=True)))


def copy(x: FieldTensor, source: Any, *options: Any) -> FieldTensor:
    """Tensor.copy_: what the tensor held counts no more."""
    del options
    if not isinstance(source, FieldTensor):
        return replace(x, labels=np.zeros_like(x.labels), fields=((),))
    return expand(source, x.shape)


def reduction(
    x: FieldTensor, dim: Any = None, keepdim: bool = False, *, dtype: Any = None, correction: Any = None
) -> FieldTensor:
    """torch.mean, sum, amax, var and the like."""
    del dtype, correction
    dims = [dim] if isinstance(dim, int) else dim or range(len(x.dims))
    return x.reduced([x.dim(place) for place in dims], keepdim=keepdim)


def extreme(x: FieldTensor, dim: int, keepdim: bool = False) -> tuple[FieldTensor, str]:
    """torch.max and min along a dimension."""
    return reduction(x, dim, keepdim), "indices of extremes are not followed"


def softmax(x: FieldTensor, dim: int, *options: Any) -> FieldTensor:
    """torch.softmax and log_softmax."""
    del options
    return x.spread([x.dim(dim)])


STATISTICS = "statistics of a normalisation are not followed"


def batch_norm(
    x: FieldTensor, weight: Any, bias: Any, mean: Any, variance: Any, training: bool, *options: Any
) -> tuple[FieldTensor, str, str]:
    """torch.native_batch_norm: local, unless it uses the statistics of the image itself."""
    del options
    only(weight, bias, mean, variance)
    if training:
        x = x.spread([dim for dim in range(len(x.dims)) if dim != 1])
    return x, STATISTICS, STATISTICS


def layer_norm(
    x: FieldTensor, normalized_shape: Sequence[int], *parameters: Any
) -> tuple[FieldTensor, str, str]:
    """torch.native_layer_norm: local if only channels are normalised."""
    only(*parameters)
    count = len(normalized_shape)
    if tuple(normalized_shape) != x.shape[-count:]:
        raise DoesNotFit(f"it normalises {tuple(normalized_shape)} of an input of shape {x.shape}")
    return x.spread(range(len(x.dims) - count, len(x.dims))), STATISTICS, STATISTICS


def group_norm(
    x: FieldTensor, weight: Any, bias: Any, batch: int, channels: int, cells: int, groups: int, eps: float
) -> tuple[FieldTensor, str, str]:
    """torch.native_group_norm: the whole image, for the channels of each group."""
    del batch, cells, eps
    only(weight, bias)
    whole = x.spread(range(2, len(x.dims)))
    return whole.between_groups(groups, channels), STATISTICS, STATISTICS


def product(a: Any, b: Any) -> FieldTensor:
    """torch.mm and bmm, of matrices one or both of which see the image."""
    if a.shape[-1] != b.shape[-2]:
        raise DoesNotFit(f"shapes {tuple(a.shape)} and {tuple(b.shape)} cannot be multiplied")
    if isinstance(a, FieldTensor) and isinstance(b, FieldTensor):
        return pointwise(a.reduced([len(a.dims) - 1]), b.reduced([len(b.dims) - 2]))
    if isinstance(a, FieldTensor):
        return _contracted(a, len(a.dims) - 1, b.shape[-1])
    return _contracted(b, len(b.dims) - 2, a.shape[-2])


def product_with_sum(bias: Any, a: Any, b: Any, **options: Any) -> FieldTensor:
    """torch.addmm and baddbmm."""
    del options
    if isinstance(a, FieldTensor) and not isinstance(b, FieldTensor) and a.shape[-1] != b.shape[-2]:
        raise DoesNotFit(f"it takes {b.shape[-2]} features and gets {a.shape[-1]}")
    return pointwise(bias, product(a, b))


def _contracted(x: FieldTensor, dim: int, size: int) -> FieldTensor:
    """A dimension replaced by ``size`` elements of the same kind that all see all of it."""
    if len(x.dims[dim]) == 1:
        return x.spread([dim]).take(dim, np.zeros(size, dtype=np.int64))
    one = x.reduced([dim])
    labels, axis = one.labels_along(dim)
    return one.with_labels(dim, np.repeat(labels, size, axis=axis), one.fields)


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
    return pointwise(query.reduced([last]), key.reduced([last - 1, last]), value.reduced([last - 1]))
