"""Padding, interpolation, pixel and channel shuffling."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from math import floor
from typing import Any

import numpy as np
import torch
from jaxtyping import Int64
from torch.nn import functional

from pixpnet.receptive_fields.intervals import OUTSIDE, Taps
from pixpnet.receptive_fields.rules.arguments import feature_map, pair, whole_numbers
from pixpnet.receptive_fields.rules.take import take
from pixpnet.receptive_fields.rules.windows import adaptive_pooling
from pixpnet.receptive_fields.tensor import DoesNotFit, FieldTensor, NotKnown, arrange

HALF = Fraction(1, 2)


def pad(x: FieldTensor, pad: Any, mode: str = "constant", value: float | None = None) -> FieldTensor:
    """torch.nn.functional.pad; negative padding crops. Without the border, any padding is more image."""
    del value
    amounts = whole_numbers(pad)
    for position in range(len(amounts) // 2):
        before, after = amounts[2 * position : 2 * position + 2]
        if before or after:
            x = _pad_dim(x, len(x.dims) - 1 - position, before, after, mode)
    return x


def _pad_dim(x: FieldTensor, dim: int, before: int, after: int, mode: str) -> FieldTensor:
    size = x.shape[dim]
    if size + before + after < 1:
        raise DoesNotFit(f"padding by {before} and {after} leaves nothing of {size}")
    endless = np.array([[-before]], dtype=np.int64)
    if mode == "constant":
        taps = Taps.periodic(endless, 1, inputs=size, outputs=size + before + after)
    else:
        source = torch.arange(size, dtype=torch.float64)[None, None]
        try:
            read = functional.pad(source, [before, after], mode=mode)[0, 0].long().numpy()
        except (RuntimeError, NotImplementedError) as error:
            raise DoesNotFit(str(error)) from error
        taps = Taps(read[:, None], endless, 1)
    return take(x, dim, taps.indices[:, 0], taps)


def interpolate(
    x: Any,
    size: Any = None,
    scale_factor: Any = None,
    mode: str = "nearest",
    align_corners: bool | None = None,
    recompute_scale_factor: bool | None = None,
    antialias: bool = False,
) -> FieldTensor:
    """torch.nn.functional.interpolate: every tap counts, also those whose weight is 0."""
    x = feature_map(x)
    taps = []
    for axis, inputs in enumerate(x.grid):
        outputs, scale = None, None
        if size is not None:
            outputs = pair(size)[axis]
        elif scale_factor is not None:
            scale = float(scale_factor[axis] if isinstance(scale_factor, Sequence) else scale_factor)
            if recompute_scale_factor:
                outputs, scale = floor(inputs * scale), None
        else:
            raise DoesNotFit("neither size nor scale_factor is given")
        options = {"mode": mode, "align_corners": align_corners, "antialias": antialias}
        taps.append(_interpolation(inputs, outputs, scale, options))
    if antialias and 1 in (x.grid[1], len(taps[1].indices)):
        raise NotKnown(
            "torch's antialiasing (seen in 2.14) reads the wrong rows where there is a single column"
        )
    return x.moved(*taps)


def _interpolation(inputs: int, outputs: int | None, scale: float | None, options: dict[str, Any]) -> Taps:
    indices = _torch_reads(inputs, outputs, scale, options)
    outputs = len(indices)
    if options["mode"] == "area":
        return adaptive_pooling(inputs, outputs)
    pattern, step = _endless(inputs, outputs, scale, options)
    return Taps(indices, pattern, step)


def _torch_reads(
    inputs: int, outputs: int | None, scale: float | None, options: dict[str, Any]
) -> Int64[np.ndarray, "n k"]:
    """The indices that torch itself reads: those whose NaN arrives, whatever their weight and rounding."""
    # Two columns: with a single one, torch's antialiasing (seen in 2.14) reads the wrong rows.
    marked = torch.zeros(inputs, 1, inputs, 2)
    index = torch.arange(inputs)
    marked[index, 0, index] = torch.nan
    target = {"size": (outputs, 2)} if scale is None else {"scale_factor": (scale, 1.0)}
    try:
        read = functional.interpolate(marked, **target, **options)
    except (RuntimeError, ValueError, NotImplementedError) as error:
        raise DoesNotFit(str(error)) from error
    seen = read[:, 0, :, 0].isnan().T.numpy()
    most = int(seen.sum(axis=1).max())
    return np.sort(np.where(seen, np.arange(inputs), OUTSIDE), axis=1)[:, inputs - most :]


def _endless(
    inputs: int, outputs: int, scale: float | None, options: dict[str, Any]
) -> tuple[Int64[np.ndarray, "period k"], int]:
    """Taps and step of the interpolation of an endless axis."""
    mode, aligned = options["mode"], options["align_corners"]
    ratio = Fraction(inputs, outputs) if scale is None else 1 / Fraction(scale).limit_denominator(1000)
    if aligned:
        ratio = Fraction(inputs - 1, outputs - 1) if outputs > 1 else Fraction(0)
    if inputs == outputs and ratio == 1:
        return np.array([[0]]), 1
    rows = []
    for index in range(ratio.denominator):
        centre = (index + HALF) * ratio
        source = index * ratio if aligned else centre - HALF
        if mode == "nearest":
            rows.append([floor(index * ratio)])
        elif mode == "nearest-exact":
            rows.append([floor(centre)])
        else:
            reach = {"bilinear": 1, "bicubic": 2}.get(mode)
            if reach is None:
                raise NotKnown(f"interpolation mode {mode!r}")
            if options["antialias"]:
                # torch's antialiasing leaves the corners where they are also with align_corners.
                support = reach * max(ratio, Fraction(1))
                first, last = floor(centre - support + HALF), floor(centre + support + HALF) - 1
            else:
                first, last = floor(source) - reach + 1, floor(source) + reach
            rows.append(list(range(first, last + 1)))
    longest = max(len(row) for row in rows)
    # A row that is shorter repeats its last tap.
    rows = [row + row[-1:] * (longest - len(row)) for row in rows]
    return np.array(rows, dtype=np.int64), ratio.numerator


def pixel_shuffle(x: Any, upscale_factor: int) -> FieldTensor:
    """torch.nn.functional.pixel_shuffle, where the channels that interleave see the same."""
    x, factor = feature_map(x), int(upscale_factor)
    groups = x.channels().reshape(-1, factor * factor)
    if (groups != groups[:, :1]).any():
        raise NotKnown("the channels that it interleaves see different parts of the image")
    height, width = x.grid
    dims = [[], [("c", len(groups))], [("h", height)], [("w", width)]]
    merged = arrange(dims, groups[:, 0], x.fields, x.grid, None)
    pattern = np.zeros((factor, 1), dtype=np.int64)
    rows, columns = (
        Taps.periodic(pattern, 1, inputs=size, outputs=size * factor) for size in (height, width)
    )
    return merged.moved(rows, columns)


def pixel_unshuffle(x: Any, downscale_factor: int) -> FieldTensor:
    """torch.nn.functional.pixel_unshuffle: channel (c, dy, dx) reads every f-th row from dy, and so on."""
    x, factor = feature_map(x), int(downscale_factor)
    if any(size % factor for size in x.grid):
        raise DoesNotFit(f"{factor} does not divide {x.grid[0]}x{x.grid[1]} cells")
    taps = [
        [
            Taps.periodic(np.array([[offset]]), factor, inputs=size, outputs=size // factor)
            for offset in range(factor)
        ]
        for size in x.grid
    ]
    parts = [x.moved(rows, columns) for rows in taps[0] for columns in taps[1]]
    sizes = np.cumsum([0, *(len(part.fields) for part in parts)])
    labels = np.stack([part.channels() + start for part, start in zip(parts, sizes, strict=False)], axis=1)
    fields = tuple(field for part in parts for field in part.fields)
    grid = parts[0].grid
    return arrange([[], [("c", labels.size)], [("h", grid[0])], [("w", grid[1])]], labels, fields, grid, None)


def channel_shuffle(x: FieldTensor, groups: int) -> FieldTensor:
    """torch.nn.functional.channel_shuffle."""
    order = np.arange(x.shape[1]).reshape(groups, -1).T.reshape(-1)
    return take(x, 1, order)
