"""Augmentation in batches does what augmentation of single images does: image by image, and on average."""

import math
from functools import partial

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageFilter
from torchvision.transforms import v2

from pixpnet.config import DatasetConfig
from pixpnet.data import transforms
from pixpnet.data.augment import Augmentation, augment, draw_augmentation
from pixpnet.data.datasets import DATASETS
from pixpnet.data.images import Draw
from pixpnet.data.loading import loader
from pixpnet.data.spec import Geometry
from pixpnet.data.splits import open_splits
from pixpnet.data.transforms import HorizontalFlip, RandomResizedCrop, first_transform, training_transform
from pixpnet.seeds import seeded

BILINEAR = v2.InterpolationMode.BILINEAR
to_tensor = v2.functional.pil_to_tensor


def picture(width, height, seed=0):
    """Blobs of colour with sharp edges."""
    rng = np.random.default_rng(seed)
    coarse = rng.integers(0, 256, (max(2, height // 6), max(2, width // 6), 3), np.uint8)
    return Image.fromarray(coarse).resize((width, height)).filter(ImageFilter.UnsharpMask(3))


def in_batch(images, transform, geometry, seeds):
    """The images augmented in one batch, each with its own seed."""
    width, height = (max(sides) for sides in zip(*(image.size for image in images), strict=True))
    batch = torch.zeros(len(images), 3, height, width, dtype=torch.uint8)
    drawn = []
    for place, image, seed in zip(batch, images, seeds, strict=True):
        place[:, : image.height, : image.width] = to_tensor(image)
        with seeded(seed):
            drawn.append(draw_augmentation(transform, size=image.size))
    sizes = torch.tensor([image.size for image in images])
    stacked = Augmentation(*map(torch.stack, zip(*drawn, strict=True)))
    return augment(batch, stacked, sizes=sizes, geometry=geometry)


def one_by_one(images, transform, seeds):
    made = []
    for image, seed in zip(images, seeds, strict=True):
        with seeded(seed):
            made.append(to_tensor(transform(image)).float())
    return torch.stack(made)


STEPS = {
    "nothing": v2.Identity(),
    "blur": v2.RandomApply([v2.GaussianBlur(5, sigma=(0.1, 5.0))], p=1.0),
    "sharpness": v2.RandomAdjustSharpness(1.5, p=1.0),
    "rotation": v2.RandomRotation([-15.0, 15.0], interpolation=BILINEAR),
    "perspective": v2.RandomPerspective(0.2, p=1.0, interpolation=BILINEAR),
    "shear": v2.RandomAffine([0.0, 0.0], shear=[-10.0, 10.0], interpolation=BILINEAR),
    "flip": HorizontalFlip(1.0),
    "crop": RandomResizedCrop(40, scale=(0.08, 1.0)),
    "half of the images": v2.RandomApply([v2.RandomRotation([-15.0, 15.0], interpolation=BILINEAR)], p=0.5),
}


@pytest.mark.parametrize("step", STEPS)
@settings(max_examples=8, deadline=None)
@given(
    sizes=st.lists(st.tuples(st.integers(30, 90), st.integers(30, 90)), min_size=1, max_size=4),
    seed=st.integers(0, 10**6),
)
def test_each_step_is_that_of_single_images(step, sizes, seed):
    """To one of 255 steps, but for pixels at the very edge, where rounding decides what is outside."""
    images = [picture(*size, seed + number) for number, size in enumerate(sizes)]
    transform = v2.Compose([STEPS[step]])
    seeds = range(seed, seed + len(images))
    geometry = Geometry(resize=40, crop=40)
    if step != "crop":
        transform = v2.Compose([STEPS[step], transforms.Resize([40, 40])])
    difference = in_batch(images, transform, geometry, seeds) - one_by_one(images, transform, seeds)
    assert difference.abs().mean() < 0.8
    assert (difference.abs() > 1.5).float().mean() < 0.01


@pytest.mark.parametrize("name", DATASETS)
def test_whole_augmentations_are_those_of_single_images(name):
    geometry = DATASETS[name].geometry(None)
    first, transform = first_transform(geometry), training_transform(geometry)
    images = [first(picture(*size)) for size in ((100, 75), (75, 100), (60, 60), (64, 50))]
    difference = in_batch(images, transform, geometry, range(4)) - one_by_one(images, transform, range(4))
    assert difference.shape[2:] == geometry.image_size
    assert difference.abs().mean() < 0.5
    assert (difference.abs() > 2.5).float().mean() < 0.002


def test_both_ways_have_the_same_moments_and_bounds():
    """200 augmentations of one bright image: mean, spread, black share, detail, and values from 0 to 255."""
    geometry = Geometry(resize=32, crop=32, crop_scale=(0.5, 1.0))
    transform = training_transform(geometry)
    image = Image.eval(picture(40, 32), lambda value: 55 + value * 200 // 255)
    images, seeds = [image] * 200, range(200)
    one, other = in_batch(images, transform, geometry, seeds), one_by_one(images, transform, range(200, 400))
    for batch in (one, other):
        assert batch.min() == 0
        assert batch.max() <= 255
        assert torch.equal(batch, batch.round())
    measures = {
        "mean": lambda batch: batch.mean((1, 2, 3)),
        "spread": lambda batch: batch.std((1, 2, 3)),
        "black": lambda batch: (batch.sum(1) == 0).float().mean((1, 2)),
        "detail": lambda batch: batch.diff(dim=3).abs().mean((1, 2, 3)),
        "left to right": lambda batch: batch[..., 16:].mean((1, 2, 3)) - batch[..., :16].mean((1, 2, 3)),
    }
    for name, measure in measures.items():
        first, second = measure(one), measure(other)
        error = math.sqrt((first.var() + second.var()) / 200)
        assert abs(first.mean() - second.mean()) < 4 * error, name
        assert first.std() == pytest.approx(float(second.std()), rel=0.35), name


def test_draws_have_the_described_distribution():
    geometry = Geometry(resize=64, crop=64, crop_scale=(0.25, 1.0))
    transform = training_transform(geometry)
    drawn = []
    for seed in range(1200):
        with seeded(seed):
            drawn.append(draw_augmentation(transform, size=(80, 64)))
    sigma, is_sharpened, warps, is_mirrored, crop = (torch.stack(part) for part in zip(*drawn, strict=True))
    taken = (warps != torch.eye(3)).flatten(2).any(2).float().mean(0)
    np.testing.assert_allclose(taken, 1 / 3, atol=0.06)
    assert (sigma > 0).float().mean() == pytest.approx(0.1, abs=0.04)
    assert 0.1 <= sigma[sigma > 0].min() < 0.6
    assert 4.4 < sigma.max() <= 5.0
    assert is_sharpened.float().mean() == pytest.approx(0.1, abs=0.04)
    assert is_mirrored.float().mean() == pytest.approx(0.5, abs=0.06)
    angles = torch.rad2deg(torch.asin(warps[:, 0, 1, 0]))
    assert 14 < angles.max() <= 15
    assert -15 <= angles.min() < -14
    slants = torch.rad2deg(torch.atan(warps[:, 2, 0, 1]))
    assert 9 < slants.max() <= 10
    assert -10 <= slants.min() < -9
    share = crop[:, 2] * crop[:, 3] / (80 * 64)
    assert 0.24 < share.min() < 0.28
    assert 0.97 < share.max() <= 1
    assert (crop[:, :2] >= 0).all()
    assert (crop[:, :2] + crop[:, 2:] <= torch.tensor([80, 64])).all()


def test_padded_crops_are_black_outside():
    geometry = Geometry(resize=(32, 32), padding=4)
    transform = v2.Compose([v2.RandomCrop((32, 32), padding=4)])
    images = [Image.new("RGB", (32, 32), "white")] * 20
    made = in_batch(images, transform, geometry, range(20))
    assert torch.equal(made, one_by_one(images, transform, range(20)))
    assert 0 < (made == 0).float().mean() < 0.3


@pytest.fixture
def splits(cub_folder):
    root = cub_folder(size=(44, 30))
    config = partial(
        DatasetConfig, name="cub-layout", root=str(root), size=16, val_size=0.0, augment_factor=2
    )
    return {place: open_splits(config(augment_on=place), seed=3) for place in ("cpu", "gpu")}


def batches_of(splits, **options):
    options = {"batch_size": 5, "shuffle": True, "seed": 3, "epoch": 1, **options}
    return list(loader(splits.train, **options))


def test_loaders_give_the_same_batches_either_way(splits):
    for one, other in zip(batches_of(splits["cpu"]), batches_of(splits["gpu"]), strict=True):
        assert type(one) is type(other)
        assert torch.equal(one.label, other.label)
        assert torch.equal(one.index, other.index)
        assert one.image.shape == other.image.shape
        std = torch.tensor(splits["cpu"].std)[:, None, None]
        assert ((one.image - other.image) * std * 255).abs().mean() < 0.5


def test_batches_depend_on_seed_epoch_and_view_only(splits):
    first = batches_of(splits["gpu"])
    torch.manual_seed(99)
    before = torch.get_rng_state()
    again = batches_of(splits["gpu"], workers=2)
    assert torch.equal(before, torch.get_rng_state())
    assert all(torch.equal(one.image, other.image) for one, other in zip(first, again, strict=True))
    train = splits["gpu"].train
    one, view, epoch = (train.postponed(key) for key in (1, 13, Draw(1, 1)))
    assert torch.equal(one.image, view.image)
    different = [
        any(not torch.equal(a, b) for a, b in zip(one.augmentation, other.augmentation, strict=True))
        for other in (view, epoch)
    ]
    assert different == [True, True]


def test_the_loaders_device_does_the_work(splits):
    (batch, *_) = batches_of(splits["gpu"], device="meta")
    assert batch.image.device.type == "meta"
    assert batch.image.shape == (5, 3, 16, 16)
    for images in (splits["gpu"].test, splits["gpu"].projection):
        (batch, *_) = loader(images, batch_size=5, shuffle=False, seed=3, epoch=1, device="meta")
        assert batch.image.device.type == "cpu"
