"""A mark painted at a part's point is found at the point that the transform reports, for every data set."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st
from PIL import Image
from torchvision.transforms import v2
from torchvision.tv_tensors import BoundingBoxes, KeyPoints

from pixpnet.data import (
    DATASETS,
    Geometry,
    annotate,
    evaluation_transform,
    find_dataset,
    first_transform,
    to_normalized,
    training_transform,
)
from pixpnet.data.transforms import Enlarge, HorizontalFlip, object_window
from pixpnet.seeds import seeded
from pixpnet.types import Box, ImageRecord, Normalization

BILINEAR = v2.InterpolationMode.BILINEAR


def record_of(points, visible=None, box=None):
    points = np.array(points, dtype=float).reshape(-1, 2)
    shown = np.ones(len(points), bool) if visible is None else np.array(visible)
    return ImageRecord("1", Path("nowhere.png"), 0, box=box, part_points=points, part_visible=shown)


def marked(width, height, x, y, reach=(0, 0)):
    """A black image with a red rectangle whose middle pixel is (x, y), and the record of that part."""
    pixels = np.zeros((height, width, 3), np.uint8)
    pixels[y - reach[1] : y + reach[1] + 1, x - reach[0] : x + reach[0] + 1, 0] = 255
    return Image.fromarray(pixels), record_of([(x + 0.5, y + 0.5)])


def centroid(image):
    """Continuous (x, y) of the red in an image."""
    red = np.asarray(image)[:, :, 0].astype(float)
    y, x = np.indices(red.shape) + 0.5
    return np.array([(red * x).sum(), (red * y).sum()]) / red.sum()


def whole(image):
    return (0, 0, image.width, image.height)


def reported(item):
    return item.points.as_subclass(torch.Tensor)[0].numpy()


@pytest.mark.parametrize("augment", [False, True])
@pytest.mark.parametrize("name", DATASETS)
@settings(max_examples=5, deadline=None)
@given(
    width=st.integers(40, 500),
    height=st.integers(40, 500),
    across=st.floats(0.4, 0.6),
    down=st.floats(0.4, 0.6),
    seed=st.integers(0, 10**6),
)
@example(width=500, height=375, across=0.4, down=0.6, seed=0)
@example(width=375, height=500, across=0.6, down=0.4, seed=1)
def test_marks_move_with_the_image(name, augment, width, height, across, down, seed):
    geometry = DATASETS[name].geometry(None)
    reach = tuple(max(1, round(1.5 * side / min(geometry.image_size))) for side in (width, height))
    x, y = int(across * width), int(down * height)
    image, record = marked(width, height, x, y, reach)
    window = whole(image)
    if geometry.to_box:
        window = (width // 8, height // 8, width - width // 8, height - height // 8)
        image = image.crop(window)
    item = first_transform(geometry)(annotate(image, record, window=window))
    with seeded(seed):
        item = (training_transform if augment else evaluation_transform)(geometry)(item)
    point, (out_height, out_width) = reported(item), geometry.image_size
    assert item.image.size == (out_width, out_height)
    margin = 0.14 * min(geometry.image_size)
    assume(margin < point[0] < out_width - margin and margin < point[1] < out_height - margin)
    assert item.visible.tolist() == [True]
    np.testing.assert_allclose(centroid(item.image), point, atol=0.6)


STEPS = {
    "flip": HorizontalFlip(1.0),
    "rotation": v2.RandomRotation([-15.0, 15.0], interpolation=BILINEAR),
    "shear": v2.RandomAffine([0.0, 0.0], shear=[-10.0, 10.0], interpolation=BILINEAR),
    "perspective": v2.RandomPerspective(0.2, p=1.0, interpolation=BILINEAR),
    "crop and enlarge": v2.RandomResizedCrop(90, scale=(0.5, 1.0)),
    "padded crop": v2.RandomCrop((70, 96), padding=4),
    "enlarge": Enlarge(150),
}


@pytest.mark.parametrize("step", STEPS)
@settings(max_examples=10, deadline=None)
@given(x=st.integers(44, 52), y=st.integers(30, 40), seed=st.integers(0, 10**6))
def test_each_step_moves_points_as_it_moves_pixels(step, x, y, seed):
    image, record = marked(96, 70, x, y, (1, 1))
    with seeded(seed):
        item = STEPS[step](annotate(image, record, window=whole(image)))
    point = reported(item)
    assume(all(4 < value < size - 4 for value, size in zip(point, item.image.size, strict=True)))
    np.testing.assert_allclose(centroid(item.image), point, atol=0.2)


def test_a_flip_is_exact():
    image, record = marked(11, 6, 2, 3)
    item = HorizontalFlip(1.0)(annotate(image, record, window=whole(image)))
    np.testing.assert_array_equal(np.asarray(item.image), np.asarray(image)[:, ::-1])
    np.testing.assert_array_equal(reported(item), (8.5, 3.5))
    untouched = HorizontalFlip(0.0)(annotate(image, record, window=whole(image)))
    np.testing.assert_array_equal(reported(untouched), (2.5, 3.5))


def test_points_agree_with_markers_painted_for_the_original(golden):
    cases = json.loads((golden / "metrics" / "part_coords_true.json").read_text())
    assert len(cases) == 32
    for case in cases:
        geometry = DATASETS[case["dataset"]].geometry(None)
        image = Image.new("RGB", (case["w"], case["h"]))
        item = annotate(image, record_of([np.array(case["xy"]) + 0.5]), window=whole(image))
        item = evaluation_transform(geometry)(first_transform(geometry)(item))
        assert item.image.size == (case["out"], case["out"])
        np.testing.assert_allclose(reported(item) - 0.5, case["true_centroid"], atol=0.6)


def test_parts_outside_become_invisible():
    points = [(60.0, 20.0), (19.9, 20.0), (20.0, 20.0), (79.9, 20.0), (80.0, 20.0), (50.0, 20.0)]
    image = Image.new("RGB", (100, 60))
    record = record_of(points, visible=[True] * 5 + [False])
    geometry = Geometry(resize=60, crop=60)
    item = evaluation_transform(geometry)(
        first_transform(geometry)(annotate(image, record, window=whole(image)))
    )
    assert item.visible.tolist() == [True, False, True, True, False, False]


def test_the_box_moves_along():
    image = Image.new("RGB", (100, 50))
    record = record_of([(50, 25)], box=Box(30.0, 10.0, 70.0, 40.0))
    window = object_window(record, image.size)
    assert window == (30, 10, 70, 40)
    item = first_transform(Geometry(resize=60))(annotate(image.crop(window), record, window=window))
    assert item.image.size == (80, 60)
    assert item.box.tolist() == [[0, 0, 80, 60]]
    np.testing.assert_allclose(reported(item), (40, 30))


def test_a_box_beyond_the_image_is_cut():
    image = Image.new("RGB", (100, 50))
    record = record_of([(50, 25)], box=Box(-3.0, 10.4, 300.0, 49.6))
    assert object_window(record, image.size) == (0, 10, 100, 50)


def test_without_annotation_there_is_none():
    image = Image.new("RGB", (20, 20))
    item = annotate(image, ImageRecord("1", Path("nowhere.png"), 0), window=whole(image))
    assert (item.box, item.points, item.visible) == (None, None, None)


@pytest.mark.parametrize(
    ("size", "wanted"), [((500, 300), (500, 300)), ((300, 100), (672, 224)), ((100, 400), (224, 896))]
)
def test_only_what_is_too_small_is_enlarged(size, wanted):
    assert first_transform(DATASETS["IMAGENET"].geometry(None))(Image.new("RGB", size)).size == wanted


def test_normalised_values():
    image = Image.new("RGB", (2, 3), (255, 51, 0))
    tensor = to_normalized(image, Normalization(mean=(0.5, 0.1, 0.25), std=(0.5, 0.1, 0.25)))
    assert tensor.shape == (3, 3, 2)
    np.testing.assert_allclose(tensor[:, 0, 0], (1, 1, -1), atol=1e-6)


def test_augmentation_has_the_described_distribution():
    """Four corners of a square tell which of the geometric steps were taken, and how far."""
    geometry = Geometry(resize=(64, 64))
    transform = training_transform(geometry)
    rng = np.random.default_rng(0)
    image = Image.fromarray(rng.integers(0, 256, (64, 64, 3), np.uint8))
    pixels = np.asarray(image).astype(int)
    corners = record_of([(24, 24), (40, 24), (40, 40), (24, 40)])
    count, taken = 600, {"perspective": 0, "rotation": 0, "shear": 0, "flip": 0, "pixels": 0, "still": 0}
    for seed in range(count):
        with seeded(seed):
            item = transform(annotate(image, corners, window=whole(image)))
        a, b, c, d = item.points.as_subclass(torch.Tensor).double().numpy()
        flip = (b - a)[0] < 0
        taken["flip"] += flip
        if np.abs(a + c - b - d).max() > 1e-3:
            taken["perspective"] += 1
            continue
        x_axis, y_axis = (b - a) / 16, (d - a) / 16
        if flip:
            x_axis, y_axis = x_axis * (-1, 1), y_axis * (-1, 1)
        # Rotation first, then shear along x: the y axis becomes (−sin + k·cos, cos).
        angle = np.arctan2(x_axis[1], y_axis[1])
        slant = np.degrees(np.arctan((y_axis[0] + np.sin(angle)) / np.cos(angle)))
        angle = np.degrees(angle)
        assert abs(angle) <= 15.01
        assert abs(slant) <= 10.01
        taken["rotation"] += abs(angle) > 1e-3
        taken["shear"] += abs(slant) > 1e-2
        if max(abs(angle), abs(slant)) <= 1e-2:
            taken["still"] += 1
            shown = np.asarray(item.image).astype(int)
            taken["pixels"] += bool((shown != (pixels[:, ::-1] if flip else pixels)).any())
    affine = count - taken["perspective"]
    assert taken["perspective"] / count == pytest.approx(1 / 3, abs=0.08)
    assert taken["rotation"] / affine == pytest.approx(1 / 3, abs=0.1)
    assert taken["shear"] / affine == pytest.approx(1 / 3, abs=0.1)
    assert taken["flip"] / count == pytest.approx(1 / 2, abs=0.08)
    assert taken["pixels"] / taken["still"] == pytest.approx(1 - 0.9**2, abs=0.1)


@pytest.mark.parametrize(
    ("name", "low", "mean"), [("CUB200", 0.08, 0.52), ("SYNTHBIRDS", 0.7, 0.83), ("FOLDER", 0.7, 0.83)]
)
def test_random_crops_take_the_described_share(name, low, mean):
    """Corners of the output, traced back, give the area: from 8 or 70 to 100 % of the image."""
    geometry = find_dataset(name).geometry(None)
    crop = training_transform(geometry).transforms[-2]
    assert isinstance(crop, v2.RandomResizedCrop)
    side = geometry.crop
    points = KeyPoints(torch.tensor([[0.0, 0.0], [64.0, 0.0], [0.0, 64.0]]), canvas_size=(64, 64))
    shares, ratios = [], []
    for seed in range(300):
        with seeded(seed):
            a, b, c = crop(points).as_subclass(torch.Tensor)
        width, height = side / (b - a)[0] * 64, side / (c - a)[1] * 64
        shares.append(float(width * height) / 64**2)
        ratios.append(float(width / height))
    assert low - 0.02 < min(shares) < low + 0.05
    assert 0.9 < max(shares) <= 1.0
    assert np.mean(shares) == pytest.approx(mean, abs=0.05)
    assert 0.7 < min(ratios) < 0.8
    assert 1.25 < max(ratios) < 1.4


def test_boxes_are_flipped_continuously():
    box = BoundingBoxes(torch.tensor([[1.0, 2.0, 4.0, 5.0]]), format="XYXY", canvas_size=(8, 10))
    assert HorizontalFlip(1.0)(box).tolist() == [[6, 2, 9, 5]]
