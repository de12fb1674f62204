"""Numbers and colours of pictures as 8-bit RGB: how many bits are used, transparency, colour profiles."""

from __future__ import annotations

import io
from functools import lru_cache

import numpy as np
from jaxtyping import Shaped
from PIL import Image, ImageCms


def range_bits(high: int) -> int:
    """How many bits numbers up to `high` use, where they are stored in 16: 10, 12, or else all.

    >>> range_bits(255), range_bits(1000), range_bits(4095), range_bits(4096)
    (16, 10, 12, 16)
    """
    return 10 if 255 < high <= 1023 else 12 if 1023 < high <= 4095 else 16


def from_values(values: Shaped[np.ndarray, "..."], bits: int | None) -> Image.Image:
    """An array, of so many bits where it is of more than 8 (None: by its values), as RGB over white.

    Raises:
        ValueError: No picture has such a shape, type or range.
    """
    values = values[:, :, None] if values.ndim == 2 else values
    if values.ndim != 3 or not 1 <= values.shape[2] <= 4 or 0 in values.shape:
        raise ValueError(
            f"its shape is {list(values.shape)}; wanted [H, W, 3] (RGB), [H, W, 4] (RGBA) or [H, W] (grey)"
        )
    colours = 3 if values.shape[2] > 2 else 1
    shares = _shares(values[:, :, :colours], bits)
    if values.shape[2] in (2, 4):
        alpha = values[:, :, colours:]
        opacity = _shares(alpha, 16 if values.dtype == np.uint16 else None)
        shares = shares * opacity + (1 - opacity)
    levels = (shares * 255).round().astype(np.uint8)
    return Image.fromarray(np.broadcast_to(levels, (*levels.shape[:2], 3)).copy())


def _shares(values: Shaped[np.ndarray, "H W n"], bits: int | None) -> Shaped[np.ndarray, "H W n"]:
    """Numbers as shares of the largest that they can be."""
    if values.dtype in (np.uint8, np.bool_):
        return values / (255 if values.dtype == np.uint8 else 1)
    if values.dtype.kind not in "uif":
        raise ValueError(f"its numbers are of type {values.dtype}; wanted whole numbers, or floats in [0, 1]")
    low, high = values.min(), values.max()
    if values.dtype.kind == "f":
        if not (low >= 0 and high <= 1):  # nor NaN
            raise ValueError(f"its floats are from {low:g} to {high:g}; wanted them in [0, 1]")
        return values.astype(np.float64)
    is_short = values.dtype == np.uint16
    if bits is None:
        bits = 8 if high <= 255 and not is_short else range_bits(int(high))
    if low < 0 or high > 65535:
        raise ValueError(
            f"its pixels are whole numbers from {low} to {high}, whose range is unknown; "
            "save it with 8 or 16 bits"
        )
    if high >= 2**bits:
        raise ValueError(
            f"its pixels go up to {high}, beyond the {bits} bits that they are read with; give "
            f"dataset.bits {max(bits + 1, int(high).bit_length())} or leave it out"
        )
    return values / (2**bits - 1)


def over_white(image: Image.Image) -> Image.Image:
    if image.mode == "RGB" and "transparency" not in image.info:
        return image
    if image.has_transparency_data:
        image = image.convert("LA" if image.mode == "La" else "RGBA").convert("RGBA")
        return Image.alpha_composite(Image.new("RGBA", image.size, "white"), image).convert("RGB")
    return image.convert("RGB")


def to_srgb(image: Image.Image) -> tuple[Image.Image, bool]:
    """The picture by its colour profile, if it has one that isn't sRGB's own; and whether that is broken."""
    profile = image.info.get("icc_profile") or b""
    if profile and image.mode in ("P", "PA"):
        image = image.convert("RGBA" if image.has_transparency_data else "RGB")
    colours = {"LA": "L", "RGBA": "RGB"}.get(image.mode, image.mode)
    if image.mode != "LAB" and not (profile and colours in ("L", "RGB", "CMYK")):
        return image, False
    try:
        transform = _transform_to_srgb(profile, colours)
    except (ImageCms.PyCMSError, OSError, ValueError):
        return image, True
    if transform is None:
        return image, False
    if image.has_transparency_data:
        with_alpha = image.convert("LA" if colours == "L" else "RGBA")
        alpha = with_alpha.getchannel("A")
        shown = ImageCms.applyTransform(with_alpha.convert(colours), transform)
        assert shown is not None
        shown.putalpha(alpha)
        return shown, False
    shown = ImageCms.applyTransform(image, transform)
    assert shown is not None
    return shown, False


@lru_cache(maxsize=16)
def _transform_to_srgb(profile: bytes, mode: str) -> ImageCms.ImageCmsTransform | None:
    """From a profile (of Lab: its own) to sRGB; None where it is sRGB already."""
    if mode == "LAB":
        known = ImageCms.ImageCmsProfile(ImageCms.createProfile("LAB"))
    else:
        known = ImageCms.getOpenProfile(io.BytesIO(profile))
        if mode == "RGB" and ImageCms.getProfileDescription(known).strip().startswith("sRGB"):
            return None
    return ImageCms.buildTransform(
        known,
        ImageCms.createProfile("sRGB"),
        mode,
        "RGB",
        renderingIntent=ImageCms.Intent.RELATIVE_COLORIMETRIC,
        flags=ImageCms.Flags.BLACKPOINTCOMPENSATION,
    )
