"""Random receptive fields for hypothesis: any grid, any intervals, boxes that are no rows × columns."""

from __future__ import annotations

import numpy as np
from hypothesis import strategies as st

from pixpnet.receptive_fields import ReceptiveField


@st.composite
def intervals(draw, count: int, size: int) -> tuple[np.ndarray, np.ndarray]:
    """Clipped and unclipped intervals; some see nothing, some see more than the image."""
    unclipped = np.zeros((count, 2), dtype=np.int64)
    for index in range(count):
        start = draw(st.integers(-size - 2, size + 1))
        unclipped[index] = start, start + draw(st.integers(1, 2 * size + 3))
    clipped = np.clip(unclipped, 0, size)
    clipped[clipped[:, 0] == clipped[:, 1]] = 0
    if draw(st.integers(0, 3)) == 0:
        clipped[draw(st.integers(0, count - 1))] = 0
    return clipped, unclipped


@st.composite
def boxes(draw, rows: np.ndarray, columns: np.ndarray) -> np.ndarray:
    """A box of each cell's own inside its row × column; a part of them empty."""
    cells = np.zeros((len(rows), len(columns), 4), dtype=np.int64)
    for i, (top, bottom) in enumerate(rows.tolist()):
        for j, (left, right) in enumerate(columns.tolist()):
            if top == bottom or left == right or draw(st.integers(0, 3)) == 0:
                continue
            first, last = draw(st.integers(top, bottom - 1)), draw(st.integers(left, right - 1))
            cells[i, j] = (
                last,
                first,
                draw(st.integers(last + 1, right)),
                draw(st.integers(first + 1, bottom)),
            )
    return cells


@st.composite
def receptive_fields(draw) -> ReceptiveField:
    """The field of a layer that no network need have."""
    size = draw(st.integers(1, 12)), draw(st.integers(1, 12))
    grid = draw(st.integers(1, 5)), draw(st.integers(1, 5))
    rows, unclipped_rows = draw(intervals(grid[0], size[0]))
    columns, unclipped_columns = draw(intervals(grid[1], size[1]))
    cells = draw(boxes(rows, columns)) if draw(st.booleans()) else None
    return ReceptiveField(size, rows, columns, unclipped_rows, unclipped_columns, cells)
