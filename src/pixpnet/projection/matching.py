"""Minimum-cost one-to-one matching of prototypes with patches, each prototype with a ranked list of them."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float, Int
from scipy.optimize import linear_sum_assignment

_FIRST_DEPTH = 4


def minimum_cost_matching(
    starts: Int[np.ndarray, "r_plus_1"], units: Int[np.ndarray, "n"], costs: Float[np.ndarray, "n"]
) -> Int[np.ndarray, "r"] | None:
    """For each row one position in ``units``, no unit twice, of least total cost; None if there is none.

    Row i may take the positions starts[i] … starts[i + 1], which are sorted by cost. Only the heads of the
    lists are put into the cost matrix, and one stand-in per row that costs as much as the first entry left
    out. That relaxes the problem, so a solution without stand-ins solves it; where they are used, those lists
    are read further.
    """
    sizes = np.diff(starts)
    depths = np.minimum(sizes, _FIRST_DEPTH)
    while True:
        chosen = _solve_heads(starts, depths, units, costs)
        if chosen is None:
            return None
        is_stand_in = chosen < 0
        if not is_stand_in.any():
            return chosen
        depths = np.where(is_stand_in, np.minimum(sizes, 4 * depths), depths)


def _solve_heads(
    starts: Int[np.ndarray, "r_plus_1"],
    depths: Int[np.ndarray, "r"],
    units: Int[np.ndarray, "n"],
    costs: Float[np.ndarray, "n"],
) -> Int[np.ndarray, "r"] | None:
    """Positions chosen from the heads of the lists; -1 for a row's stand-in."""
    num_rows = len(depths)
    rows = np.repeat(np.arange(num_rows), depths)
    positions = np.arange(depths.sum()) - np.repeat(np.cumsum(depths) - depths, depths) + starts[rows]
    columns_of, columns = np.unique(units[positions], return_inverse=True)
    num_columns = len(columns_of)
    short = np.flatnonzero(depths < np.diff(starts))
    if num_columns + len(short) < num_rows:
        return None
    table = np.full((num_rows, num_columns + len(short)), np.inf)
    table[rows, columns] = costs[positions]
    table[short, num_columns + np.arange(len(short))] = costs[starts[short] + depths[short]]
    try:
        _, taken = linear_sum_assignment(table)
    except ValueError:  # no complete matching among the finite entries
        return None
    position_of = np.full(table.shape, -1, np.int64)
    position_of[rows, columns] = positions
    return position_of[np.arange(num_rows), taken]
