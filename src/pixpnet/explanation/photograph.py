"""The picture that a network's input was made of, as people see it: where boxes of the input lie in it."""

from __future__ import annotations

from dataclasses import dataclass

from jaxtyping import Float
from PIL import Image
from torch import Tensor

from pixpnet.data import Geometry, PictureSource, box_in_picture, load_image, object_window
from pixpnet.runs import Run
from pixpnet.types import Box, ImageRecord


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


def read_input(run: Run, image: PictureSource | Tensor) -> tuple[Float[Tensor, "3 H W"], Photograph | None]:
    """The network's input, and the picture that it was made of; None of a tensor.

    Raises:
        DataError: As `Run.input_of`.
    """
    if isinstance(image, Tensor):
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
