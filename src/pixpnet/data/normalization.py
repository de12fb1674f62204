"""Mean and standard deviation of a data set's colours, measured exactly."""

from __future__ import annotations

import math
from collections.abc import Iterable

import numpy as np
from PIL import Image

from pixpnet.data.spec import Normalization
from pixpnet.errors import DataError

__all__ = ["measure_normalization"]


def measure_normalization(images: Iterable[Image.Image]) -> Normalization:
    """Mean and standard deviation of each colour over all pixels of 8-bit RGB images.

    The sums are whole numbers, so neither order nor number of the images costs precision. A colour that never
    changes gets the standard deviation 1/255, one step of an 8-bit image, so that it can be divided by.

    Raises:
        DataError: There is no image.
    """
    pixels, sums, squares = 0, [0, 0, 0], [0, 0, 0]
    for image in images:
        pixels += image.width * image.height
        histogram = np.array(image.histogram()).reshape(3, 256)
        for colour in range(3):
            sums[colour] += int(histogram[colour] @ np.arange(256))
            squares[colour] += int(histogram[colour] @ np.arange(256) ** 2)
    if pixels == 0:
        raise DataError("there is no training image to measure the mean colour on.")
    variances = (pixels * square - total**2 for total, square in zip(sums, squares, strict=True))
    red, green, blue = (total / pixels / 255 for total in sums)
    red_std, green_std, blue_std = (max(math.sqrt(v) / pixels, 1.0) / 255 for v in variances)
    return Normalization(mean=(red, green, blue), std=(red_std, green_std, blue_std))
