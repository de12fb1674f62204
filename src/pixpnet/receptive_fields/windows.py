"""Sliding windows: convolution, pooling, interpolation, and pixels that become channels."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from fractions import Fraction
from functools import partial
from math import floor
from typing import Any

import numpy as np
import torch
from jaxtyping import Int64
from torch import Tensor

from pixpnet.receptive_fields.intervals import NO_TAP, OUTSIDE, Taps
from pixpnet.receptive_fields.mixing import only
from pixpnet.receptive_fields.shapes import INTERLEAVES, permute, repeated, sliced, stack, view
from pixpnet.receptive_fields.tensor import DoesNotFit, FieldTensor, NotKnown

HALF = Fraction(1, 2)
MAXIMA = "indices of maxima are not followed"


def _each(value: Sequence[int], count: int) -> list[int]:
    """A number for every dimension, where one may stand for all."""
    return [int(item) for item in value] * (count if len(value) == 1 else 1)


def convolution(
    x: Any,
    weight: Any,
    bias: Any,
    stride: Sequence[int],
    padding: Sequence[int],
    dilation: Sequence[int],
    transposed: bool,
    output_padding: Sequence[int],
    groups: int,
) -> FieldTensor:
    """Convolutions and transposed ones of any number of dimensions; of the weight only the shape counts."""
    only(weight, bias)
    takes, gives = weight.shape[1] * groups, weight.shape[0]
    if transposed:
        takes, gives = weight.shape[0], weight.shape[1] * groups
    if x.shape[1] != takes:
        raise DoesNotFit(f"it takes {takes} channels and gets {x.shape[1]}", channels=takes)
    x = x.between_groups(groups, gives)
    kernel = weight.shape[2:]
    numbers = [_each(given, len(kernel)) for given in (kernel, stride, padding, dilation)]
    if transposed:
        return _through(x, _transposed, *numbers, _each(output_padding, len(kernel)))
    return _through(x, _sliding, *numbers)


def _through(x: FieldTensor, window: Callable[..., Taps], *numbers: Sequence[int]) -> FieldTensor:
    """Windows over the last dimensions, given by the kernel, stride, padding and further numbers of each."""
    first = len(x.dims) - len(numbers[0])
    cases = list(zip(x.shape[first:], *numbers, strict=True))
    made = {case: window(*case) for case in set(cases) if case[1:4] != (1, 1, 0) or any(case[5:])}
    return x.through({first + axis: made[case] for axis, case in enumerate(cases) if case in made})


def _sliding(size: int, kernel: int, stride: int, padding: int, dilation: int, *, ceil: bool = False) -> Taps:
    """Windows of ``kernel`` taps, ``dilation`` apart, every ``stride`` indices.

    With ``ceil`` a last window may reach beyond the padding if it starts before.
    """
    span = dilation * (kernel - 1) + 1
    outputs = (size + 2 * padding - span + (stride - 1 if ceil else 0)) // stride + 1
    if ceil and (outputs - 1) * stride >= size + padding:
        outputs -= 1
    if outputs < 1:
        raise DoesNotFit(f"a window of {span} does not fit {size} cells with padding {padding}")
    pattern = -padding + dilation * np.arange(kernel, dtype=np.int64)[None]
    return Taps.periodic(pattern, stride, inputs=size, outputs=outputs)


def _transposed(size: int, kernel: int, stride: int, padding: int, dilation: int, more: int) -> Taps:
    """Output i reads input j where i = j · stride - padding + k · dilation for some tap k of the kernel."""
    outputs = (size - 1) * stride - 2 * padding + dilation * (kernel - 1) + more + 1
    if outputs < 1:
        raise DoesNotFit(f"padding {padding} leaves nothing of {size} cells")
    distance = np.arange(stride)[:, None] + padding - dilation * np.arange(kernel)
    pattern = np.where(distance % stride == 0, distance // stride, NO_TAP).astype(np.int64)
    return Taps.periodic(pattern, 1, inputs=size, outputs=outputs)


def max_pool(
    x: FieldTensor,
    kernel_size: Sequence[int],
    stride: Sequence[int] = (),
    padding: Sequence[int] = (0,),
    dilation: Sequence[int] = (1,),
    ceil_mode: bool = False,
) -> tuple[FieldTensor, str]:
    """Pooling over the last dimensions."""
    count = len(kernel_size)
    kernel = _each(kernel_size, count)
    numbers = (kernel, _each(stride or kernel, count), _each(padding, count), _each(dilation, count))
    return _through(x, partial(_sliding, ceil=ceil_mode), *numbers), MAXIMA


def average_pool(
    x: FieldTensor,
    kernel_size: Sequence[int],
    stride: Sequence[int] = (),
    padding: Sequence[int] = (0,),
    ceil_mode: bool = False,
    *options: Any,
) -> FieldTensor:
    """torch.nn.functional.avg_pool2d and 3d."""
    del options
    return max_pool(x, kernel_size, stride, padding, (1,), ceil_mode)[0]


def adaptive_pool(x: FieldTensor, output_size: Sequence[int]) -> FieldTensor:
    """Adaptive pooling over the last dimensions; one pooled to a single cell is a global operation."""
    for axis, size in enumerate(output_size):
        dim = len(x.dims) - len(output_size) + axis
        x = x.reduced([dim]) if size == 1 else x.windows(dim, _adaptive(x.shape[dim], int(size)))
    return x


def adaptive_max_pool(x: FieldTensor, output_size: Sequence[int]) -> tuple[FieldTensor, str]:
    """torch.nn.functional.adaptive_max_pool2d."""
    return adaptive_pool(x, output_size), MAXIMA


def _adaptive(size: int, outputs: int) -> Taps:
    """Output i pools the inputs from floor(i · n / o) to ceil((i + 1) · n / o) (as torch does)."""
    common = math.gcd(size, outputs)
    index = np.arange(outputs // common, dtype=np.int64)
    starts = index * size // outputs
    stops = -((-(index + 1) * size) // outputs)
    offsets = np.arange((stops - starts).max())
    pattern = np.where(offsets < (stops - starts)[:, None], starts[:, None] + offsets, NO_TAP)
    return Taps.periodic(pattern, size // common, inputs=size, outputs=outputs)


def _feature_map(x: FieldTensor) -> FieldTensor:
    """The input of an operation on feature maps [1 c h w]."""
    if not x.is_map:
        raise NotKnown(f"its input of shape {x.shape} is not a feature map [1, channels, rows, columns]")
    return x


@dataclass(frozen=True)
class Interpolation:
    """A way to interpolate.

    Attributes:
        operation: torch's own.
        reach: Taps nearer than this, in pixels, count; 0: the one nearest tap.
        antialias: The reach grows with the ratio of sizes.
        is_exact: Whether the nearest tap is that of the cell's centre; else of its upper left corner.
    """

    operation: Callable[..., Tensor]
    reach: int = 0
    antialias: bool = False
    is_exact: bool = True

    def __call__(self, x: FieldTensor, size: Sequence[int], *options: Any) -> FieldTensor:
        """The rule: taps of weight 0 don't count."""
        *aligned, row_scale, column_scale = (*options, None, None) if len(options) < 2 else options
        x = _feature_map(x)
        if self.antialias and 1 in (x.grid[1], size[1]):
            raise NotKnown(
                "torch's antialiasing (seen in 2.14) reads the wrong rows where there is a single column"
            )
        rows, columns = (
            Taps(
                self._reads(inputs, outputs, aligned, scale),
                *self._endless(inputs, outputs, aligned=any(aligned), scale=scale),
            )
            for inputs, outputs, scale in zip(x.grid, size, (row_scale, column_scale), strict=True)
        )
        return x.moved(rows, columns)

    def _reads(
        self, inputs: int, outputs: int, aligned: list[bool], scale: float | None
    ) -> Int64[np.ndarray, "n k"]:
        """The indices that torch itself reads with a weight other than 0, its rounding included."""
        # Two columns: with a single one, torch's antialiasing (seen in 2.14) reads the wrong rows.
        impulses = torch.eye(inputs, device="cpu")[:, None, :, None].repeat(1, 1, 1, 2)
        weights = self.operation(impulses, [outputs, 2], *aligned, scale, None)[:, 0, :, 0]
        seen = (weights != 0).T.numpy()
        most = int(seen.sum(axis=1).max())
        return np.sort(np.where(seen, np.arange(inputs), OUTSIDE), axis=1)[:, inputs - most :]

    def _endless(
        self, inputs: int, outputs: int, *, aligned: bool, scale: float | None
    ) -> tuple[Int64[np.ndarray, "period k"], int]:
        """Taps and step of the interpolation of an endless axis."""
        ratio = Fraction(inputs, outputs) if scale is None else 1 / Fraction(scale).limit_denominator(1000)
        if aligned:
            ratio = Fraction(inputs - 1, outputs - 1) if outputs > 1 else Fraction(0)
        rows = [self._taps(index, ratio, aligned=aligned) for index in range(ratio.denominator)]
        longest = max(len(row) for row in rows)
        return np.array([row + [NO_TAP] * (longest - len(row)) for row in rows]), ratio.numerator

    def _taps(self, index: int, ratio: Fraction, *, aligned: bool) -> list[int]:
        centre = (index + HALF) * ratio
        if self.reach == 0:
            return [floor(centre if self.is_exact else index * ratio)]
        # torch's antialiasing leaves the corners where they are also with align_corners.
        source = index * ratio if aligned and not self.antialias else centre - HALF
        unit = max(ratio, Fraction(1)) if self.antialias else Fraction(1)
        near = range(floor(source - self.reach * unit), floor(source + self.reach * unit) + 2)
        distances = [abs(tap - source) / unit for tap in near]
        # Both kernels, the triangle and the cubic one, are 0 at every whole distance but 0.
        return [
            tap
            for tap, distance in zip(near, distances, strict=True)
            if distance < self.reach and (distance == 0 or distance.denominator > 1)
        ]


def pixel_shuffle(x: FieldTensor, upscale_factor: int) -> FieldTensor:
    """torch.nn.functional.pixel_shuffle, where the channels that interleave see the same."""
    groups = _feature_map(x).labels.reshape(-1, upscale_factor**2)
    if (groups != groups[:, :1]).any():
        raise NotKnown(INTERLEAVES)
    merged = x.with_labels(1, groups[:, 0], x.fields)
    return repeated(repeated(merged, 2, upscale_factor), 3, upscale_factor)


def pixel_unshuffle(x: FieldTensor, downscale_factor: int) -> FieldTensor:
    """torch.nn.functional.pixel_unshuffle: channel (c, dy, dx) reads every f-th row from dy, and so on."""
    factor = int(downscale_factor)
    if any(size % factor for size in _feature_map(x).grid):
        raise DoesNotFit(f"{factor} does not divide {x.grid[0]}x{x.grid[1]} cells")
    parts = [
        sliced(sliced(x, 2, row, step=factor), 3, column, step=factor)
        for row in range(factor)
        for column in range(factor)
    ]
    channels = permute(stack(parts, 1), (0, 2, 1, 3, 4))
    return view(channels, (1, x.shape[1] * factor**2, *parts[0].shape[2:]))
