"""Convolutions and pooling."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

from pixpnet.receptive_fields.intervals import Axis
from pixpnet.receptive_fields.rules.arguments import Pair, feature_map, only, pair
from pixpnet.receptive_fields.rules.windows import (
    adaptive_pooling,
    convolution,
    pooling,
    transposed_convolution,
)
from pixpnet.receptive_fields.tensor import DoesNotFit, FieldTensor, NotKnown, arrange, combine
from pixpnet.receptive_fields.terms import Term


def between_groups(x: FieldTensor, *, groups: int, out_channels: int) -> FieldTensor:
    """Every output channel sees all input channels of its group."""
    labels = x.channels()
    if len(labels) % groups or out_channels % groups:
        raise DoesNotFit(f"{groups} groups do not divide {len(labels)} and {out_channels} channels")
    united, fields = combine(labels.reshape(groups, -1).T, x.fields)
    labels = np.repeat(united, out_channels // groups)
    return arrange(
        [[], [("c", out_channels)], [("h", x.grid[0])], [("w", x.grid[1])]], labels, fields, x.grid, None
    )


def convolve(
    x: Any, weight_shape: Sequence[int], *, stride: Any, padding: Any, dilation: Any, groups: int
) -> FieldTensor:
    """A convolution with a weight of shape [out, in / groups, rows, columns]."""
    x = feature_map(x)
    out_channels, in_channels, *kernel = weight_shape
    if in_channels * groups != x.shape[1]:
        raise DoesNotFit(f"it takes {in_channels * groups} channels and gets {x.shape[1]}")
    strides, dilations = pair(stride), pair(dilation)
    rows, columns = (
        convolution(
            x.grid[axis],
            kernel=kernel[axis],
            stride=strides[axis],
            dilation=dilations[axis],
            padding=_padding(padding, axis, kernel[axis], dilations[axis]),
        )
        for axis in (0, 1)
    )
    return between_groups(x, groups=groups, out_channels=out_channels).moved(rows, columns)


def conv2d(
    x: Any,
    weight: Any,
    bias: Any = None,
    stride: Any = 1,
    padding: Any = 0,
    dilation: Any = 1,
    groups: int = 1,
) -> FieldTensor:
    """torch.nn.functional.conv2d; of the weight only the shape counts."""
    only(weight, bias)
    return convolve(x, weight.shape, stride=stride, padding=padding, dilation=dilation, groups=groups)


def _padding(padding: Any, axis: int, kernel: int, dilation: int) -> Pair:
    """Padding before and after; 'same' puts the odd one after, as torch does."""
    if padding == "valid":
        return 0, 0
    if padding == "same":
        total = dilation * (kernel - 1)
        return total // 2, total - total // 2
    return pair(padding)[axis], pair(padding)[axis]


def convolve_transposed(
    x: Any,
    weight_shape: Sequence[int],
    *,
    stride: Any,
    padding: Any,
    output_padding: Any,
    groups: int,
    dilation: Any,
) -> FieldTensor:
    """A transposed convolution with a weight of shape [in, out / groups, rows, columns]."""
    x = feature_map(x)
    in_channels, per_group, *kernel = weight_shape
    if in_channels != x.shape[1]:
        raise DoesNotFit(f"it takes {in_channels} channels and gets {x.shape[1]}")
    rows, columns = (
        transposed_convolution(
            x.grid[axis],
            kernel=kernel[axis],
            stride=pair(stride)[axis],
            padding=pair(padding)[axis],
            output_padding=pair(output_padding)[axis],
            dilation=pair(dilation)[axis],
        )
        for axis in (0, 1)
    )
    return between_groups(x, groups=groups, out_channels=per_group * groups).moved(rows, columns)


def conv_transpose2d(
    x: Any,
    weight: Any,
    bias: Any = None,
    stride: Any = 1,
    padding: Any = 0,
    output_padding: Any = 0,
    groups: int = 1,
    dilation: Any = 1,
) -> FieldTensor:
    """torch.nn.functional.conv_transpose2d; of the weight only the shape counts."""
    only(weight, bias)
    return convolve_transposed(
        x,
        weight.shape,
        stride=stride,
        padding=padding,
        output_padding=output_padding,
        groups=groups,
        dilation=dilation,
    )


def max_pool2d(
    x: Any,
    kernel_size: Any,
    stride: Any = None,
    padding: Any = 0,
    dilation: Any = 1,
    ceil_mode: bool = False,
    return_indices: bool = False,
) -> FieldTensor:
    """torch.nn.functional.max_pool2d."""
    if return_indices:
        raise NotKnown("indices of maxima are not followed")
    x = feature_map(x)
    kernel = pair(kernel_size)
    strides = pair(stride) if stride not in (None, [], ()) else kernel
    rows, columns = (
        pooling(
            x.grid[axis],
            kernel=kernel[axis],
            stride=strides[axis],
            padding=pair(padding)[axis],
            dilation=pair(dilation)[axis],
            ceil_mode=ceil_mode,
        )
        for axis in (0, 1)
    )
    return x.moved(rows, columns)


def avg_pool2d(
    x: Any,
    kernel_size: Any,
    stride: Any = None,
    padding: Any = 0,
    ceil_mode: bool = False,
    count_include_pad: bool = True,
    divisor_override: int | None = None,
) -> FieldTensor:
    """torch.nn.functional.avg_pool2d."""
    del count_include_pad, divisor_override  # they change values only
    return max_pool2d(x, kernel_size, stride, padding, 1, ceil_mode)


def lp_pool2d(
    x: Any, norm_type: float, kernel_size: Any, stride: Any = None, ceil_mode: bool = False
) -> FieldTensor:
    """torch.nn.functional.lp_pool2d."""
    del norm_type
    return max_pool2d(x, kernel_size, stride, 0, 1, ceil_mode)


def adaptive_pool2d(x: Any, output_size: Any, return_indices: bool = False) -> FieldTensor:
    """Adaptive pooling; an axis pooled to a single cell is a global operation."""
    if return_indices:
        raise NotKnown("indices of maxima are not followed")
    x = feature_map(x)
    sizes = output_size if isinstance(output_size, (tuple, list, torch.Size)) else (output_size, output_size)
    wanted = [have if size is None else int(size) for size, have in zip(sizes, x.grid, strict=True)]

    def pooled(axis: Axis, size: int) -> Axis:
        return axis.whole(1) if size == 1 else axis.through(adaptive_pooling(len(axis), size))

    return x.changed(
        lambda term: Term(pooled(term.rows, wanted[0]), pooled(term.columns, wanted[1])),
        (wanted[0], wanted[1]),
    )
