"""Masks: images that tell object from background."""

from __future__ import annotations

import numpy as np
from jaxtyping import Bool
from PIL import Image

__all__ = ["object_pixels"]


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
