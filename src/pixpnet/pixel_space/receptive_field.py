"""The receptive-field map: each cell paints its similarity on the pixels it sees, and on no others.

A cell paints its similarity times a Gaussian that is centred on its unclipped receptive field and cut to its
box (PixPNet, Carmichael et al. 2024). The Gaussian and the box are products of rows and columns, so no loop
over cells is needed: the sum is ``Gyᵀ S Gx``, and the maximum is one over columns followed by one over rows.
Where each cell paints, and how strongly, is a `Canvas`: two small tables, one for rows and one for columns.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Float, Float64, Int64
from torch import Tensor

from pixpnet.choices import choose
from pixpnet.errors import ConfigError
from pixpnet.pixel_space.request import MapRequest
from pixpnet.receptive_fields import ReceptiveField

BLOCK = 1 << 21
"""Elements that are worked on at a time: few enough for a processor's cache."""

HUGE_PAGE = 1 << 21
"""Bytes that the system hands out at once for large arrays, if they start at a multiple of it."""

NARROWEST = 28
"""Pixels of the narrowest band: matrix products of fewer columns cost more than they save."""


class Band(NamedTuple):
    """Pixels ``start`` to ``stop``, which only rows ``first`` to ``last`` paint on (half-open both)."""

    start: int
    stop: int
    first: int
    last: int


