"""The receptive field of a channel: a union of separable terms, kept as few as exactness allows.

A term is rows × columns: the cell (i, j) sees the box rows[i] × columns[j], and nothing if either is empty.
The hull of two terms is one term again only if they are empty at the same cells; otherwise both stay.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from pixpnet.receptive_fields.intervals import Axis, Taps, hull


@dataclass(frozen=True, eq=False)
class Term:
    """A receptive field that is an interval of rows times an interval of columns, for every cell."""

    rows: Axis
    columns: Axis


Field = tuple[Term, ...]
"""A union of terms; the empty tuple sees nothing (padding, constants)."""


def through(field: Field, rows: Taps | None, columns: Taps | None) -> Field:
    """What an operation with these taps (None: pointwise) sees through a field."""

    def move(term: Term) -> Term:
        return Term(
            term.rows if rows is None else term.rows.through(rows),
            term.columns if columns is None else term.columns.through(columns),
        )

    return change(field, move)


def change(field: Field, move: Callable[[Term], Term]) -> Field:
    """Apply to every term."""
    moved = tuple(move(term) for term in field)
    return moved if len(moved) == 1 else unite([moved])


def unite(fields: Iterable[Field]) -> Field:
    """The union, with as few terms as it takes."""
    terms = list({id(term): term for field in fields for term in field}.values())
    if len(terms) <= 1:
        return tuple(terms)
    alike: list[list[Term]] = []
    for term in terms:
        for group in alike:
            if _same_pace(group[0], term):
                group.append(term)
                break
        else:
            alike.append([term])
    return tuple(merged for group in alike for merged in _merge(group))


def _same_pace(a: Term, b: Term) -> bool:
    return a.rows.same_pace(b.rows) and a.columns.same_pace(b.columns)


def _merge(terms: list[Term]) -> list[Term]:
    """Hulls of those terms that are empty at the same cells."""
    if len(terms) == 1:
        return terms
    row_period = math.lcm(*(len(term.rows.pattern) for term in terms))
    column_period = math.lcm(*(len(term.columns.pattern) for term in terms))
    groups: dict[tuple, list[Term]] = {}
    for term in terms:
        even = Term(term.rows.with_period(row_period), term.columns.with_period(column_period))
        groups.setdefault((even.rows.support, even.columns.support), []).append(even)
    return [
        Term(hull([term.rows for term in group]), hull([term.columns for term in group]))
        for group in groups.values()
    ]
