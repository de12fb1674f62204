"""Pictures that are almost alike, though not pixel by pixel: saved again, resized, or cropped a little.

They are compared by a perceptual hash (Zauner 2010, Implementation and Benchmarking of Perceptual Image
Hash Functions): which of the 255 lowest frequencies of the grey 64 x 64 pixels are above their median. Copies
that were saved again with JPEG's quality 60 differ in at most 10 of the 255 bits, halved ones in 18 (3,949
pictures of CUB-200-2011 and FunnyBirds). Of 1,500 training and 1,449 test photographs of CUB-200-2011 two
pairs differ in 36 and 42, and both are the same photographs; the next one differs in 66, as does the first of
SynthBirds. `MOST_BITS` is between. Frames of one film and drawings before one backdrop (FunnyBirds) may be
below it, too, so a person has to look.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Float32, UInt8
from PIL import Image
from scipy.fft import dctn

MOST_BITS = 44
"""Bits of 255 that pictures that are almost alike differ in."""
_MOST_COLOUR = 24.0
"""Steps of 255 that their 16 x 16 pixels differ by, on average: other colours make another picture."""
_LEAST_CONTRAST = 2.0
"""Standard deviation of grey, in steps of 255, below which a picture shows nothing to compare."""
_BLOCK = 4096


class PerceptualHash(NamedTuple):
    """What is kept of a picture to compare it."""

    signs: Float32[np.ndarray, "255"]
    """1 where a frequency is above the median, else -1; zeros where the picture is flat."""
    colours: UInt8[np.ndarray, "16 16 3"]


class Alike(NamedTuple):
    """Two pictures that are almost alike, by their positions."""

    one: int
    other: int
    bits: int
    """In which their hashes differ."""


def perceptual_hash(image: Image.Image) -> PerceptualHash:
    """The hash of a picture of 8-bit RGB, and its coarse colours."""
    grey = np.asarray(image.convert("L").resize((64, 64), Image.Resampling.BOX), dtype=np.float64)
    low = np.asarray(dctn(grey, norm="ortho"))[:16, :16].ravel()[1:]
    signs = np.where(low > np.median(low), 1, -1) if grey.std() >= _LEAST_CONTRAST else np.zeros(255)
    colours = np.asarray(image.resize((16, 16), Image.Resampling.BOX))
    return PerceptualHash(signs.astype(np.float32), colours)


def almost_alike(ones: Sequence[PerceptualHash], others: Sequence[PerceptualHash]) -> list[Alike]:
    """For each of the others the one that it is most alike, if it is almost; the most alike first."""
    if not ones or not others:
        return []
    theirs = np.stack([other.signs for other in others])
    nearest, bits = np.zeros(len(others), dtype=int), np.full(len(others), np.inf)
    for start in range(0, len(ones), _BLOCK):
        block = np.stack([one.signs for one in ones[start : start + _BLOCK]])
        # A flat picture's zeros make half of all bits differ.
        differing = (theirs.shape[1] - theirs @ block.T) / 2
        best = differing.argmin(axis=1)
        fewest = differing[np.arange(len(others)), best]
        nearest = np.where(fewest < bits, start + best, nearest)
        bits = np.minimum(fewest, bits)
    found = [
        Alike(int(nearest[place]), int(place), int(bits[place])) for place in np.nonzero(bits <= MOST_BITS)[0]
    ]
    return sorted(
        (pair for pair in found if _colours_differ(ones[pair.one], others[pair.other]) <= _MOST_COLOUR),
        key=lambda pair: (pair.bits, pair.other),
    )


def _colours_differ(one: PerceptualHash, other: PerceptualHash) -> float:
    return float(np.abs(one.colours.astype(int) - other.colours.astype(int)).mean())
