import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import linear_sum_assignment

from pixpnet.projection import minimum_cost_matching


def ranked(lists):
    """Lists of (unit, cost) as the arrays that the function takes."""
    lists = [sorted(entries, key=lambda entry: (entry[1], entry[0])) for entries in lists]
    starts = np.cumsum([0, *map(len, lists)])
    entries = [entry for entries in lists for entry in entries]
    units = np.array([unit for unit, _ in entries], np.int64)
    costs = np.array([cost for _, cost in entries], np.float64)
    return starts, units, costs


def plain_cost(lists):
    totals = [
        sum(cost for _, cost in choice)
        for choice in itertools.product(*lists)
        if len({unit for unit, _ in choice}) == len(choice)
    ]
    return min(totals, default=None)


@settings(max_examples=300, deadline=None)
@given(
    st.lists(
        st.dictionaries(st.integers(0, 7), st.integers(0, 3), min_size=1, max_size=8), min_size=1, max_size=4
    )
)
def test_against_all_matchings(tables):
    lists = [list(table.items()) for table in tables]
    starts, units, costs = ranked(lists)
    chosen = minimum_cost_matching(starts, units, costs)
    best = plain_cost(lists)
    if best is None:
        assert chosen is None
        return
    assert chosen is not None
    assert ((chosen >= starts[:-1]) & (chosen < starts[1:])).all()
    assert len(set(units[chosen].tolist())) == len(lists)
    assert costs[chosen].sum() == best


@pytest.mark.parametrize("count", [5, 40])
def test_everyone_wants_the_same(count):
    """Contention that reaches the ends of the lists: all prototypes rank the same patches the same way."""
    lists = [[(unit, float(unit * (row + 1))) for unit in range(count)] for row in range(count)]
    starts, units, costs = ranked(lists)
    chosen = minimum_cost_matching(starts, units, costs)
    assert chosen is not None
    assert units[chosen].tolist() == list(range(count))[::-1]
    assert minimum_cost_matching(*ranked([entries[:-1] for entries in lists])) is None


@settings(max_examples=200, deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(5, 14), st.integers(0, 4))
def test_contention_beyond_the_heads_of_the_lists(seed, count, spare):
    """All want nearly the same; the same total as of the whole table at once."""
    generator = np.random.default_rng(seed)
    table = np.arange(count + spare) + generator.integers(0, 4, (count, count + spare)).astype(float)
    starts, units, costs = ranked([list(enumerate(row)) for row in table.tolist()])
    chosen = minimum_cost_matching(starts, units, costs)
    assert chosen is not None
    assert len(set(units[chosen].tolist())) == count
    assert costs[chosen].sum() == table[linear_sum_assignment(table)].sum()
