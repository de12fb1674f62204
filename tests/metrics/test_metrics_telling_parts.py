"""Whether prototypes lie on what tells classes apart: the parts, the lift and the boxes."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from pixpnet.errors import DataError
from pixpnet.metrics import boxes_that_hold_a_part, energy_share, lift, telling_parts


def plainly(variants):
    classes, parts = range(len(variants)), range(len(variants[0]))
    told = []
    for one in classes:
        differing = {
            other: [part for part in parts if variants[one][part] != variants[other][part]]
            for other in classes
            if other != one
        }
        fewest = min((len(found) for found in differing.values()), default=0)
        nearest = [found for found in differing.values() if len(found) == fewest]
        told.append([any(part in found for found in nearest) for part in parts])
    return told


@pytest.mark.parametrize("seed", range(20))
def test_telling_parts_as_stated(seed):
    rng = np.random.default_rng(seed)
    variants = rng.integers(0, 3, (1 + seed, 4))
    assert telling_parts(variants).tolist() == plainly(variants.tolist())


def test_telling_parts_of_a_genus():
    # Two parts vary: as SynthBirds makes its genera. The first differs from the second in one, from the third
    # in the other; the last class is of another genus.
    variants = np.array([[0, 0, 7, 7], [1, 0, 7, 7], [0, 1, 7, 7], [5, 5, 5, 5]])
    told = telling_parts(variants).astype(int).tolist()
    assert told[:3] == [[1, 1, 0, 0], [1, 0, 0, 0], [0, 1, 0, 0]]
    assert told[3] == [1, 1, 1, 1]


def test_twins_and_an_only_class_have_none():
    assert not telling_parts(np.array([[1, 2], [1, 2], [1, 3]]))[:2].any()
    assert not telling_parts(np.array([[1, 2]])).any()


def pairs(shares, areas, prototypes):
    return lift(
        torch.tensor(shares).double(),
        torch.tensor(areas).double(),
        prototypes=torch.tensor(prototypes),
        num_prototypes=4,
        resamples=100,
    )


def test_lift_by_hand():
    got = pairs([0.5, 0.1, 0.2], [0.1, 0.2, 0.2], [0, 0, 2])
    assert got.value == pytest.approx((0.6 / 0.3 + 1) / 2)
    assert (got.count, got.left_out) == (2, 2)
    nothing = torch.zeros(0)
    with pytest.raises(DataError, match="all 4 candidates"):
        lift(nothing.double(), nothing.double(), prototypes=nothing.long(), num_prototypes=4)


def test_the_lift_of_a_blind_map_is_one():
    generator = torch.Generator().manual_seed(0)
    inside = torch.rand(200, 24, 24, generator=generator) < torch.rand(200, 1, 1, generator=generator)
    areas = inside.double().mean(dim=(1, 2))
    prototypes = torch.arange(200) % 4
    for maps, tolerance in ((torch.ones(200, 24, 24), 1e-12), (torch.rand(200, 24, 24), 0.01)):
        shares, _ = energy_share(maps, inside)
        got = lift(shares, areas, prototypes=prototypes, num_prototypes=4, resamples=100)
        assert got.value == pytest.approx(1, abs=tolerance)


def test_boxes_that_hold_a_part_by_hand():
    parts = torch.zeros(3, 6, 8, dtype=torch.bool)
    parts[0, 1:3, 2:4] = True
    parts[1, 5, 7] = True
    boxes = {
        (2, 1, 3, 3): True,  # half of the first part
        (2, 1, 3, 2): False,  # a quarter
        (0, 0, 3, 3): True,
        (3.4, 0, 4, 3): True,  # the centres of its second column
        (3.6, 0, 4, 3): False,
        (7, 5, 8, 6): True,  # all of the second
        (5, 4, 30, 30): True,
        (5, 4, 7.5, 6): False,  # half-open
        (0, 0, 0, 0): False,
        (4, 3, 4, 3): False,
    }
    held = boxes_that_hold_a_part(torch.tensor(list(boxes)).double(), parts)
    assert held.tolist() == list(boxes.values())


def test_boxes_against_loops():
    generator = torch.Generator().manual_seed(3)
    parts = torch.rand(2, 9, 7, generator=generator) < 0.2
    corners = 10 * torch.rand(100, 2, 2, generator=generator, dtype=torch.float64).sort(dim=1).values
    boxes = corners.flatten(1)
    want = []
    for left, top, right, bottom in boxes.tolist():
        found = False
        for part in parts:
            places = [(row + 0.5, column + 0.5) for row, column in part.nonzero().tolist()]
            inside = sum(left <= x < right and top <= y < bottom for y, x in places)
            found |= inside >= 0.3 * len(places)
        want.append(found)
    assert 0 < sum(want) < 100
    assert boxes_that_hold_a_part(boxes, parts, share=0.3).tolist() == want
