"""From ranked candidates to one patch per prototype, by minimum-cost matching."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Int
from scipy.optimize import linear_sum_assignment
from scipy.sparse import csr_array
from scipy.sparse.csgraph import connected_components
from torch import Tensor

from pixpnet.errors import DataError
from pixpnet.projection.best_lists import Candidates
from pixpnet.prototypes import describe_classes

_LOGGER = logging.getLogger("pixpnet")

_FIRST_DEPTH = 4
"""Candidates of each prototype that a matching looks at first."""

_INSTEAD = {"images": "distinct patches of the same images", "patches": "the same patches"}


@dataclass(frozen=True)
class Assignment:
    """The training patch of each prototype (on the CPU)."""

    image_index: Int[Tensor, "p"]
    cells: Int[Tensor, "p 2"]
    """(row, column) of the patch's top-left cell."""
    distances: Float[Tensor, "p"]
    """From the prototype, as it was, to its patch."""
    patches: Float[Tensor, "p d k k"]
    warnings: tuple[str, ...]
    """Where prototypes share what the filter says they should not."""


def competing_groups(own_class: Bool[np.ndarray, "p c"]) -> Int[np.ndarray, "p"]:
    """A number for each prototype, the same for those that shared classes link, if through others."""
    num_prototypes, num_classes = own_class.shape
    prototypes, classes = own_class.nonzero()
    size = num_prototypes + num_classes
    links = csr_array((np.ones(len(classes)), (prototypes, num_prototypes + classes)), shape=(size, size))
    return connected_components(links, directed=False)[1][:num_prototypes].astype(np.int64)


def choose_patches(
    patches: Candidates,
    images: Candidates | None,
    *,
    own_class: Bool[np.ndarray, "p c"],
    groups: Int[np.ndarray, "p"],
    distinct: bool,
    class_names: Sequence[str] | None,
) -> tuple[Candidates, tuple[str, ...]]:
    """One candidate per prototype, in order, of least total distance, and warnings.

    groups: as `competing_groups` says. distinct: no two prototypes of a group share an image (where
    ``images`` are given) or a patch. A group with too few images falls back to distinct patches, one with too
    few patches to each prototype's nearest, both with a warning.

    Raises:
        DataError: a prototype has no candidate at all.
    """
    tables = [patches] if images is None else [images, patches]
    _check_all_found(tables, own_class, class_names)
    if not distinct:
        return patches.take(_starts(patches, len(own_class))[:-1]), ()
    by_group = np.argsort(groups, kind="stable")
    parts: list[Candidates] = []
    starved: dict[str, list[int]] = {}
    for group in np.split(by_group, np.flatnonzero(np.diff(groups[by_group])) + 1):
        for table in tables:
            rows = _match_group(table, group, num_prototypes=len(own_class), by_image=table is images)
            if rows is not None:
                parts.append(table.take(rows))
                break
            lack = "images" if table is images else "patches"
            starved.setdefault(lack, []).extend(np.flatnonzero(own_class[group].any(axis=0)).tolist())
        else:
            parts.append(patches.take(_starts(patches, len(own_class))[group]))
    chosen = Candidates.joined(parts)
    warnings = tuple(
        f"projection: {describe_classes(sorted(starved[lack]), class_names)}: too few {lack} for one "
        f"prototype each; the prototypes get {instead}."
        for lack, instead in _INSTEAD.items()
        if lack in starved
    )
    for warning in warnings:
        _LOGGER.warning(warning)
    return chosen.take(np.argsort(chosen.prototype)), warnings


def _starts(table: Candidates, num_prototypes: int) -> Int[np.ndarray, "p_plus_1"]:
    return np.searchsorted(table.prototype, np.arange(num_prototypes + 1))


def _match_group(
    table: Candidates, group: Int[np.ndarray, "r"], *, num_prototypes: int, by_image: bool
) -> Int[np.ndarray, "r"] | None:
    """Rows of the table, one per prototype of the group, that share no image (by_image) or patch."""
    starts = _starts(table, num_prototypes)
    sizes = starts[group + 1] - starts[group]
    heads = np.concatenate([[0], sizes.cumsum()])
    rows = np.arange(heads[-1]) + np.repeat(starts[group] - heads[:-1], sizes)
    units = np.unique(table.image[rows], return_inverse=True)[1].reshape(-1)
    if not by_image:
        units = (units << 40) + table.cell[rows]
    matched = minimum_cost_matching(heads, units, table.distance[rows].astype(np.float64))
    return None if matched is None else rows[matched]


def _check_all_found(
    tables: Sequence[Candidates], own_class: Bool[np.ndarray, "p c"], class_names: Sequence[str] | None
) -> None:
    is_missing = np.ones(len(own_class), bool)
    for table in tables:
        is_missing[table.prototype] = False
    if is_missing.any():
        first = int(np.flatnonzero(is_missing)[0])
        classes = np.flatnonzero(own_class[is_missing].any(axis=0)).tolist()
        raise DataError(
            f"projection: no training image of {describe_classes(classes, class_names)} was seen, so "
            f"{int(is_missing.sum())} prototypes (the first is {first}) have no patch; every class with "
            "prototypes needs at least one training image."
        )


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
