"""Images become 8-bit RGB whatever they were; what is drawn for one depends on its key only."""

import numpy as np
import pytest
import torch
from PIL import Image, PngImagePlugin

from pixpnet.data import CACHES, ClassificationImages, Draw, Geometry, load_image
from pixpnet.errors import DataError
from pixpnet.seeds import seeded, stable_seed
from pixpnet.types import Box, ImageRecord, Normalization

NORMALIZATION = Normalization(mean=(0.5, 0.4, 0.3), std=(0.2, 0.25, 0.5))


def palette_with_transparency():
    image = Image.new("P", (5, 4), 0)
    image.putpalette([10, 20, 30, 0, 0, 200])
    image.putpixel((1, 0), 1)
    image.info["transparency"] = 0
    return image


SIXTEEN = Image.fromarray(np.full((4, 5), 257 * 200, np.uint16))
KINDS = {
    "RGB": (Image.new("RGB", (5, 4), (1, 2, 3)), "png", (1, 2, 3)),
    "grey": (Image.new("L", (5, 4), 77), "png", (77, 77, 77)),
    "black and white": (Image.new("1", (5, 4), 1), "png", (255, 255, 255)),
    "grey, half transparent": (Image.new("LA", (5, 4), (55, 51)), "png", (215, 215, 215)),
    "RGBA, transparent": (Image.new("RGBA", (5, 4), (9, 9, 9, 0)), "png", (255, 255, 255)),
    "RGBA, opaque": (Image.new("RGBA", (5, 4), (9, 8, 7, 255)), "png", (9, 8, 7)),
    "palette, transparent": (palette_with_transparency(), "png", (255, 255, 255)),
    "16-bit grey": (SIXTEEN, "png", (200, 200, 200)),
    "16-bit grey in 32": (Image.fromarray(np.full((4, 5), 257 * 200, np.int32)), "tiff", (200, 200, 200)),
    "8-bit grey in 32": (Image.fromarray(np.full((4, 5), 200, np.int32)), "tiff", (200, 200, 200)),
    "CMYK": (Image.new("CMYK", (5, 4), (0, 255, 255, 0)), "tiff", (255, 0, 0)),
}


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_of_image_becomes_rgb(tmp_path, kind):
    image, suffix, colour = KINDS[kind]
    image.save(tmp_path / f"image.{suffix}")
    loaded = load_image(tmp_path / f"image.{suffix}")
    assert (loaded.mode, loaded.size) == ("RGB", (5, 4))
    assert loaded.getpixel((0, 0)) == colour


@pytest.mark.parametrize("values", [[-1, 9], [7, 65536]])
def test_32_bit_numbers_without_a_range_are_refused(tmp_path, values):
    path = tmp_path / "image.tiff"
    Image.fromarray(np.array([values], np.int32)).save(path)
    with pytest.raises(DataError, match=rf"image\.tiff .* from {values[0]} to {values[1]}, .*8 or 16 bits"):
        load_image(path)


def test_16_bit_png_files_that_pillow_calls_32_bits_are_16_bits(tmp_path, monkeypatch):
    """Pillow before version 11 does; a dark one stays dark."""
    path = tmp_path / "dark.png"
    Image.fromarray(np.full((4, 5), 255, np.uint16)).save(path)
    monkeypatch.setattr(PngImagePlugin.PngImageFile, "mode", "I", raising=False)
    assert load_image(path).getpixel((0, 0)) == (1, 1, 1)


@pytest.mark.parametrize("suffix", ["png", "jpg", "gif", "tiff", "bmp", "webp"])
def test_a_truncated_image_is_named(tmp_path, suffix):
    path = tmp_path / f"cut.{suffix}"
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (60, 60, 3), np.uint8)).save(path)
    whole = path.read_bytes()
    for share in (0.01, 0.3, 0.9):
        path.write_bytes(whole[: int(share * len(whole))])
        with pytest.raises(DataError, match=f"cut.{suffix} is not an image that can be read"):
            load_image(path)


def test_what_is_no_image_is_named(tmp_path):
    (tmp_path / "text.jpg").write_text("not an image")
    (tmp_path / "empty.png").write_bytes(b"")
    (tmp_path / "folder.png").mkdir()
    Image.fromarray(np.zeros((3, 3), np.float32)).save(tmp_path / "float.tiff")
    for name in ("text.jpg", "empty.png", "folder.png"):
        with pytest.raises(DataError, match=f"{name} is not an image"):
            load_image(tmp_path / name)
    with pytest.raises(DataError, match="pixels are floats"):
        load_image(tmp_path / "float.tiff")
    with pytest.raises(DataError, match=r"gone\.png is missing"):
        load_image(tmp_path / "gone.png")


