"""The data classes that pass between the parts of PixPNet, and the conventions that they share.

Conventions (said once, here):

* Pixel coordinates are continuous: pixel ``i`` covers ``[i, i + 1)`` and its centre is ``i + 0.5``.
* Boxes are half-open, ``(left, top, right, bottom)``. A point is in a box if ``left <= x < right`` and
  ``top <= y < bottom``. The empty box is ``(0, 0, 0, 0)``.
* Image sizes are ``(height, width)``; cells of a feature grid are ``(row, column)``.
* Images are floats in [0, 1] before normalisation.
* Shape letters: b batch, p prototypes, c classes, d channels, k kernel, h w grid, H W pixels, q parts.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple, Protocol, runtime_checkable

import numpy as np
from jaxtyping import Bool, Float


class Box(NamedTuple):
    """A half-open box of continuous pixel coordinates."""

    left: float
    top: float
    right: float
    bottom: float

    @property
    def area(self) -> float:
        return max(0.0, self.right - self.left) * max(0.0, self.bottom - self.top)

    def contains(self, x: float, y: float) -> bool:
        """Whether the point lies in the box.

        >>> Box(0, 0, 2, 2).contains(2, 1)
        False
        """
        return self.left <= x < self.right and self.top <= y < self.bottom


@dataclass(frozen=True)
class Reading:
    """How a picture's file becomes pixels, and a mask's file an object: what a data set's options say."""

    orientation: str = "apply"
    """Whether the orientation tags of cameras are obeyed ("apply"), or not ("ignore")."""
    max_pixels: int = 180_000_000
    """Larger pictures are refused."""
    bits: int | None = None
    """Of pictures stored in 16 bits that don't say how many they use; None: by each one's largest value."""
    mask_label: int | None = None
    """The number that the object has in masks; None: as `pixpnet.data.object_pixels` says."""


STANDARD = Reading()


@dataclass(frozen=True)
class ImageRecord:
    """One image of a data set, as the files of the data set describe it (pixels of the upright picture)."""

    image_id: str
    path: Path
    label: int
    box: Box | None = None
    part_points: Float[np.ndarray, "q 2"] | None = None
    """Continuous (x, y) of each part; meaningless where not visible."""
    part_visible: Bool[np.ndarray, "q"] | None = None
    mask: Path | None = None
    """Image of the same size: 0 where there is background, else the object."""
    group: str | None = None
    """What it shares with images that belong on the same side of a split: a patient, a camera."""
    reading: Reading = STANDARD


@dataclass(frozen=True)
class PrototypeSource:
    """The training patch that a prototype is, after projection."""

    prototype: int
    image_id: str
    path: str
    """Path of the image file; relative to the data set's root where it lies under it."""
    label: int
    class_name: str
    sha256: str
    """SHA-256 of the image file, in hexadecimal."""
    cell: tuple[int, int]
    """(row, column) of the patch's top-left cell in the grid of patches."""
    box: Box
    """The patch's receptive field in pixels of the network's input."""
    distance_before: float
    """The prototype's distance to this patch before it moved there."""
    trained: int | None = None
    """Its number in the trained network, where prototypes were edited by hand since."""

    @property
    def number(self) -> int:
        """What figures, tables, pages and `pixpnet prototypes` call it: its number in the trained network."""
        return self.prototype if self.trained is None else self.trained


class Normalization(NamedTuple):
    """Mean and standard deviation of red, green and blue, which images in [0, 1] are normalised with."""

    mean: tuple[float, float, float]
    std: tuple[float, float, float]


IMAGENET = Normalization((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))


@runtime_checkable
class Progress(Protocol):
    """Told, again and again, how far a long piece of work is."""

    def __call__(self, done: int, total: int, doing: str = "", /) -> None:
        """So much is done of so much (images, bytes, trials); ``doing`` says of what, where that changes."""
        ...


def no_progress(done: int, total: int, doing: str = "", /) -> None:
    """Nobody is told."""
