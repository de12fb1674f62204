"""Masks: which pixels of an image show the object, and what is wrong with a mask that doesn't say."""

from __future__ import annotations

import numpy as np
from jaxtyping import Bool, Shaped
from PIL import Image

from pixpnet.data.decode import open_picture
from pixpnet.errors import DataError
from pixpnet.types import ImageRecord

_TRIMAP = ({1, 2}, {1, 2, 3})
"""Object, background (and what is neither): Oxford-IIIT Pet's numbers."""


def load_mask(record: ImageRecord, *, window: tuple[int, int, int, int]) -> Image.Image | None:
    """A window of the mask of a record's image, if it has one: 0 where there is background, else 255.

    Raises:
        DataError: The mask is missing or damaged, or has another size than the image.
    """
    if record.mask is None:
        return None
    with (
        open_picture(record.path, record.reading) as image,
        open_picture(record.mask, record.reading, wanted="a mask") as mask,
    ):
        if mask.size != image.size:
            is_turned = record.reading.orientation == "apply" and mask.size == image.size[::-1]
            hint = " (upright; dataset.orientation ignore leaves it as it is stored)" if is_turned else ""
            raise DataError(
                f"{record.mask} is {mask.size[0]} x {mask.size[1]} pixels, its image {record.path} is "
                f"{image.size[0]} x {image.size[1]}{hint}; they must be of the same size."
            )
        is_object = object_pixels(mask.upright(), record.reading.mask_label)
        return Image.fromarray(np.where(is_object, 255, 0).astype(np.uint8)).crop(window)


def object_pixels(mask: Image.Image, label: int | None = None) -> Bool[np.ndarray, "H W"]:
    """True where the object is.

    With a label, where the mask has that number. Without, what is at least half as bright as white in some
    channel (CUB's segmentations hold the votes of five people, so the majority decides); where nothing is, or
    in a palette image, the numbers are labels: every one but 0, or 1 alone where there are only 1, 2 and 3,
    as in Oxford's trimaps. A palette of black and white holds no labels. Never what is transparent.

    Raises:
        ValueError: A label is wanted, and the mask has colours.
    """
    mask = _as_shown(mask, label)
    values, visible = _values(mask)
    if label is not None:
        if (values != values[:, :, :1]).any():
            raise ValueError(
                "it has colours; dataset.mask-label wants a mask of numbers (grey, or a palette)"
            )
        return visible & (values[:, :, 0] == label)
    brightest = values.max(axis=2)
    half = 32768 if mask.mode.startswith("I") else 128
    if mask.mode == "P" or brightest.max(initial=0) < half:
        numbers = set(np.unique(brightest[visible]).tolist())
        return visible & ((brightest == 1) if numbers in _TRIMAP else (brightest > 0))
    return visible & (brightest >= half)


def mask_fault(record: ImageRecord) -> str | None:
    """What a person should look at in the mask of a record's image; None: nothing, or it has no mask.

    Raises:
        DataError: As `load_mask`.
    """
    if record.mask is None:
        return None
    with open_picture(record.mask, record.reading, wanted="a mask") as found:
        mask = _as_shown(found.upright(), record.reading.mask_label)
        is_object = object_pixels(mask, record.reading.mask_label)
        is_blurred = found.image.format == "JPEG"  # which has all numbers between two
        values, visible = _values(mask)
    numbers = np.unique(values.max(axis=2)[visible]).tolist()
    held = ", ".join(map(str, numbers[:6])) + (", ..." if len(numbers) > 6 else "")
    if not is_object.any():
        return f"{record.mask} shows no object (it holds {held})"
    if is_object.all():
        return f"{record.mask} shows nothing but object (it holds {held})"
    low = [number for number in numbers if 0 < number < 32]
    is_mixed = low and record.reading.mask_label is None and mask.mode != "P" and numbers[-1] >= 128
    if is_mixed and not is_blurred and len(numbers) <= 32:
        return f"{record.mask} holds {held}, of which only the bright ones are taken as the object"
    return None


def _as_shown(mask: Image.Image, label: int | None) -> Image.Image:
    """The mask in light where its numbers are something else: ink, or places in a palette of black and white.

    Which of the two comes first in such a palette is the writing program's choice.
    """
    if mask.mode == "CMYK":
        return mask.convert("RGB")
    if mask.mode == "P" and label is None:
        shown = mask.convert("RGB")
        colours = shown.getcolors(2)
        if colours and {colour for _, colour in colours} == {(0, 0, 0), (255, 255, 255)}:
            return shown
    return mask


def _values(mask: Image.Image) -> tuple[Shaped[np.ndarray, "H W n"], Bool[np.ndarray, "H W"]]:
    """The numbers of a mask without its alpha, and where it is not transparent."""
    values = np.asarray(mask)
    values = values.reshape(*values.shape[:2], -1)
    if mask.mode in ("LA", "RGBA"):
        return values[:, :, :-1], values[:, :, -1] > 0
    return values.astype(np.uint8) if mask.mode == "1" else values, np.ones(values.shape[:2], dtype=bool)