@pytest.fixture
def records(tmp_path):
    rng = np.random.default_rng(0)
    made = []
    for number in range(4):
        path = tmp_path / f"{number}.png"
        Image.fromarray(rng.integers(0, 256, (30, 40, 3), np.uint8)).save(path)
        made.append(ImageRecord(image_id=str(number), path=path, label=number % 2))
    return tuple(made)


def open_images(records, **options):
    options = {"geometry": Geometry(resize=24, crop=24), "normalization": NORMALIZATION, **options}
    return ClassificationImages(records, **options)


def test_a_sample_is_normalised_and_knows_where_it_is_from(records):
    images = open_images(records, geometry=Geometry(resize=(30, 40)))
    sample = images[3]
    assert (sample.label, sample.index) == (1, 3)
    assert sample.image.shape == (3, 30, 40)
    pixels = np.asarray(Image.open(records[3].path)) / 255
    wanted = (pixels - (0.5, 0.4, 0.3)) / (0.2, 0.25, 0.5)
    np.testing.assert_allclose(sample.image.permute(1, 2, 0), wanted, atol=1e-5)


def test_every_view_epoch_and_seed_is_drawn_anew(records):
    images = open_images(records, augment=True, seed=5, views=2)
    other = open_images(records, augment=True, seed=6, views=2)
    assert len(images) == 8
    assert [images[i].index for i in range(8)] == [0, 1, 2, 3, 0, 1, 2, 3]
    draws = [images[1].image, images[5].image, images[Draw(1, 1)].image, other[1].image, images[2].image]
    for first in range(len(draws)):
        for second in range(first):
            assert not torch.equal(draws[first], draws[second])
    again = open_images(records, augment=True, seed=5, views=2)
    assert torch.equal(again[5].image, draws[1])
    again.epoch = 1
    assert torch.equal(again[1].image, draws[2])


def test_pictures_handed_out_are_not_the_kept_ones(records):
    geometry = Geometry(resize=(30, 40))
    images = open_images(records, geometry=geometry, cache=CACHES["ram"](records, geometry=geometry))
    before = images[0].image
    images.pixels(0).paste("white", (0, 0, 40, 30))
    assert torch.equal(images[0].image, before)


def test_without_augmentation_epochs_are_the_same(records):
    images = open_images(records)
    assert torch.equal(images[Draw(0, 2)].image, images[Draw(7, 2)].image)


def test_global_randomness_is_left_alone(records):
    images = open_images(records, augment=True)
    torch.manual_seed(3)
    before = torch.get_rng_state()
    images[0]
    assert torch.equal(before, torch.get_rng_state())
    with pytest.raises(TypeError), seeded(1):
        torch.rand("nothing")
    assert torch.equal(before, torch.get_rng_state())


def test_positions_outside_raise(records):
    images = open_images(records, views=2)
    for position in (-1, 8):
        with pytest.raises(IndexError, match=f"image {position} of 8"):
            images[position]


def test_stable_seeds_do_not_change_between_versions():
    # Runs are resumed and repeated with these.
    assert stable_seed(0, 1, 2, 3) == 16589150176095972
    assert stable_seed(1, "validation") != stable_seed(1, "order")


def test_the_object_is_cut_out_first(records):
    record = ImageRecord(image_id="0", path=records[0].path, label=0, box=Box(3.0, 5.0, 23.0, 20.0))
    images = open_images((record,), geometry=Geometry(to_box=True, resize=(15, 20)))
    pixels = np.asarray(Image.open(record.path))[5:20, 3:23]
    np.testing.assert_array_equal(np.asarray(images.pixels(0)), pixels)
    with pytest.raises(DataError, match="has no bounding box"):
        open_images(records, geometry=Geometry(to_box=True, resize=(15, 20)))[0]
    outside = ImageRecord(image_id="0", path=records[0].path, label=0, box=Box(50.0, 5.0, 60.0, 20.0))
    with pytest.raises(DataError, match=r"is 40 x 30 pixels; its bounding box .* holds none of them"):
        open_images((outside,), geometry=Geometry(to_box=True, resize=(15, 20)))[0]
