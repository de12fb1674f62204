"""Regions, the parts in them, and centres."""

from __future__ import annotations

import metrics_oracles as oracle
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from pixpnet.errors import DataError
from pixpnet.metrics import (
    PROTOCOLS,
    argmax_centers,
    cell_centers,
    merge_parts,
    parts_in_boxes,
    square_regions,
)


def test_regions_are_clipped():
    centers = torch.tensor([[[50.0, 60.0], [10.0, 95.0]]])
    boxes = square_regions(centers, half_size=36, image_size=(100, 70))
    assert boxes.tolist() == [[[14, 24, 70, 96], [0, 59, 46, 100]]]


@pytest.mark.parametrize(
    ("point", "inside"),
    [
        ((14.0, 24.0), True),
        ((13.9, 24.0), False),
        ((69.9, 95.9), True),
        ((70.0, 50.0), False),
        ((50.0, 96.0), False),
    ],
)
def test_borders_are_half_open(point, inside):
    boxes = torch.tensor([[[14.0, 24.0, 70.0, 96.0]]])
    points = torch.tensor([[point]])
    assert parts_in_boxes(boxes, points, torch.tensor([[True]])).item() is inside
    assert not parts_in_boxes(boxes, points, torch.tensor([[False]])).any()


def test_hidden_points_may_be_nan():
    points = torch.full((1, 1, 2), torch.nan)
    assert not parts_in_boxes(torch.tensor([[[0.0, 0.0, 9.0, 9.0]]]), points, torch.tensor([[False]])).any()


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 1 << 30), half=st.integers(1, 20))
def test_against_the_oracle(seed, half):
    generator = torch.Generator().manual_seed(seed)
    centers = torch.randint(0, 40, (2, 3, 2), generator=generator).float()
    points = torch.randint(-5, 45, (2, 4, 2), generator=generator).float()
    visible = torch.rand(2, 4, generator=generator) < 0.7
    got = parts_in_boxes(square_regions(centers, half_size=half, image_size=(40, 30)), points, visible)
    want = oracle.met_parts(centers.tolist(), points.tolist(), visible.tolist(), half, (40, 30))
    assert [[set(row.nonzero()[:, 0].tolist()) for row in image] for image in got] == want


def test_merged_parts_are_met_if_any_is():
    parts = torch.tensor([[True, False, False], [False, False, True], [False, True, False]])
    assert merge_parts(parts, ((0, 2), (1,))).tolist() == [[True, False], [True, False], [False, True]]


def test_the_first_maximum():
    maps = torch.zeros(1, 3, 4, 5)
    maps[0, 1, 2, 3] = maps[0, 1, 3, 1] = 2
    maps[0, 2] = -torch.rand(4, 5) - 1
    maps[0, 2, 1, 4] = -0.5
    assert argmax_centers(maps).tolist() == [[[0.5, 0.5], [3.5, 2.5], [4.5, 1.5]]]
    maps[0, 0, 0, 0] = torch.nan
    with pytest.raises(DataError, match="NaN"):
        argmax_centers(maps)


def test_centers_of_cells():
    cells = torch.tensor([[[0, 3], [1, 0]]])
    centers = cell_centers(cells, grid_size=(2, 4), image_size=(100, 80))
    assert centers.tolist() == [[[70, 25], [10, 75]]]


def test_protocols():
    first, second = PROTOCOLS["eval-2023"], PROTOCOLS["pixpnet-2023"]
    assert (first.half_size, first.noise_sigma, first.threshold) == (36, 0.2, 0.8)
    assert (second.half_size, second.noise_sigma, second.threshold) == (36, 0.2, 0.8)
    assert (first.image, first.center, first.merge_sides) == ("box-224", "upsampled-argmax", False)
    assert (second.image, second.center, second.merge_sides) == ("test-transform", "mapping", True)
    assert (first.noise_clip, first.skip_hidden) == (0.25, False)
    assert (second.noise_clip, second.skip_hidden) == (None, True)
