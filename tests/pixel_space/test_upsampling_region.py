"""The box that upsampling suggests for a cell, of the receptive field's area."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from random_fields import receptive_fields
from torch import nn

from pixpnet.pixel_space import upsampling_region
from pixpnet.receptive_fields import ReceptiveField, receptive_field
from pixpnet.types import Box


def one_box(size: tuple[int, int], grid: tuple[int, int], box: tuple[int, int, int, int]) -> ReceptiveField:
    """Every cell has this box."""
    cells = np.broadcast_to(np.array(box, dtype=np.int64), (*grid, 4)).copy()
    rows, columns = np.zeros((grid[0], 2), dtype=np.int64), np.zeros((grid[1], 2), dtype=np.int64)
    return ReceptiveField(size, rows, columns, rows, columns, cells)


def test_by_hand():
    field = one_box((40, 80), (4, 4), (0, 0, 20, 40))
    # A share is 10 × 20; four times its area is 20 × 40, about the same centre, moved into the image.
    assert upsampling_region(field, 1, 1) == Box(10, 5, 50, 25)
    assert upsampling_region(field, 0, 0) == Box(0, 0, 40, 20)
    assert upsampling_region(field, 3, 3) == Box(40, 20, 80, 40)
    assert upsampling_region(field, 0, 2) == Box(30, 0, 70, 20)


def test_a_field_smaller_than_the_share():
    field = one_box((40, 80), (4, 4), (0, 0, 5, 10))
    assert upsampling_region(field, 1, 2) == Box(45, 12.5, 55, 17.5)


def test_shares_that_do_not_have_the_shape_of_the_image():
    tall = one_box((60, 60), (1, 6), (0, 0, 30, 60))
    assert upsampling_region(tall, 0, 0) == Box(0, 0, 30, 60)
    assert upsampling_region(tall, 0, 3) == Box(20, 0, 50, 60)
    wide = one_box((60, 60), (6, 1), (0, 0, 30, 60))
    assert upsampling_region(wide, 3, 0) == Box(0, 20, 60, 50)


def test_the_whole_image():
    assert upsampling_region(one_box((30, 50), (3, 7), (0, 0, 50, 30)), 2, 4) == Box(0, 0, 50, 30)


def test_a_cell_that_sees_nothing():
    field = receptive_field(nn.Sequential(nn.ConvTranspose2d(3, 1, 1, stride=2)), (4, 4))
    assert upsampling_region(field, 1, 0) == Box(0, 0, 0, 0)
    assert upsampling_region(field, 0, 0).area == pytest.approx(1)


@given(field=receptive_fields(), place=st.tuples(st.integers(0, 4), st.integers(0, 4)))
def test_as_large_as_what_the_cell_sees_and_inside(field, place):
    row, column = place[0] % field.grid_size[0], place[1] % field.grid_size[1]
    region, seen = upsampling_region(field, row, column), field.box(row, column)
    height, width = field.image_size
    assert region.area == pytest.approx(seen.area)
    assert 0 <= region.left <= region.right <= width
    assert 0 <= region.top <= region.bottom <= height
    if seen.area:
        # The middle of its share is in it: it was moved no further than the border made it.
        assert region.contains(
            (column + 0.5) * width / field.grid_size[1], (row + 0.5) * height / field.grid_size[0]
        )
