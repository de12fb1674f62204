"""One convention for pixel centres: blobs, boxes and masks are found where points and edges are reported."""

from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st
from PIL import Image
from torchvision.transforms import v2

from pixpnet.data import (
    DATASETS,
    ClassificationImages,
    Geometry,
    annotate,
    evaluation_transform,
    first_transform,
    load_mask,
    training_transform,
)
from pixpnet.data.transforms import Enlarge, HorizontalFlip, RandomResizedCrop, Resize
from pixpnet.errors import DataError
from pixpnet.seeds import seeded
from pixpnet.types import Box, ImageRecord, Normalization

BILINEAR = v2.InterpolationMode.BILINEAR
STEPS = {
    "crop": v2.CenterCrop(99),
    "flip": HorizontalFlip(1.0),
    "rotation": v2.RandomRotation([-15.0, 15.0], interpolation=BILINEAR),
    "shear": v2.RandomAffine([0.0, 0.0], shear=[-10.0, 10.0], interpolation=BILINEAR),
    "perspective": v2.RandomPerspective(0.2, p=1.0, interpolation=BILINEAR),
    "crop and resize": RandomResizedCrop(90, scale=(0.5, 1.0)),
    "resize": Resize([110]),
    "squash": Resize([60, 100]),
    "shrink": Resize([50]),
    "enlarge": Enlarge(120),
    "padded crop": v2.RandomCrop((420, 410), padding=4, pad_if_needed=True),
}
sizes = {"width": st.integers(100, 500), "height": st.integers(100, 500), "seed": st.integers(0, 10**6)}


def blob(width, height, seed):
    """A bright round blob somewhere in the middle, its mask, and the record of its centre and its box."""
    rng = np.random.default_rng(seed)
    x, y = rng.uniform(0.45, 0.55, 2) * (width, height)
    radius = min(width, height) / 12
    down, across = np.indices((height, width)) + 0.5
    distance = np.hypot(across - x, down - y)
    pixels = np.zeros((height, width, 3), np.uint8)
    pixels[:, :, 0] = (255 * np.clip(1 - distance / radius, 0, 1)).round()
    mask = Image.fromarray(np.where(distance < radius, 255, 0).astype(np.uint8))
    record = ImageRecord(
        "1",
        path=Path("nowhere.png"),
        label=0,
        box=Box(x - radius, y - radius, x + radius, y + radius),
        part_points=np.array([[x, y]]),
        part_visible=np.array([True]),
    )
    return annotate(Image.fromarray(pixels), record, window=(0, 0, width, height), mask=mask)


def centroid(values):
    """Continuous (x, y) of what is bright."""
    down, across = np.indices(values.shape) + 0.5
    return np.array([(values * across).sum(), (values * down).sum()]) / values.sum()


def touches_edge(values):
    return max(values[0].max(), values[-1].max(), values[:, 0].max(), values[:, -1].max()) > 0


@pytest.mark.parametrize("step", STEPS)
@settings(max_examples=8, deadline=None)
@given(**sizes)
@example(width=500, height=375, seed=0)
@example(width=375, height=500, seed=1)
def test_blobs_boxes_and_masks_lie_where_they_are_reported(step, width, height, seed):
    with seeded(seed):
        item = STEPS[step](blob(width, height, seed))
    red, mask = np.asarray(item.image)[:, :, 0].astype(float), item.mask[0].numpy().astype(float)
    assume(mask.any() and not touches_edge(red) and not touches_edge(mask))
    point = item.points.as_subclass(torch.Tensor)[0].numpy()
    assert item.visible.tolist() == [True]
    # Perspective moves the centre of a disk; the smaller the disk, the less.
    reach = {"perspective": 0.02 * min(width, height) / 12}.get(step, 0.0)
    np.testing.assert_allclose(centroid(red), point, atol=0.12 + reach)
    np.testing.assert_allclose(centroid(mask), point, atol=0.42 + reach)
    left, top, right, bottom = item.box.as_subclass(torch.Tensor)[0].tolist()
    rows, columns = np.nonzero(mask.any(1))[0], np.nonzero(mask.any(0))[0]
    found = (columns[0], rows[0], columns[-1] + 1, rows[-1] + 1)
    reported = (left, top, right, bottom)
    if step in ("rotation", "shear", "perspective"):  # the box of a turned box is larger than the disk's
        assert all(np.subtract(found, reported)[:2] > -1.5)
        assert all(np.subtract(found, reported)[2:] < 1.5)
    else:
        np.testing.assert_allclose(found, reported, atol=1.5)


