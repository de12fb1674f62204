"""What a picture is read as, wherever it comes from: each kind with a value that is right by its standard."""

import io
import os
import socket
import struct
import warnings
import zlib

import numpy as np
import pytest
from PIL import Image, ImageCms, ImageOps

from pixpnet.config import DatasetConfig
from pixpnet.data import (
    CACHES,
    FORMATS,
    ClassificationImages,
    Geometry,
    check_dataset,
    is_picture,
    load_image,
    object_pixels,
    picture_format,
    read_dataset,
    read_picture,
)
from pixpnet.errors import DataError
from pixpnet.types import IMAGENET, STANDARD, Reading

IGNORING = Reading(orientation="ignore")


def chunk(name, data):
    body = name + data
    return struct.pack(">I", len(data)) + body + struct.pack(">I", zlib.crc32(body))


def png16(values, *, before=b"", after=b""):
    """A PNG file of 16 bits by the standard: grey, grey with alpha, RGB or RGBA."""
    values = np.atleast_3d(values).astype(">u2")
    height, width, channels = values.shape
    colour_type = {1: 0, 2: 4, 3: 2, 4: 6}[channels]
    head = struct.pack(">IIBBBBB", width, height, 16, colour_type, 0, 0, 0)
    pixels = zlib.compress(b"".join(b"\0" + row.tobytes() for row in values))
    parts = (chunk(b"IHDR", head), before, chunk(b"IDAT", pixels), after, chunk(b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(parts)


def saved(image, form, **options):
    file = io.BytesIO()
    image.save(file, form, **options)
    return file.getvalue()


def random_image(size=(50, 40)):
    pixels = np.random.default_rng(0).integers(0, 256, (5, 4, 3), np.uint8)
    return Image.fromarray(pixels).resize(size, Image.Resampling.BICUBIC)


def tagged(tag, form):
    tags = Image.Exif()
    tags[0x0112] = tag
    return saved(random_image(), form, exif=tags)


def nearly(one, other, *, by=0):
    return np.abs(np.asarray(one).astype(int) - np.asarray(other).astype(int)).max() <= by


# Where a picture comes from


def sources(tmp_path, data):
    path = tmp_path / "no_suffix"
    path.write_bytes(data)
    return {
        "path": path,
        "text": str(path),
        "bytes": data,
        "bytearray": bytearray(data),
        "file": io.BytesIO(data),
        "opened": Image.open(io.BytesIO(data)),
    }


@pytest.mark.parametrize("form", FORMATS)
def test_wherever_it_comes_from_it_is_the_same(tmp_path, form):
    data = saved(random_image(), form)
    with Image.open(io.BytesIO(data)) as image:
        wanted = np.asarray(image.convert("RGB"))
    for name, source in sources(tmp_path, data).items():
        assert nearly(load_image(source), wanted), name
    assert picture_format(tmp_path / "no_suffix") == form


class OnlyRead:
    """As a connection, it can't go back."""

    def __init__(self, data):
        self.read = io.BytesIO(data).read


@pytest.mark.parametrize("place", ["beginning", "middle", "end"])
def test_an_opened_file_is_read_from_its_beginning(place):
    image = random_image()
    file = io.BytesIO(saved(image, "PNG"))
    file.seek({"beginning": 0, "middle": 20, "end": 0}[place], 2 if place == "end" else 0)
    for _ in range(2):
        assert nearly(load_image(file), image)
    assert nearly(load_image(OnlyRead(file.getvalue())), image)


GREY, COLOUR = np.arange(20).reshape(4, 5) * 12, np.arange(60).reshape(4, 5, 3) * 4
ARRAYS = {
    "RGB": (COLOUR.astype(np.uint8), COLOUR),
    "grey": (GREY.astype(np.uint8), GREY),
    "grey [H W 1]": (GREY.astype(np.uint8)[..., None], GREY),
    "RGBA": (np.dstack([COLOUR, np.full((4, 5), 255)]).astype(np.uint8), COLOUR),
    "grey, transparent": (np.dstack([GREY, np.zeros((4, 5))]).astype(np.uint8), np.full((4, 5), 255)),
    "floats": (COLOUR / 255, COLOUR),
    "floats of 32 bits, grey": ((GREY / 255).astype(np.float32), GREY),
    "16 bits": ((COLOUR * 257).astype(np.uint16), COLOUR),
    "12 bits in 16": ((GREY * 16).astype(np.uint16), (GREY * 16 * 255 / 4095).round()),
    "int64": (COLOUR, COLOUR),
    "bool": (GREY > 100, 255 * (GREY > 100)),
    "not contiguous": (COLOUR.astype(np.uint8)[:, ::-1], COLOUR[:, ::-1]),
}


@pytest.mark.parametrize("kind", ARRAYS)
def test_arrays(kind):
    array, wanted = ARRAYS[kind]
    wanted = np.broadcast_to(wanted if wanted.ndim == 3 else wanted[..., None], (4, 5, 3))
    assert nearly(load_image(array), wanted)


REFUSED = {
    "channels first": (np.zeros((3, 40, 50), np.uint8), r"shape is \[3, 40, 50\]; wanted \[H, W, 3\]"),
    "a batch": (np.zeros((1, 4, 5, 3), np.uint8), r"shape is \[1, 4, 5, 3\]"),
    "empty": (np.zeros((0, 5, 3), np.uint8), "shape"),
    "floats to 255": (np.full((4, 5), 255.0), r"floats are from 255 to 255; wanted them in \[0, 1\]"),
    "normalised": (np.full((4, 5, 3), -0.1), r"wanted them in \[0, 1\]"),
    "NaN": (np.full((4, 5), np.nan), r"wanted them in \[0, 1\]"),
    "below 0": (np.full((4, 5), -1), "from -1 to -1, whose range is unknown"),
    "complex": (np.zeros((4, 5), complex), "type complex128"),
    "text": (np.full((4, 5), "a"), "type <U1"),
    "a text file": (io.StringIO("x"), "mode 'rb'"),
    "no bytes": (b"", "it is empty"),
    "no pixels": (Image.new("RGB", (0, 4)), "it has no pixels"),
    "EPS": (b"%!PS-Adobe-3.0 EPSF-3.0\n", "none of AVIF, BMP"),
    "PDF": (b"%PDF-1.7\n", "none of AVIF"),
    "SVG": (b"<svg></svg>", "none of AVIF"),
    "ICO": (saved(Image.new("RGB", (16, 16)), "ICO"), "none of AVIF"),
}


@pytest.mark.parametrize("kind", REFUSED)
def test_what_is_no_picture_is_refused_in_one_sentence(kind):
    source, words = REFUSED[kind]
    with pytest.raises(DataError, match=words) as caught:
        load_image(source)
    assert "\n" not in str(caught.value)


# Files


@pytest.mark.parametrize("suffix", [".png", ".jpg", ".tif", ""])
def test_no_suffix_leads_to_another_program(tmp_path, suffix, monkeypatch):
    """An EPS file runs Ghostscript when Pillow loads it."""
    path = tmp_path / f"drawing{suffix}"
    path.write_bytes(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 10 10\n%%EndComments\nshowpage\n")
    monkeypatch.setattr("PIL.EpsImagePlugin.Ghostscript", lambda *a, **k: pytest.fail("Ghostscript"))
    assert not is_picture(path)
    with pytest.raises(DataError, match="none of AVIF"):
        load_image(path)


def test_texts_that_begin_like_a_picture_are_none(tmp_path):
    for number, text in enumerate(
        ("BMW\n" + 20 * "is a car\n", "P1 is a prototype"[:2] + "x", "Pyx", "GIF", "II*")
    ):
        (tmp_path / f"{number}.txt").write_text(text)
        assert not is_picture(tmp_path / f"{number}.txt")


def test_only_regular_files_are_read(tmp_path):
    """A pipe would wait for ever."""
    os.mkfifo(tmp_path / "pipe.png")
    with socket.socket(socket.AF_UNIX) as one:
        one.bind(str(tmp_path / "s"))
        for name, words in (
            ("pipe.png", "no regular file"),
            ("s", "no regular file"),
            ("", "it is a folder"),
        ):
            assert not is_picture(tmp_path / name)
            with pytest.raises(DataError, match=words):
                load_image(tmp_path / name)
    with pytest.raises(DataError, match="no regular file"):
        load_image("/dev/zero")
    (tmp_path / "link").symlink_to(tmp_path / "real.png")
    random_image().save(tmp_path / "real.png")
    assert is_picture(tmp_path / "link")


# Orientation


@pytest.mark.parametrize("form", ["JPEG", "PNG", "WEBP", "TIFF", "AVIF"])
@pytest.mark.parametrize("tag", range(1, 9))
def test_pictures_are_upright_once(form, tag):
    data = tagged(tag, form)
    upright = ImageOps.exif_transpose(Image.open(io.BytesIO(data))).convert("RGB")
    for source in (data, Image.open(io.BytesIO(data))):
        picture = read_picture(source)
        assert picture.image.size == ((50, 40) if tag < 5 else (40, 50))
        assert nearly(picture.image, upright)
        assert ("an orientation tag" in picture.notes) == (tag > 1)
        assert nearly(load_image(picture.image), upright)  # read again, it isn't turned again


@pytest.mark.parametrize("form", ["JPEG", "PNG", "WEBP", "TIFF", "AVIF"])
@pytest.mark.parametrize("tag", [1, 3, 5, 6, 7, 8])
def test_a_set_annotated_sideways_is_read_as_it_is_stored(form, tag):
    stored = load_image(saved(random_image(), form))
    assert nearly(load_image(tagged(tag, form), IGNORING), stored, by=16)
    again = load_image(load_image(tagged(tag, form), IGNORING))
    assert again.size == (50, 40)


def test_a_tag_behind_the_pixels_of_a_png_file_is_obeyed(tmp_path):
    tags = Image.Exif()
    tags[0x0112] = 6
    path = tmp_path / "late.png"
    path.write_bytes(png16(np.arange(20).reshape(4, 5) * 3000, after=chunk(b"eXIf", tags.tobytes()[6:])))
    assert load_image(path).size == (4, 5)
    deep = np.random.default_rng(0).integers(0, 65536, (4, 5, 3))
    turned = load_image(png16(deep, after=chunk(b"eXIf", tags.tobytes()[6:])))
    assert nearly(turned, np.rot90((deep / 257).round(), -1))


def test_a_broken_tag_is_none():
    data = saved(random_image(), "JPEG", exif=b"Exif\0\0II*\0garbage")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Pillow's own
        assert load_image(data).size == (50, 40)


# Depth


def bits_of(data, reading=STANDARD):
    """What a picture's largest number becomes."""
    return np.asarray(load_image(data, reading)).max()


@pytest.mark.parametrize(
    ("highest", "wanted"),
    [
        (1023, 255),
        (4095, 255),
        (65535, 255),
        (1000, round(1000 / 1023 * 255)),
        (3000, round(3000 / 4095 * 255)),
        (4096, 16),
        (16383, 64),
        (255, 1),
        (20, 0),
    ],
)
def test_the_largest_number_says_10_or_12_bits_else_16(highest, wanted):
    values = np.array([[0, highest]])
    for channels in (1, 3):
        data = png16(np.repeat(values[..., None], channels, axis=2))
        assert bits_of(data) == wanted
    tiff = saved(Image.fromarray(values.astype(np.uint16)), "TIFF")
    assert bits_of(tiff) == wanted
    assert bits_of(values.astype(np.uint16)) == wanted


def tiff16(values, *, order, is_packed):
    """A TIFF file of 16 bits, in one strip (TIFF 6.0; compressed: Adobe's deflate)."""
    height, width, channels = values.shape
    data = values.astype(f"{order}u2").tobytes()
    data = zlib.compress(data) if is_packed else data
    tags = {
        256: width,
        257: height,
        259: 8 if is_packed else 1,
        262: 2,
        277: channels,
        278: height,
        279: len(data),
    }
    tags |= {338: 2} if channels == 4 else {}
    bits_at = 8 + 2 + 12 * (len(tags) + 2) + 4
    entries = {tag: ("I", 4, 1, value) for tag, value in tags.items()}
    entries[258] = ("I", 3, channels, bits_at)
    entries[273] = ("I", 4, 1, bits_at + 2 * channels)
    file = (b"II*\0" if order == "<" else b"MM\0*") + struct.pack(f"{order}IH", 8, len(entries))
    for tag in sorted(entries):
        code, kind, count, value = entries[tag]
        file += struct.pack(f"{order}HHI{code}", tag, kind, count, value)
    return file + bytes(4) + struct.pack(f"{order}{channels}H", *[16] * channels) + data


@pytest.mark.parametrize("is_packed", [False, True])
@pytest.mark.parametrize("order", "<>")
@pytest.mark.parametrize("channels", [3, 4])
def test_tiff_files_of_16_bits_with_colour(is_packed, order, channels):
    values = np.random.default_rng(0).integers(0, 4096, (6, 7, channels))
    values[..., 3:] = 65535
    picture = read_picture(tiff16(values, order=order, is_packed=is_packed))
    assert nearly(picture.image, (values[..., :3] / 4095 * 255).round())
    assert picture.doubts == ("numbers of 12 bits in 16",)


def test_what_the_file_or_the_set_says_comes_before_the_numbers():
    values = np.array([[0, 3000, 7]])
    twelve, sixteen = round(3000 / 4095 * 255), round(3000 / 257)
    assert bits_of(png16(values)) == twelve
    assert bits_of(png16(values), Reading(bits=16)) == sixteen
    assert bits_of(png16(values, before=chunk(b"sBIT", bytes([16])))) == sixteen
    assert bits_of(png16(values, before=chunk(b"sBIT", bytes([12]))), Reading(bits=16)) == twelve
    # By the standard, 12 bits are scaled to 16; so is this dark one.
    scaled = 16 * np.array([[0, 100, 7]])
    assert bits_of(png16(scaled, before=chunk(b"sBIT", bytes([12])))) == round(1600 / 257)
    pgm = b"P5 3 1 4095\n" + values.astype(">u2").tobytes()
    assert bits_of(pgm) == twelve
    assert bits_of(b"P5 3 1 65535\n" + values.astype(">u2").tobytes()) == sixteen


def test_numbers_beyond_the_sets_range_are_told():
    with pytest.raises(DataError, match=r"go up to 5000, beyond the 12 bits .* dataset\.bits 13"):
        load_image(png16(np.array([[5000]])), Reading(bits=12))


def test_a_tiff_file_whose_0_is_white():
    values = np.array([[0, 65535, 100]], np.uint16)
    data = saved(Image.fromarray(values), "TIFF", tiffinfo={262: 0})
    assert np.asarray(load_image(data))[0, :, 0].tolist() == [255, 0, 255]


def make_set(root, write, *, classes=2, count=2):
    for split in ("train", "test"):
        for label in range(classes):
            folder = root / split / f"class{label}"
            folder.mkdir(parents=True)
            for number in range(count):
                (folder / f"{split}{label}{number}.png").write_bytes(write(f"{split}{label}{number}"))
    return root


def read(root, **options):
    return read_dataset(DatasetConfig(name="folder", root=str(root), **options))


def test_a_set_has_one_range_and_says_so_once(tmp_path, caplog):
    """A dark picture of a set of 16 bits is not brightened, although it holds no number beyond 12 bits."""
    high = {"train00": 60000}
    root = make_set(tmp_path, lambda name: png16(np.array([[0, high.get(name, 3000)]])))
    caplog.set_level("INFO")
    images = read(root)
    said = [record.message for record in caplog.records if "stored in 16 bits" in record.message]
    assert len(said) == 1
    assert "read as 16 bits" in said[0]
    assert "60000" in said[0]
    dark = images.test[0]
    assert bits_of(dark.path, dark.reading) == round(3000 / 257)
    assert bits_of(dark.path) == round(3000 / 4095 * 255)


def test_a_set_of_12_bits(tmp_path):
    root = make_set(tmp_path, lambda name: png16(np.array([[0, 4000 if name == "train00" else 900]])))
    images = read(root)
    assert images.reading.bits == 12
    assert {record.reading for record in (*images.train, *images.test)} == {images.reading}
    assert read(root, bits=16).reading.bits == 16
    assert any("12 bits" in line for line in check_dataset(images).lines())


def test_sets_of_8_bits_have_no_word_of_it(tmp_path, caplog):
    caplog.set_level("INFO")
    images = read(make_set(tmp_path, lambda name: saved(random_image(), "PNG")))
    assert images.reading == Reading()
    assert "16 bits" not in caplog.text


# Transparency


def transparent_sources():
    clear, half = np.zeros((2, 2)), np.full((2, 2), 32768)
    dark = np.full((2, 2), 5000)
    palette = Image.new("RGB", (2, 2), (200, 40, 40)).convert("P")
    alpha_palette = Image.new("PA", (2, 2))
    return {
        "LA": (saved(Image.new("LA", (2, 2), (40, 0)), "PNG"), 255),
        "RGBA": (saved(Image.new("RGBA", (2, 2), (1, 2, 3, 0)), "WEBP", lossless=True), 255),
        "P, all": (saved(palette, "PNG", transparency=bytes(256)), 255),
        "P, one": (saved(palette, "GIF", transparency=palette.getpixel((0, 0))), 255),
        "PA": (alpha_palette, 255),
        "La": (Image.new("LA", (2, 2), (40, 0)).convert("La"), 255),
        "RGBa": (Image.new("RGBA", (2, 2), (1, 2, 3, 0)).convert("RGBa"), 255),
        "L and tRNS": (saved(Image.new("L", (2, 2), 7), "PNG", transparency=7), 255),
        "1 and tRNS": (saved(Image.new("1", (2, 2), 0), "PNG", transparency=0), 255),
        "RGB and tRNS": (saved(Image.new("RGB", (2, 2), (1, 2, 3)), "PNG", transparency=(1, 2, 3)), 255),
        "16-bit grey and tRNS": (png16(dark, before=chunk(b"tRNS", struct.pack(">H", 5000))), 255),
        "16-bit RGB and tRNS": (
            png16(np.dstack([dark] * 3), before=chunk(b"tRNS", struct.pack(">3H", 5000, 5000, 5000))),
            255,
        ),
        "16-bit RGB and nearly tRNS": (
            png16(np.dstack([dark] * 3), before=chunk(b"tRNS", struct.pack(">3H", 5000, 5000, 5001))),
            round(5000 / 257),
        ),
        "16-bit LA": (png16(np.dstack([dark, clear])), 255),
        "16-bit LA, half": (png16(np.dstack([dark, half])), 137),
        "16-bit RGBA": (png16(np.dstack([dark] * 3 + [clear])), 255),
        "16-bit RGBA, half": (png16(np.dstack([dark] * 3 + [half])), 137),
    }


@pytest.mark.parametrize("kind", transparent_sources())
def test_what_is_transparent_is_laid_over_white(kind):
    source, wanted = transparent_sources()[kind]
    assert nearly(load_image(source), wanted)


# Colour


def swapped_profile(*, name=b"s\0R\0G\0B"):
    """sRGB's profile with red's and blue's primaries exchanged, under another name."""
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    profile = profile.replace(b"rXYZ", b"tmp1", 1).replace(b"bXYZ", b"rXYZ", 1).replace(b"tmp1", b"bXYZ", 1)
    return profile.replace(name, b"S\0W\0A\0P"[: len(name)])


PROFILED = {
    "JPEG": lambda image: saved(image, "JPEG", quality=100, subsampling=0, icc_profile=swapped_profile()),
    "PNG": lambda image: saved(image, "PNG", icc_profile=swapped_profile()),
    "WEBP": lambda image: saved(image, "WEBP", lossless=True, icc_profile=swapped_profile()),
    "TIFF": lambda image: saved(image, "TIFF", icc_profile=swapped_profile()),
    "palette": lambda image: saved(image.convert("P"), "PNG", icc_profile=swapped_profile()),
    "transparent": lambda image: saved(image.convert("RGBA"), "PNG", icc_profile=swapped_profile()),
    "16 bits": lambda image: png16(
        np.asarray(image).astype(int) * 257,
        before=chunk(b"iCCP", b"x\0\0" + zlib.compress(swapped_profile())),
    ),
}


@pytest.mark.parametrize("kind", PROFILED)
def test_colour_profiles_are_obeyed(kind):
    picture = read_picture(PROFILED[kind](Image.new("RGB", (8, 8), (255, 0, 0))))
    red, green, blue = picture.image.getpixel((3, 3))
    assert blue > 250
    assert max(red, green) < 10
    assert picture.doubts == ()


def test_srgb_changes_nothing():
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    assert nearly(load_image(saved(random_image(), "PNG", icc_profile=profile)), random_image())


@pytest.mark.parametrize("profile", [b"broken", b"\0" * 200, swapped_profile()[:300]])
def test_a_broken_profile_is_left_aside_with_a_word(profile):
    picture = read_picture(saved(random_image(), "PNG", icc_profile=profile))
    assert nearly(picture.image, random_image())
    assert "profile" in picture.doubts[0]


def test_cmyk_and_lab():
    assert load_image(saved(Image.new("CMYK", (4, 4), (0, 255, 255, 0)), "TIFF")).getpixel((0, 0)) == (
        255,
        0,
        0,
    )
    white = load_image(saved(Image.new("LAB", (4, 4), (255, 128, 128)), "TIFF")).getpixel((0, 0))
    assert min(white) > 250


# Frames and size


@pytest.mark.parametrize("form", ["GIF", "PNG", "WEBP", "TIFF", "AVIF"])
def test_of_several_frames_the_first_is_read_with_a_word(form):
    frames = [Image.new("RGB", (20, 20), colour) for colour in ("red", "lime", "blue")]
    picture = read_picture(saved(frames[0], form, save_all=True, append_images=frames[1:]))
    assert nearly(picture.image, frames[0], by=3)
    assert "several frames" in picture.doubts[0]
    assert read_picture(saved(frames[0], form)).doubts == ()


@pytest.mark.parametrize("form", ["GIF", "TIFF"])
def test_a_frame_that_someone_turned_to_is_read_as_it_is(form):
    frames = [Image.new("RGB", (20, 20), colour) for colour in ("red", "lime", "blue")]
    image = Image.open(io.BytesIO(saved(frames[0], form, save_all=True, append_images=frames[1:])))
    image.seek(1)
    picture = read_picture(image)
    assert nearly(picture.image, frames[1], by=3)
    assert picture.doubts == ()


@pytest.mark.parametrize("form", ["PNG", "TIFF", "GIF", "JPEG"])
def test_a_panorama_is_read_without_a_word_and_beyond_the_limit_refused_with_a_way_out(form, monkeypatch):
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 500)
    data = saved(Image.new("L", (60, 40), 9), form)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert load_image(data).size == (60, 40)
        with pytest.raises(
            DataError, match=r"60 x 40 .* limit .* smaller .*--dataset\.max-pixels 2400"
        ) as caught:
            load_image(data, Reading(max_pixels=2399))
    assert "attack" not in str(caught.value)
    assert "2,400 pixels, more than the limit of 2,399;" in str(caught.value)
    assert Image.MAX_IMAGE_PIXELS == 500


def test_tiles_of_a_tiff_file_count_too():
    tags = (
        (256, 8),
        (257, 8),
        (258, 8),
        (259, 1),
        (262, 1),
        (277, 1),
        (322, 64),
        (323, 64),
        (324, 134),
        (325, 4096),
    )
    entries = b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in tags)
    tiff = b"II*\0" + struct.pack("<IH", 8, len(tags)) + entries + b"\0\0\0\0" + bytes(4096)
    assert load_image(tiff).size == (8, 8)
    with pytest.raises(DataError, match="has 64 x 64"):
        load_image(tiff, Reading(max_pixels=100))


# Masks


def mask(low, high, *, dtype=np.uint8):
    values = np.full((6, 6), low, dtype)
    values[1:4, 1:4] = high
    return Image.fromarray(values)


OBJECT = np.zeros((6, 6), bool)
OBJECT[1:4, 1:4] = True


def trimap():
    values = np.full((6, 6), 2, np.uint8)
    values[0] = 3
    values[1:4, 1:4] = 1
    return Image.fromarray(values)


def voted():
    """CUB's: the votes of five people; two are no majority."""
    values = np.asarray(mask(51, 204)).copy()
    values[5] = 102
    return Image.fromarray(values)


def of_palette(image, colours):
    image.putpalette(colours)
    return image


MASKS = {
    "0 and 255": mask(0, 255),
    "0 and 1": mask(0, 1),
    "0 and 2": mask(0, 2),
    "0 and 5": mask(0, 5),
    "0 and 100": mask(0, 100),
    "votes": voted(),
    "trimap of 1 and 2": mask(2, 1),
    "trimap of 1, 2 and 3": trimap(),
    "palette": mask(0, 3).convert("P"),
    "palette that begins with white": of_palette(mask(1, 0), (255, 255, 255, 0, 0, 0)),
    "palette of dark colours": of_palette(mask(0, 1), (0, 0, 0, 128, 0, 0)),
    "CMYK": mask(0, 255).convert("CMYK"),
    "16 bits, 0 and 1": mask(0, 1, dtype=np.uint16),
    "16 bits, 0 and 300": mask(0, 300, dtype=np.uint16),
    "16 bits, 0 and 65535": mask(0, 65535, dtype=np.uint16),
    "1 bit": mask(0, 255).convert("1"),
    "RGB": mask(0, 255).convert("RGB"),
    "alpha": Image.merge("LA", (mask(255, 255), mask(0, 255))),
}


@pytest.mark.parametrize("kind", MASKS)
def test_masks_show_their_object(kind):
    np.testing.assert_array_equal(object_pixels(MASKS[kind]), OBJECT)


def test_a_label_is_asked_for():
    values = np.asarray(mask(0, 7)).copy()
    values[5] = 9
    for dtype in (np.uint8, np.uint16):
        np.testing.assert_array_equal(object_pixels(Image.fromarray(values.astype(dtype)), 7), OBJECT)
    assert not object_pixels(Image.fromarray(values), 8).any()
    colours = Image.fromarray(np.dstack([values, values, 0 * values]))
    with pytest.raises(ValueError, match="colours"):
        object_pixels(colours, 7)


def with_masks(root, image, form="PNG"):
    make_set(root, lambda name: saved(random_image((6, 6)).point(lambda v: (v + len(name) * 7) % 256), "PNG"))
    for path in root.glob("t*/*/*.png"):
        file = root / "masks" / path.relative_to(root)
        file.parent.mkdir(parents=True) if not file.parent.is_dir() else None
        file.write_bytes(saved(image, form))
    return root


@pytest.mark.parametrize(
    ("image", "options", "words"),
    [
        (mask(0, 0), {}, "shows no object"),
        (mask(3, 3), {}, "shows nothing but object"),
        (mask(0, 5), {"mask_label": 4}, "shows no object (it holds 0, 5)"),
        (Image.fromarray(np.arange(36, dtype=np.uint8).reshape(6, 6) % 3 * 100 + 1), {}, "holds 1, 101, 201"),
        (mask(0, 5), {}, None),
        (mask(0, 255), {}, None),
    ],
)
def test_masks_to_look_at_are_told(tmp_path, image, options, words):
    found = check_dataset(read(with_masks(tmp_path, image), **options))
    assert len(found.mask_faults) == (8 if words else 0)
    told = [line for line in found.lines() if line.startswith("masks to look at (dataset.mask-label): 8 ")]
    assert len(told) == bool(words)
    if words:
        assert words in told[0]


def test_the_blur_of_a_jpeg_mask_is_nothing_to_look_at(tmp_path):
    root = with_masks(tmp_path, mask(0, 255), "JPEG")
    with Image.open(root / "masks/train/class0/train00.png") as blurred:
        assert len(blurred.getcolors()) > 2
    assert check_dataset(read(root)).mask_faults == ()


def test_kept_pixels_are_those_of_one_way_of_reading(tmp_path, monkeypatch):
    """The cache on the disk makes a new file where the set is read otherwise."""
    monkeypatch.setenv("PIXPNET_CACHE", str(tmp_path / "cache"))
    root = make_set(tmp_path / "set", lambda name: tagged(6, "PNG"))
    sizes, files = [], []
    for orientation in ("apply", "ignore"):
        images = read(root, orientation=orientation)
        geometry = Geometry(resize=20, crop=20)
        cache = CACHES["disk"](images.train, geometry=geometry)
        view = ClassificationImages(images.train, geometry=geometry, normalization=IMAGENET, cache=cache)
        for _ in range(2):
            sizes.append(view._prepared(0).size)
        files.append(sorted(path.name for path in (tmp_path / "cache").rglob("*.pixels")))
    assert sizes == [(20, 25), (20, 25), (25, 20), (25, 20)]
    assert files[0] != files[1]
