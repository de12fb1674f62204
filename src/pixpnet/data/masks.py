"""Masks: images that tell object from background."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from jaxtyping import Bool
from PIL import Image

from pixpnet.errors import DataError

__all__ = ["load_mask"]


def load_mask(path: Path) -> Bool[np.ndarray, "H W"]:
    """True where the object is.

    Of a palette image, every colour but colour 0; else what is brighter than half (values of 0 and 1: what
    is 1). CUB's segmentations hold the votes of five people, so the majority decides.

    Raises:
        DataError: Missing, or not an image.
    """
    try:
        with Image.open(path) as image:
            values = np.asarray(image if image.mode in ("1", "L", "P") else image.convert("L"))
            is_palette = image.mode == "P"
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        raise DataError(f"{path} is not a mask that can be read: {error}.") from error
    if is_palette or values.max(initial=0) <= 1:
        return values.astype(bool)
    return values >= 128
