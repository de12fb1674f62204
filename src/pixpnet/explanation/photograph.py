"""The picture that a network's input was made of, as people see it: where boxes of the input lie in it."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from jaxtyping import Float, Float32, UInt8
from PIL import Image
from torch import Tensor

from pixpnet.data import Geometry, PictureSource, box_in_picture, load_image, map_in_picture, object_window
from pixpnet.runs import Run, is_normalized
from pixpnet.types import Box, ImageRecord

_LONGEST = 1024


@dataclass(frozen=True, eq=False)
class Photograph:
    """An upright picture, and how the network's input was made of it."""

    image: Image.Image
    """8-bit RGB as it is displayed: turned by its orientation tag, where the run's data set does that."""
    window: tuple[int, int, int, int]
    """The part of it that the geometry starts from: all of it, or the object's box."""
    geometry: Geometry

    def box(self, box: Box) -> Box:
        """The pixels that can reach a box of the input; as `box_in_picture`."""
        return box_in_picture(box, self.window, self.geometry)

    @cached_property
    def shown(self) -> UInt8[np.ndarray, "h w 3"]:
        """The picture for figures, its longer side at most 1,024 pixels."""
        image = self.image.copy()
        image.thumbnail((_LONGEST, _LONGEST), Image.Resampling.LANCZOS, reducing_gap=None)
        return np.asarray(image)

    def shown_box(self, box: Box) -> Box:
        """`box` in the picture that is shown."""
        across, down = (shown / side for shown, side in zip(self._shown_size, self.image.size, strict=True))
        left, top, right, bottom = self.box(box)
        return Box(left * across, top * down, right * across, bottom * down)

    def shown_map(self, values: Float32[np.ndarray, "H W"]) -> Float32[np.ndarray, "h w"]:
        """A map over the input, over the picture that is shown; its least value where nothing was seen."""
        whole = Image.fromarray(map_in_picture(values, self.image.size, self.window, self.geometry))
        return np.asarray(whole.resize(self._shown_size, Image.Resampling.BILINEAR))

    @property
    def _shown_size(self) -> tuple[int, int]:
        return (self.shown.shape[1], self.shown.shape[0])


def read_input(run: Run, image: PictureSource | Tensor) -> tuple[Float[Tensor, "3 H W"], Photograph | None]:
    """The network's input, and the picture that it was made of; None where it is such input already.

    Raises:
        DataError: As `Run.input_of`.
    """
    if is_normalized(image):
        return run.input_of(image), None
    upright = run.upright(image)
    return run.input_of_pixels(upright), Photograph(upright, (0, 0, *upright.size), run.geometry)


def read_test_input(run: Run, record: ImageRecord) -> tuple[Float[Tensor, "3 H W"], Photograph]:
    """The same of an image of the run's data set, which may be cropped to its object.

    Raises:
        DataError: The image can't be read.
    """
    upright, geometry = load_image(record.path, record.reading), run.geometry
    window = object_window(record, upright.size) if geometry.to_box else (0, 0, *upright.size)
    return run.input_of_pixels(upright.crop(window)), Photograph(upright, window, geometry)
