"""The receptive field of a layer: which box of the image each of its cells depends on."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
from jaxtyping import Float64, Int64

from pixpnet.errors import ConfigError
from pixpnet.types import Box


@dataclass(frozen=True, eq=False)
class ReceptiveField:
    """What each cell of a layer sees of the image; intervals and boxes are half-open, in pixels.

    Attributes:
        image_size: (height, width) of the image.
        rows: (top, bottom) of each row of cells, clipped to the image; (0, 0) where a row sees nothing.
        columns: (left, right) of each column of cells.
        unclipped_rows: The same if the image went on beyond its border (zero padding seen as more image);
            global operations see the image.
        unclipped_columns: As unclipped_rows.
        cells: Boxes of the cells where rows × columns does not say it all; see `boxes`.

    >>> field = pixpnet.receptive_field(nn.Conv2d(3, 1, 5, stride=2), (9, 9))
    >>> field.grid_size, field.box(0, 1), round(field.mean_percent)
    ((3, 3), Box(left=2, top=0, right=7, bottom=5), 31)
    """

    image_size: tuple[int, int]
    rows: Int64[np.ndarray, "h 2"]
    columns: Int64[np.ndarray, "w 2"]
    unclipped_rows: Int64[np.ndarray, "h 2"]
    unclipped_columns: Int64[np.ndarray, "w 2"]
    cells: Int64[np.ndarray, "h w 4"] | None = field(default=None, repr=False)

    @property
    def grid_size(self) -> tuple[int, int]:
        """(height, width) of the grid of cells."""
        return len(self.rows), len(self.columns)

    @cached_property
    def boxes(self) -> Int64[np.ndarray, "h w 4"]:
        """(left, top, right, bottom) of each cell; (0, 0, 0, 0) where a cell sees no pixel."""
        if self.cells is not None:
            return self.cells
        boxes = np.empty((*self.grid_size, 4), dtype=np.int64)
        boxes[..., 0], boxes[..., 2] = self.columns[:, 0], self.columns[:, 1]
        boxes[..., 1], boxes[..., 3] = self.rows[:, :1], self.rows[:, 1:]
        boxes[lengths(self.rows) == 0] = 0
        boxes[:, lengths(self.columns) == 0] = 0
        return boxes

    def box(self, row: int, column: int) -> Box:
        """The box of one cell."""
        left, top, right, bottom = self.boxes[row, column].tolist()
        return Box(left, top, right, bottom)

    @cached_property
    def centers(self) -> Float64[np.ndarray, "h w 2"]:
        """(x, y) of the middle of each cell's unclipped receptive field."""
        x, y = self.unclipped_columns.mean(axis=1), self.unclipped_rows.mean(axis=1)
        return np.stack(np.broadcast_arrays(x[None, :], y[:, None]), axis=-1)

    @property
    def full_size(self) -> tuple[int, int]:
        """(height, width) of the largest unclipped receptive field."""
        return int(lengths(self.unclipped_rows).max()), int(lengths(self.unclipped_columns).max())

    @property
    def strides(self) -> tuple[float, float]:
        """Pixels from one cell to the next, in height and width (median); of a single cell, the side."""
        return _stride(self.unclipped_rows, self.image_size[0]), _stride(
            self.unclipped_columns, self.image_size[1]
        )

    @cached_property
    def percents(self) -> Float64[np.ndarray, "h w"]:
        """Area of each cell's box as percent of the image's."""
        if self.cells is None:
            area = lengths(self.rows)[:, None] * lengths(self.columns)
        else:
            area = (self.cells[..., 2] - self.cells[..., 0]) * (self.cells[..., 3] - self.cells[..., 1])
        return area * (100 / (self.image_size[0] * self.image_size[1]))

    @property
    def mean_percent(self) -> float:
        """Mean over the cells that see anything; 0 if none does."""
        seeing = self.percents > 0
        return float(self.percents[seeing].mean()) if seeing.any() else 0.0

    @property
    def max_percent(self) -> float:
        """Largest receptive field, as percent of the image's area."""
        return float(self.percents.max())

    @property
    def is_global(self) -> bool:
        """Whether all cells have one and the same box, so that the layer tells no place from another."""
        boxes = self.boxes.reshape(-1, 4)
        return bool((boxes == boxes[0]).all() and boxes[0].any())

    def for_kernel(self, kernel_size: int) -> ReceptiveField:
        """The field of patches of k × k cells, on the grid (h - k + 1) × (w - k + 1): hulls of cells."""
        if not 1 <= kernel_size <= min(self.grid_size):
            raise ConfigError(
                f"a patch of {kernel_size}x{kernel_size} cells does not fit the grid of "
                f"{self.grid_size[0]}x{self.grid_size[1]} cells; take 1 to {min(self.grid_size)}"
            )
        if kernel_size == 1:
            return self
        cells = self.cells
        if cells is not None:
            cells = _sliding_boxes(_sliding_boxes(cells, kernel_size, axis=0), kernel_size, axis=1)
        return ReceptiveField(
            self.image_size,
            _sliding_hull(self.rows, kernel_size),
            _sliding_hull(self.columns, kernel_size),
            _sliding_hull(self.unclipped_rows, kernel_size),
            _sliding_hull(self.unclipped_columns, kernel_size),
            cells,
        )

    def to_dict(self) -> dict[str, list[list[int]]]:
        """Rows and columns as plain lists, ready for JSON: ``{"rows": [[top, bottom], …], "columns": …}``."""
        return {"rows": self.rows.tolist(), "columns": self.columns.tolist()}


def lengths(intervals: Int64[np.ndarray, "n 2"]) -> Int64[np.ndarray, "n"]:
    """Length of each interval in pixels."""
    return intervals[:, 1] - intervals[:, 0]


def _stride(unclipped: Int64[np.ndarray, "n 2"], side: int) -> float:
    starts = unclipped[lengths(unclipped) > 0, 0]
    return float(np.median(np.diff(starts))) if len(starts) > 1 else float(side)


def _sliding_hull(intervals: Int64[np.ndarray, "n 2"], size: int) -> Int64[np.ndarray, "m 2"]:
    count = len(intervals) - size + 1
    boxes = np.zeros((len(intervals), 1, 4), dtype=np.int64)
    boxes[:, 0, 0], boxes[:, 0, 2] = intervals[:, 0], intervals[:, 1]
    boxes[:, 0, 3] = lengths(intervals) > 0
    return _sliding_boxes(boxes, size, axis=0)[:count, 0, ::2]


def _sliding_boxes(
    boxes: Int64[np.ndarray, "h w 4"], size: int, *, axis: int
) -> Int64[np.ndarray, "h2 w2 4"]:
    """Hulls of ``size`` consecutive boxes, empty ones left out."""
    windows = np.lib.stride_tricks.sliding_window_view(boxes, size, axis=axis)
    seeing = ((windows[:, :, 2] > windows[:, :, 0]) & (windows[:, :, 3] > windows[:, :, 1]))[:, :, None]
    largest, smallest = np.iinfo(np.int64).max, np.iinfo(np.int64).min
    low = np.where(seeing, windows[:, :, :2], largest).min(axis=-1)
    high = np.where(seeing, windows[:, :, 2:], smallest).max(axis=-1)
    merged = np.concatenate([low, high], axis=-1)
    return np.where(seeing.any(axis=-1), merged, 0)
