"""A box of the network's input, back in the photograph: nothing outside of it reaches the input's box."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from pixpnet.data import (
    DATASETS,
    Geometry,
    box_in_picture,
    evaluation_transform,
    first_transform,
    map_in_picture,
)
from pixpnet.types import Box

GEOMETRIES = (
    *dict.fromkeys(spec.geometry(None) for spec in DATASETS.values()),
    Geometry(resize=40, crop=40),
    Geometry(resize=51, crop=38, final=22),
    Geometry(resize=30, crop=30, final=64),
    Geometry(resize=(33, 70)),
    Geometry(crop=48),
)


def seen(picture: Image.Image, geometry: Geometry) -> np.ndarray:
    """What the network sees of a picture."""
    return np.asarray(evaluation_transform(geometry)(first_transform(geometry)(picture))).astype(int)


def noise(width: int, height: int, seed: int) -> Image.Image:
    pixels = np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8)
    return Image.fromarray(pixels)


def blackened(picture: Image.Image, box: Box) -> Image.Image:
    """The picture, black but for the box."""
    pixels = np.zeros_like(np.asarray(picture))
    rows, columns = slice(int(box.top), int(box.bottom)), slice(int(box.left), int(box.right))
    pixels[rows, columns] = np.asarray(picture)[rows, columns]
    return Image.fromarray(pixels)


shares = st.tuples(st.floats(0, 1), st.floats(0, 1)).map(sorted)


@settings(max_examples=150, deadline=None)
@given(
    geometry=st.sampled_from(GEOMETRIES),
    width=st.integers(9, 420),
    height=st.integers(9, 420),
    across=shares,
    down=shares,
    seed=st.integers(0, 9),
)
def test_what_is_outside_changes_nothing_inside(geometry, width, height, across, down, seed):
    picture = noise(width, height, seed)
    rows, columns = geometry.image_size
    box = Box(across[0] * columns, down[0] * rows, across[1] * columns, down[1] * rows)
    found = box_in_picture(box, (0, 0, width, height), geometry)
    assert 0 <= found.left <= found.right <= width
    assert 0 <= found.top <= found.bottom <= height
    inside = (
        slice(int(box.top), int(np.ceil(box.bottom))),
        slice(int(box.left), int(np.ceil(box.right))),
    )
    before, after = (seen(one, geometry)[inside] for one in (picture, blackened(picture, found)))
    np.testing.assert_array_equal(after, before)


@settings(max_examples=60, deadline=None)
@given(
    geometry=st.sampled_from(GEOMETRIES),
    size=st.tuples(st.integers(60, 300), st.integers(60, 300)),
    place=st.tuples(st.floats(0.2, 0.7), st.floats(0.2, 0.7)),
)
def test_it_is_larger_by_the_resize_alone(geometry, size, place):
    """Two pixels further in, on any side, something inside changes: white stripes there are seen."""
    rows, columns = geometry.image_size
    left, top = int(place[0] * columns), int(place[1] * rows)
    box = Box(left, top, left + max(1, columns // 8), top + max(1, rows // 8))
    found = box_in_picture(box, (0, 0, *size), geometry)
    inside = slice(int(box.top), int(box.bottom)), slice(int(box.left), int(box.right))
    resizes = 2 if geometry.final else 1
    for side in range(4):
        inner = 2 * resizes + int(2 * max(size) / min(rows, columns))
        pixels = np.zeros((size[1], size[0], 3), np.uint8)
        edges = [int(edge) for edge in found]
        if side < 2:
            edges[side + 2] = edges[side] + inner
        else:
            edges[side - 2] = edges[side] - inner
        pixels[max(0, edges[1]) : edges[3], max(0, edges[0]) : edges[2]] = 255
        assert seen(Image.fromarray(pixels), geometry)[inside].max() > 0, side


def test_a_picture_of_the_inputs_size_has_the_same_boxes():
    geometry = Geometry(resize=64, crop=64)
    assert box_in_picture(Box(3, 4, 20, 31), (0, 0, 64, 64), geometry) == (3, 4, 20, 31)
    assert box_in_picture(Box(3.2, 4.9, 19.1, 30.5), (0, 0, 64, 64), geometry) == (3, 4, 20, 31)
    assert box_in_picture(Box(-9, -9, 99, 99), (0, 0, 64, 64), geometry) == (0, 0, 64, 64)


@pytest.mark.parametrize("box", [Box(0, 0, 0, 0), Box(5, 5, 5, 9), Box(70, 0, 80, 9)])
def test_no_pixels_give_the_empty_box(box):
    assert box_in_picture(box, (0, 0, 200, 100), Geometry(resize=64, crop=64)) == (0, 0, 0, 0)


def test_a_crop_to_the_object_moves_the_box():
    geometry = Geometry(to_box=True, resize=(40, 40))
    picture, window = noise(200, 150, 0), (31, 17, 171, 117)
    box = Box(8, 12, 20, 30)
    found = box_in_picture(box, window, geometry)
    moved = box_in_picture(box, (0, 0, 140, 100), geometry)
    assert found == (moved.left + 31, moved.top + 17, moved.right + 31, moved.bottom + 17)
    before, after = (seen(one.crop(window), geometry) for one in (picture, blackened(picture, found)))
    np.testing.assert_array_equal(after[12:30, 8:20], before[12:30, 8:20])


@settings(max_examples=40, deadline=None)
@given(geometry=st.sampled_from(GEOMETRIES), size=st.tuples(st.integers(60, 300), st.integers(60, 300)))
def test_a_map_lies_on_what_it_is_of(geometry, size):
    """What rises evenly over the picture is the same as a map of what was seen of it, and least elsewhere."""
    x, y = np.meshgrid(np.arange(size[0]), np.arange(size[1]))
    for values in (200 * x / size[0] + 20, 200 * y / size[1] + 20):
        picture = Image.fromarray(np.repeat(values.round().astype(np.uint8)[..., None], 3, axis=2))
        map_ = seen(picture, geometry)[..., 0].astype(np.float32)
        found = map_in_picture(map_, size, (0, 0, *size), geometry)
        rows, columns = geometry.image_size
        left, top, right, bottom = map(int, box_in_picture(Box(0, 0, columns, rows), (0, 0, *size), geometry))
        edge = 4 + 2 * max(size) // min(rows, columns)
        inside = (slice(top + edge, bottom - edge), slice(left + edge, right - edge))
        np.testing.assert_allclose(found[inside], values[inside], atol=4 + 400 / min(rows, columns))
        assert (found[: max(0, top - 1)] == map_.min()).all()
        assert (found[:, right + 1 :] == map_.min()).all()


def test_a_map_of_an_object_lies_in_its_window():
    geometry, map_ = Geometry(to_box=True, resize=(40, 40)), np.ones((40, 40), np.float32)
    map_[0, 0] = 0
    found = map_in_picture(map_, (200, 150), (31, 17, 171, 117), geometry)
    assert found.shape == (150, 200)
    assert (found[20:117, 36:171] == 1).all()
    assert found.sum() == found[17:117, 31:171].sum()
