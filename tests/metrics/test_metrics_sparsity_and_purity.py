"""Purity, sparsity and unique sources."""

from __future__ import annotations

import metrics_oracles as oracle
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from pixpnet.errors import DataError
from pixpnet.metrics import (
    deciding_prototypes,
    most_similar_images,
    prototype_purity,
    purity,
    sparsity,
    unique_sources,
)


def test_most_similar_images():
    similarities = torch.tensor([[1.0, 5.0], [3.0, 5.0], [2.0, 7.0], [3.0, 0.0]])
    assert most_similar_images(similarities, count=3).tolist() == [[1, 2], [3, 0], [2, 1]]
    assert most_similar_images(similarities).shape == (4, 2)


def test_purity_by_hand():
    met = torch.zeros(10, 5, 3, dtype=torch.bool)
    visible = torch.ones_like(met)
    met[:8, 0, 1] = met[5:, 0, 2] = True  # 0.8 and 0.5
    visible[8:, 0, 1] = False  # hidden is missed: still 0.8
    met[:5, 1, 0] = True  # 0.5 is not above 0.5
    visible[:, 2] = False  # never meets a visible part
    met[:, 3] = True  # has no weight
    values, defined = prototype_purity(met, visible)
    assert values.tolist() == [0.8, 0.5, 0, 1, 0]
    assert defined.tolist() == [True, True, False, True, True]
    weights = torch.tensor([1.0, 2e-5, 1.0, 1e-5, 1.0])
    got = purity(met, visible, largest_weight=weights, resamples=20)
    assert got.mean.value == pytest.approx((0.8 + 0.5 + 0) / 3)
    assert got.standard_deviation == pytest.approx(
        (sum((v - 1.3 / 3) ** 2 for v in (0.8, 0.5, 0)) / 3) ** 0.5
    )
    assert got.above_half.value == pytest.approx(1 / 3)
    assert got.mean[3:] == got.above_half[3:] == (3, 1)


def test_purity_that_cannot_be():
    nothing = torch.zeros(4, 2, 3, dtype=torch.bool)
    with pytest.raises(DataError, match="weight"):
        purity(nothing, ~nothing, largest_weight=torch.zeros(2))
    with pytest.raises(DataError, match="all 2 candidates"):
        purity(nothing, nothing, largest_weight=torch.ones(2))


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 1 << 30))
def test_the_order_of_images_changes_no_purity(seed):
    generator = torch.Generator().manual_seed(seed)
    similarities = torch.randperm(13 * 4, generator=generator).reshape(13, 4).float()
    met = torch.rand(13, 4, 3, generator=generator) < 0.5
    visible = met | (torch.rand(13, 4, 3, generator=generator) < 0.5)
    visible[:, 0] = True
    order = torch.randperm(13, generator=generator)

    def of(similarities, met, visible):
        best = most_similar_images(similarities)[..., None].expand(-1, -1, 3)
        chosen = met.gather(0, best), visible.gather(0, best)
        return purity(*chosen, largest_weight=torch.ones(4), resamples=20)

    assert of(similarities, met, visible) == of(similarities[order], met[order], visible[order])


@settings(max_examples=40, deadline=None)
@given(rows=st.lists(st.lists(st.integers(-9, 20), min_size=4, max_size=4), min_size=1, max_size=5))
def test_deciding_prototypes(rows):
    numbers, defined = deciding_prototypes(torch.tensor(rows).float())
    want = [oracle.deciding(row, 0.95) for row in rows]
    assert [number or None for number in numbers.tolist()] == want
    assert defined.tolist() == [number is not None for number in want]


def test_sparsity_by_hand():
    # 95 % of 20 is 19: two do; 17 + 2 of 20 is exactly enough; -1 is no logit to explain.
    numbers, defined = deciding_prototypes(torch.tensor([[1.0, 10.0, 9.0], [1.0, 2.0, 17.0], [-1, 0, 0]]))
    assert numbers.tolist() == [2, 2, 0]
    got = sparsity(numbers, defined, resamples=20)
    assert got == (2, 2, 2, 2, 1)
    with pytest.raises(DataError, match="positive in none of 1 images"):
        sparsity(numbers[2:], defined[2:])


def test_unique_sources():
    cells = [(0, 0), (0, 1), (0, 0), (0, 0)]
    assert unique_sources(["a", "a", "b", "a"], cells) == (2, 3)
