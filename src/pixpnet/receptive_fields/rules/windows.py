"""Taps of sliding windows along one axis: convolution, transposed convolution, pooling, adaptive pooling."""

from __future__ import annotations

import math

import numpy as np

from pixpnet.receptive_fields.intervals import NO_TAP, Taps
from pixpnet.receptive_fields.tensor import DoesNotFit


def convolution(
    size: int, *, kernel: int, stride: int = 1, padding: tuple[int, int] = (0, 0), dilation: int = 1
) -> Taps:
    """Windows of ``kernel`` taps, ``dilation`` apart, every ``stride`` indices."""
    span = dilation * (kernel - 1) + 1
    outputs = (size + sum(padding) - span) // stride + 1
    if outputs < 1:
        raise DoesNotFit(f"a window of {span} does not fit {size} cells with padding {padding}")
    pattern = -padding[0] + dilation * np.arange(kernel, dtype=np.int64)[None]
    return Taps.periodic(pattern, stride, inputs=size, outputs=outputs)


def pooling(
    size: int, *, kernel: int, stride: int, padding: int = 0, dilation: int = 1, ceil_mode: bool = False
) -> Taps:
    """As a convolution; with ``ceil_mode`` a last window may reach beyond the padding if it starts before."""
    span = dilation * (kernel - 1) + 1
    free = size + 2 * padding - span
    outputs = (free + (stride - 1 if ceil_mode else 0)) // stride + 1
    if ceil_mode and (outputs - 1) * stride >= size + padding:
        outputs -= 1
    if outputs < 1:
        raise DoesNotFit(f"a pooling window of {span} does not fit {size} cells with padding {padding}")
    pattern = -padding + dilation * np.arange(kernel, dtype=np.int64)[None]
    return Taps.periodic(pattern, stride, inputs=size, outputs=outputs)


def transposed_convolution(
    size: int, *, kernel: int, stride: int, padding: int, output_padding: int, dilation: int
) -> Taps:
    """Output i reads input j where i = j · stride - padding + k · dilation for some tap k of the kernel."""
    outputs = (size - 1) * stride - 2 * padding + dilation * (kernel - 1) + output_padding + 1
    if outputs < 1:
        raise DoesNotFit(f"padding {padding} leaves nothing of {size} cells")
    distance = np.arange(stride)[:, None] + padding - dilation * np.arange(kernel)
    pattern = np.where(distance % stride == 0, distance // stride, NO_TAP).astype(np.int64)
    return Taps.periodic(pattern, 1, inputs=size, outputs=outputs)


def adaptive_pooling(size: int, outputs: int) -> Taps:
    """Output i pools the inputs from floor(i · n / o) to ceil((i + 1) · n / o) (as torch does)."""
    common = math.gcd(size, outputs)
    index = np.arange(outputs // common, dtype=np.int64)
    starts = index * size // outputs
    stops = -((-(index + 1) * size) // outputs)
    offsets = np.arange((stops - starts).max())
    pattern = np.where(offsets < (stops - starts)[:, None], starts[:, None] + offsets, NO_TAP)
    return Taps.periodic(pattern, size // common, inputs=size, outputs=outputs)