@dataclass(frozen=True)
class PaintAxis:
    """What the rows (or the columns) of cells paint along the image's height (or width).

    Attributes:
        spans: The pixels that each row paints, half-open; (0, 0) where it sees nothing.
        weights: Its Gaussian there: more than 0 inside the span, 0 outside.
    """

    spans: Int64[np.ndarray, "n 2"]
    weights: Float[Tensor, "n size"]

    @property
    def covers(self) -> Float[Tensor, "n size"]:
        """1 where a row paints, else 0."""
        return (self.weights > 0).to(self.weights.dtype)

    @cached_property
    def bands(self) -> tuple[Band, ...]:
        """The pixels in a few parts; more where few rows paint on a part, and a product with all is waste."""
        size, count = self.weights.shape[1], len(self.spans)
        starts, stops = self.spans.T
        longest = int((stops - starts).max(initial=1))
        parts = min(count, size // longest, size // NARROWEST)
        if parts <= 1:
            return (Band(0, size, 0, count),)
        edges = [size * part // parts for part in range(parts + 1)]
        bands = []
        for start, stop in pairwise(edges):
            rows = np.flatnonzero((starts < stop) & (stops > start))
            first, last = (int(rows[0]), int(rows[-1]) + 1) if len(rows) else (0, 0)
            bands.append(Band(start, stop, first, last))
        return tuple(bands)


@dataclass(frozen=True)
class Canvas:
    """A grid of rows × columns on which every cell of a layer has a place and paints an outer product.

    Attributes:
        rows: Along the image's height.
        columns: Along the image's width.
        cells: Flat indices of the layer's cells that have a place; None: all, each at its own row and column.
        places: Flat index, in this grid, of each of those.
    """

    rows: PaintAxis
    columns: PaintAxis
    cells: Int64[Tensor, "k"] | None
    places: Int64[Tensor, "k"] | None

    @property
    def size(self) -> tuple[int, int]:
        """(rows, columns) of the grid."""
        return len(self.rows.spans), len(self.columns.spans)

    @property
    def image_size(self) -> tuple[int, int]:
        """(height, width) in pixels."""
        return self.rows.weights.shape[1], self.columns.weights.shape[1]

    @cached_property
    def count(self) -> Float[Tensor, "H W"]:
        """Number of cells that cover each pixel."""
        rows, columns = self.rows.covers, self.columns.covers
        if self.places is None:
            return rows.sum(0)[:, None] * columns.sum(0)
        cells = rows.new_zeros(self.size)
        cells.view(-1)[self.places] = 1
        return rows.T @ cells @ columns

    def placed(self, values: Float[Tensor, "m h w"], *, empty: float) -> Float[Tensor, "m r c"]:
        """The cells' values on the grid, ``empty`` where no cell has its place."""
        if self.cells is None or self.places is None:
            return values
        grid = values.new_full((len(values), self.size[0] * self.size[1]), empty)
        grid[:, self.places] = values.flatten(1)[:, self.cells]
        return grid.view(len(values), *self.size)


def make_canvas(
    receptive_field: ReceptiveField, *, sigma_factor: float, dtype: torch.dtype, device: torch.device
) -> Canvas:
    """The canvas of a layer; σ is ``sigma_factor`` times the full field's height, or width."""
    height, width = receptive_field.image_size
    sigmas = [sigma_factor * max(1, side) for side in receptive_field.full_size]
    y_centers, x_centers = receptive_field.centers[:, 0, 1], receptive_field.centers[0, :, 0]

    def axis(
        spans: Int64[np.ndarray, "n 2"], centers: Float64[np.ndarray, "n"], sigma: float, size: int
    ) -> PaintAxis:
        positions = np.arange(size)
        inside = (positions >= spans[:, :1]) & (positions < spans[:, 1:])
        # Far from its centre a narrow Gaussian is 0 in floating point, and 0 × -∞ would be no number.
        weights = np.maximum(_gaussians(centers, sigma, size), torch.finfo(dtype).tiny) * inside
        return PaintAxis(spans, torch.from_numpy(weights).to(dtype=dtype, device=device))

    if receptive_field.cells is None:
        rows = axis(receptive_field.rows, y_centers, sigmas[0], height)
        same = (
            height == width
            and np.array_equal(receptive_field.rows, receptive_field.columns)
            and np.array_equal(receptive_field.unclipped_rows, receptive_field.unclipped_columns)
        )
        columns = rows if same else axis(receptive_field.columns, x_centers, sigmas[1], width)
        return Canvas(rows, columns, None, None)
    # Boxes that are no rows × columns: a row of cells becomes as many rows of the canvas as it has different
    # (top, bottom), a column as many as it has (left, right). Then each cell again is one row × one column.
    boxes = receptive_field.boxes
    i, j = np.nonzero((boxes[..., 2] > boxes[..., 0]) & (boxes[..., 3] > boxes[..., 1]))
    left, top, right, bottom = boxes[i, j].T
    y, row = np.unique(np.stack([i, top, bottom], axis=1), axis=0, return_inverse=True)
    x, column = np.unique(np.stack([j, left, right], axis=1), axis=0, return_inverse=True)
    return Canvas(
        axis(y[:, 1:], y_centers[y[:, 0]], sigmas[0], height),
        axis(x[:, 1:], x_centers[x[:, 0]], sigmas[1], width),
        torch.from_numpy(i * boxes.shape[1] + j).to(device),
        torch.from_numpy(row.reshape(-1) * len(x) + column.reshape(-1)).to(device),
    )


def _gaussians(centers: Float64[np.ndarray, "n"], sigma: float, size: int) -> Float64[np.ndarray, "n size"]:
    """exp(-d² / 2σ²), d from the pixel's centre; scaled so that the pixel nearest to the centre has 1."""
    distances = np.arange(size) + 0.5 - centers[:, None]
    nearest = centers[:, None] - np.floor(centers[:, None]) - 0.5
    return np.exp((nearest**2 - distances**2) / (2 * sigma**2))


Reduction = Callable[[Tensor, Canvas, Tensor], None]
"""Paints similarities [m h w] on a canvas, into maps [m H W]."""


@torch.no_grad()
def receptive_field_map(request: MapRequest) -> Float[Tensor, "b n H W"]:
    """Paint each prototype's similarities where its cells look; without gradient, at least in float32.

    Raises:
        ConfigError: If the reduction is unknown or the sigma factor no positive number.
    """
    reduction = choose(REDUCTIONS, request.reduction, what="reduction")
    if not (request.sigma_factor > 0 and math.isfinite(request.sigma_factor)):
        raise ConfigError(f"sigma_factor={request.sigma_factor} is no positive number; 1.0 is the usual one")
    similarities = request.similarities.detach().to(request.dtype)
    canvas = make_canvas(
        request.receptive_field,
        sigma_factor=request.sigma_factor,
        dtype=similarities.dtype,
        device=similarities.device,
    )
    (rows, columns), (height, width) = canvas.size, canvas.image_size
    maps = request.out
    if maps is None:
        maps = _empty((*similarities.shape[:2], height, width), similarities)
    step = max(1, BLOCK // (rows * columns + rows * width + height * width))
    with _no_autocast(similarities.device.type):
        for part, target in zip(
            similarities.flatten(0, 1).split(step), maps.flatten(0, 1).split(step), strict=True
        ):
            reduction(part, canvas, target)
    return maps


def _no_autocast(device: str) -> AbstractContextManager:
    """No autocast, where there is such a thing."""
    if torch.amp.is_autocast_available(device):
        return torch.autocast(device, enabled=False)
    return nullcontext()


def _empty(size: tuple[int, ...], like: Tensor) -> Tensor:
    """Memory for the maps. Much of it, on the CPU, is NumPy's: in huge pages, first touched at less cost."""
    length = math.prod(size) * like.element_size()
    if like.device.type != "cpu" or length < 2 * HUGE_PAGE:
        return like.new_empty(size)
    memory = np.empty(length + 2 * HUGE_PAGE, dtype=np.uint8)  # what is left over is never touched
    start = -memory.ctypes.data % HUGE_PAGE
    return torch.from_numpy(memory[start : start + length]).view(like.dtype).view(size)


def _multiply(
    left: Float[Tensor, "y r"], right: Float[Tensor, "m r W"], maps: Float[Tensor, "m y W"]
) -> None:
    """Write ``left @ right`` into the maps.

    On the CPU NumPy does it: its library writes small products at once, where the one that torch brings
    clears the maps in a pass of its own and then adds to them (on AMD's processors).
    """
    if maps.device.type == "cpu":
        np.matmul(left.numpy(), right.numpy(), out=maps.numpy())
    else:
        torch.matmul(left, right, out=maps)


def paint_sum(similarities: Float[Tensor, "m h w"], canvas: Canvas, maps: Float[Tensor, "m H W"]) -> None:
    """Sum over the cells that cover a pixel."""
    across = canvas.placed(similarities, empty=0.0) @ canvas.columns.weights
    for top, bottom, first, last in canvas.rows.bands:
        weights = canvas.rows.weights[first:last, top:bottom].T
        _multiply(weights, across[:, first:last], maps[:, top:bottom])


def paint_mean(similarities: Float[Tensor, "m h w"], canvas: Canvas, maps: Float[Tensor, "m H W"]) -> None:
    """Sum divided by the number of covering cells; 0 where there is none."""
    paint_sum(similarities, canvas, maps)
    maps.div_(canvas.count.clamp(min=1))


def paint_max(similarities: Float[Tensor, "m h w"], canvas: Canvas, maps: Float[Tensor, "m H W"]) -> None:
    """Maximum over the cells that cover a pixel; 0 where there is none.

    Weights are positive, so the larger of two values stays the larger when a row's weight multiplies both,
    whatever their sign: the maximum over columns may be taken first, if only covering cells take part.
    """
    rows, columns = canvas.rows, canvas.columns
    grid = canvas.placed(similarities, empty=-torch.inf)
    across = grid.new_full((*grid.shape[:2], maps.shape[-1]), -torch.inf)
    for j, (left, right) in enumerate(columns.spans.tolist()):
        region = across[:, :, left:right]
        torch.maximum(region, grid[:, :, j, None] * columns.weights[j, left:right], out=region)
    maps.fill_(-torch.inf)
    for i, (top, bottom) in enumerate(rows.spans.tolist()):
        region = maps[:, top:bottom]
        torch.maximum(region, across[:, i, None] * rows.weights[i, top:bottom, None], out=region)
    maps.masked_fill_(canvas.count == 0, 0.0)


REDUCTIONS: dict[str, Reduction] = {"max": paint_max, "mean": paint_mean, "sum": paint_sum}
"""Name -> how the cells that cover a pixel are joined."""
