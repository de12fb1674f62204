"""Means with bootstrap intervals."""

from __future__ import annotations

import math

import metrics_oracles as oracle
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pixpnet.errors import DataError
from pixpnet.metrics import RESAMPLES, bootstrap_mean, estimate_per_prototype

NUMBERS = st.lists(st.floats(-100, 100), min_size=1, max_size=12)


def test_ten_thousand_resamples():
    assert RESAMPLES == 10_000


def test_of_coin_throws():
    values = np.array([0.0] * 20 + [1.0] * 80)
    got = bootstrap_mean(values, left_out=3)
    assert (got.value, got.count, got.left_out) == (pytest.approx(0.8), 100, 3)
    # Normal approximation: 1.96 · √(0.8 · 0.2 / 100) = 0.078.
    assert got.low == pytest.approx(0.8 - 0.078, abs=0.011)
    assert got.high == pytest.approx(0.8 + 0.078, abs=0.011)


def test_one_resample_at_a_time_gives_the_same_interval():
    values = np.random.default_rng(1).gamma(1.0, size=15)
    got = bootstrap_mean(values)
    low, high = oracle.bootstrap_interval(values, 3000, seed=2)
    assert got.low == pytest.approx(low, abs=0.03)
    assert got.high == pytest.approx(high, abs=0.06)


def test_many_values_are_resampled_as_few_are():
    """So many that not all resamples are drawn at once."""
    values = np.sort(np.random.default_rng(1).normal(size=30_000))
    got = bootstrap_mean(values, resamples=200)
    drawn = np.random.default_rng(0).integers(len(values), size=(200, len(values)))
    assert (got.low, got.high) == pytest.approx(np.quantile(values[drawn].mean(axis=1), [0.025, 0.975]))


def test_the_seed_counts():
    values = np.random.default_rng(1).normal(size=7)
    assert bootstrap_mean(values, resamples=100) == bootstrap_mean(values, resamples=100)
    assert bootstrap_mean(values, resamples=100) != bootstrap_mean(values, resamples=100, seed=1)


@settings(max_examples=30, deadline=None)
@given(values=NUMBERS, data=st.data())
def test_order_changes_nothing_and_the_mean_lies_between(values, data):
    shuffled = data.draw(st.permutations(values))
    got = bootstrap_mean(np.array(values), resamples=200)
    assert got == bootstrap_mean(np.array(shuffled), resamples=200)
    assert min(values) - 1e-9 <= got.low <= got.high <= max(values) + 1e-9
    assert all(math.isfinite(number) for number in got)


def test_one_value_and_equal_values():
    assert bootstrap_mean(np.array([3.0])) == (3, 3, 3, 1, 0)
    assert bootstrap_mean(np.full(9, 0.1), resamples=50)[:3] == pytest.approx((0.1, 0.1, 0.1))


@pytest.mark.parametrize("values", [[], [1.0, math.nan], [math.inf]])
def test_no_nan_comes_out(values):
    with pytest.raises(DataError, match="left out" if not values else "finite"):
        bootstrap_mean(np.array(values, dtype=np.float64), left_out=2)


def test_per_prototype():
    got = estimate_per_prototype(np.array([6.0, 0.0, 1.0]), np.array([3, 0, 1]), resamples=50)
    assert (got.value, got.count, got.left_out) == (1.5, 2, 1)
    with pytest.raises(DataError, match="all 2 candidates"):
        estimate_per_prototype(np.zeros(2), np.zeros(2, dtype=np.int64))
