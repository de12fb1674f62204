"""Where each cell of a layer paints, and how strongly: two small tables, one for rows and one for columns."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Float, Float64, Int64
from torch import Tensor

from pixpnet.receptive_fields import ReceptiveField

NARROWEST = 28
"""Pixels of the narrowest band: matrix products of fewer columns cost more than they save."""


class Band(NamedTuple):
    """Pixels ``start`` to ``stop``, which only rows ``first`` to ``last`` paint on (half-open both)."""

    start: int
    stop: int
    first: int
    last: int


@dataclass(frozen=True)
class Axis:
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

    rows: Axis
    columns: Axis
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
    ) -> Axis:
        positions = np.arange(size)
        inside = (positions >= spans[:, :1]) & (positions < spans[:, 1:])
        # Far from its centre a narrow Gaussian is 0 in floating point, and 0 × -∞ would be no number.
        weights = np.maximum(_gaussians(centers, sigma, size), torch.finfo(dtype).tiny) * inside
        return Axis(spans, torch.from_numpy(weights).to(dtype=dtype, device=device))

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