@pytest.mark.parametrize("augment", [False, True])
@pytest.mark.parametrize("name", ["CUB200224", "CUB200BBOX", "CIFAR10", "IMAGENET", "FOLDER"])
@settings(max_examples=4, deadline=None)
@given(**sizes)
@example(width=500, height=375, seed=0)
def test_masks_move_through_whole_pipelines(name, augment, width, height, seed):
    geometry = DATASETS[name].geometry(None)
    item = first_transform(geometry)(blob(width, height, seed))
    with seeded(seed):
        item = (training_transform if augment else evaluation_transform)(geometry)(item)
    mask, red = item.mask[0].numpy().astype(float), np.asarray(item.image)[:, :, 0].astype(float)
    assert mask.shape == red.shape == geometry.image_size
    assert set(np.unique(mask)) <= {0, 255}
    assume(mask.any() and not touches_edge(mask) and not touches_edge(red))
    np.testing.assert_allclose(centroid(mask), centroid(red), atol=0.02 * min(geometry.image_size) + 0.4)


def test_boxes_are_cut_at_the_crop():
    image = Image.new("RGB", (100, 60))
    record = ImageRecord("1", Path("nowhere.png"), 0, box=Box(10.0, 5.0, 90.0, 50.0))
    item = annotate(image, record, window=(0, 0, 100, 60))
    item = evaluation_transform(Geometry(crop=40))(item)
    assert item.box.tolist() == [[0, 0, 40, 40]]


@pytest.fixture
def masked(tmp_path):
    """An image of 30 x 20 and its mask: a palette image with a white background and dark parts."""
    image, mask = Image.new("RGB", (30, 20)), Image.new("P", (30, 20), 0)
    mask.putpalette([255, 255, 255, 0, 0, 0, 9, 9, 9])
    mask.paste(2, (10, 5, 20, 15))
    mask.putpixel((10, 5), 1)
    image.save(tmp_path / "image.png")
    mask.save(tmp_path / "mask.png")
    return ImageRecord(
        "1", tmp_path / "image.png", 0, box=Box(8.0, 3.0, 24.0, 19.0), mask=tmp_path / "mask.png"
    )


def test_masks_are_read_and_cropped_with_the_image(masked):
    whole = np.asarray(load_mask(masked, window=(0, 0, 30, 20)))
    assert whole.dtype == np.uint8
    assert (whole.sum() / 255, set(np.unique(whole))) == (100, {0, 255})
    assert (whole[5:15, 10:20] == 255).all()
    images = ClassificationImages(
        (masked,),
        geometry=Geometry(to_box=True, resize=(16, 16)),
        normalization=Normalization(mean=(0.0, 0.0, 0.0), std=(1.0, 1.0, 1.0)),
    )
    shown = images.annotated(0).mask[0].numpy()
    np.testing.assert_array_equal(shown, whole[3:19, 8:24])
    bare = ImageRecord("1", masked.path, 0)
    assert load_mask(bare, window=(0, 0, 30, 20)) is None


KINDS = {
    "1": lambda mask: mask.convert("1"),
    "L": lambda mask: mask.point(lambda value: value // 255 * 128),
    "RGB": lambda mask: Image.merge("RGB", (Image.new("L", mask.size), mask, Image.new("L", mask.size))),
    "RGBA": lambda mask: Image.merge("RGBA", (mask, mask, mask, Image.new("L", mask.size, 255))),
    "transparent": lambda mask: Image.merge("LA", (Image.new("L", mask.size, 255), mask)),
    "16 bits": lambda mask: Image.fromarray(np.asarray(mask).astype(np.uint16) << 8),
}


@pytest.mark.parametrize("kind", KINDS)
def test_masks_of_any_kind(masked, kind):
    values = np.zeros((20, 30), np.uint8)
    values[5:15, 10:20] = 255
    KINDS[kind](Image.fromarray(values)).save(masked.mask)
    np.testing.assert_array_equal(np.asarray(load_mask(masked, window=(0, 0, 30, 20))), values)


def test_masks_that_do_not_fit_are_named(masked):
    Image.new("L", (20, 20)).save(masked.mask)
    with pytest.raises(DataError, match=r"mask\.png is 20 x 20 pixels, its image .* is 30 x 20"):
        load_mask(masked, window=(0, 0, 30, 20))
    masked.mask.write_bytes(b"nothing")
    with pytest.raises(DataError, match=r"mask\.png is not a mask"):
        load_mask(masked, window=(0, 0, 30, 20))
    masked.mask.unlink()
    with pytest.raises(DataError, match=r"mask\.png is missing"):
        load_mask(masked, window=(0, 0, 30, 20))
