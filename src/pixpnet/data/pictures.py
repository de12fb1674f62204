"""From an image file to 8-bit RGB, and to the pixels that training and evaluation share."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from jaxtyping import Bool, Int64
from PIL import Image

from pixpnet.data.spec import Geometry
from pixpnet.data.transforms import first_size, object_window
from pixpnet.errors import DataError
from pixpnet.types import ImageRecord

_DAMAGE = (OSError, SyntaxError, ValueError, EOFError, struct.error, zlib.error, Image.DecompressionBombError)


def load_image(path: Path | str) -> Image.Image:
    """The image of a file, as 8-bit RGB.

    Grey, 16-bit and CMYK images are converted; 32-bit whole numbers are taken as 8 bits where none is above
    255, else as 16 bits; transparent pixels are laid over white. The orientation tag of a camera is ignored,
    because boxes and part points count the pixels as they are stored (but Pillow turns TIFF files by it).

    Raises:
        DataError: Naming the file: missing, not an image, truncated, or of a kind that has no range (floats,
            32-bit numbers beyond 65535 or below 0).
    """
    with _opened(path) as image:
        image.load()
        return _to_rgb(image)


def load_window(record: ImageRecord, *, geometry: Geometry) -> tuple[Image.Image, tuple[int, int, int, int]]:
    """The part of a record's image that the geometry starts from, and which part of the file that is.

    Raises:
        DataError: As `load_image`; the object's box is wanted but missing or outside.
    """
    image = load_image(record.path)
    window = _window(record, image, geometry)
    return (image.crop(window) if geometry.to_box else image), window


def load_mask(record: ImageRecord, *, window: tuple[int, int, int, int]) -> Image.Image | None:
    """A window of the mask of a record's image, if it has one: 0 where there is background, else 255.

    Raises:
        DataError: The mask is missing or damaged, or has another size than the image.
    """
    if record.mask is None:
        return None
    with _opened(record.path) as image, _opened(record.mask) as mask:
        if mask.size != image.size:
            raise DataError(
                f"{record.mask} is {mask.width} x {mask.height} pixels, its image {record.path} is "
                f"{image.width} x {image.height}; they must be of the same size."
            )
        mask.load()
        is_object = object_pixels(mask)
    return Image.fromarray(np.where(is_object, 255, 0).astype(np.uint8)).crop(window)


def object_pixels(mask: Image.Image) -> Bool[np.ndarray, "H W"]:
    """True where the object is.

    Of a palette image, every number but 0, whatever its colour; else what is at least half as bright as
    white in some channel, and not transparent (of values of 0 and 1: what is 1). CUB's segmentations hold the
    votes of five people, so the majority decides.
    """
    values = np.asarray(mask)
    values = values.reshape(*values.shape[:2], -1)
    visible = np.ones(values.shape[:2], dtype=bool)
    if mask.mode in ("LA", "RGBA"):
        values, visible = values[:, :, :-1], values[:, :, -1] > 0
    brightest = values.max(axis=2)
    if mask.mode == "P" or brightest.max(initial=0) <= 1:
        return visible & (brightest > 0)
    half = 128 if values.dtype == np.uint8 else 32768
    return visible & (brightest >= half)


def prepared_size(record: ImageRecord, geometry: Geometry) -> tuple[int, int]:
    """(width, height) after the first resize, without decoding the image.

    Raises:
        DataError: As `load_window`.
    """
    if isinstance(geometry.resize, tuple):
        return geometry.resize[1], geometry.resize[0]
    with _opened(record.path) as image:
        left, top, right, bottom = _window(record, image, geometry)
    return first_size((right - left, bottom - top), geometry)


def _window(record: ImageRecord, image: Image.Image, geometry: Geometry) -> tuple[int, int, int, int]:
    return object_window(record, image) if geometry.to_box else (0, 0, image.width, image.height)


@contextmanager
def _opened(path: Path | str) -> Iterator[Image.Image]:
    try:
        with Image.open(path) as image:
            yield image
    except FileNotFoundError:
        raise DataError(f"{path} is missing; wanted an image.") from None
    except _DAMAGE as error:
        raise DataError(f"{path} is not an image that can be read: {error}.") from error


def _to_rgb(image: Image.Image) -> Image.Image:
    if image.mode == "RGB":
        return image
    if image.mode.startswith("I"):
        values = np.asarray(image).astype(np.int64)
        return Image.fromarray((values / _steps(image, values)).round().astype(np.uint8)).convert("RGB")
    if image.mode == "F":
        raise ValueError("its pixels are floats, whose range is unknown; save it with 8 or 16 bits")
    if image.has_transparency_data:
        image = image.convert("RGBA")
        return Image.alpha_composite(Image.new("RGBA", image.size, "white"), image).convert("RGB")
    return image.convert("RGB")


def _steps(image: Image.Image, values: Int64[np.ndarray, "H W"]) -> int:
    """How many steps of the values are one of 8 bits.

    Raises:
        ValueError: The values have no range that is known.
    """
    # Before version 11, Pillow reads 16-bit PNG files as 32 bits; PNG has no more than 16.
    if image.mode != "I" or image.format == "PNG":
        return 257
    low, high = int(values.min()), int(values.max())
    if low < 0 or high > 65535:
        raise ValueError(
            f"its pixels are 32-bit numbers from {low} to {high}, whose range is unknown; "
            "save it with 8 or 16 bits"
        )
    return 1 if high <= 255 else 257
