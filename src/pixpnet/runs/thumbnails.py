"""The training images that prototypes come from, kept in the run as the network sees them.

With them a run can be moved, mailed and deployed without its data set, and still show both sides.
"""

from __future__ import annotations

import logging
import sys
from collections.abc import Iterable
from functools import partial
from pathlib import Path

import numpy as np
from jaxtyping import UInt8

from pixpnet.data import ClassificationImages, load_image, picture_format, picture_size
from pixpnet.errors import DataError
from pixpnet.files import sha256_of, write_atomically
from pixpnet.runs.directory import RunDirectory
from pixpnet.types import PrototypeSource, Reading

_AS_IT_IS = Reading(orientation="ignore", max_pixels=sys.maxsize)
"""The head of a file is read whatever it says; no pixel is before its size is known to be the network's."""

_logger = logging.getLogger(__name__)


def keep_thumbnails(
    directory: RunDirectory, sources: Iterable[PrototypeSource], images: ClassificationImages
) -> None:
    """Write the training image of each source into the run once: 8-bit RGB of the network's size, lossless.

    What is gone or has changed since a prototype was projected onto it is not kept, and a warning says so.

    Args:
        directory: The run.
        sources: Of the prototypes of all networks that the run has kept.
        images: The training images, as they are projected onto.

    Raises:
        FileError: One can't be written.
    """
    position = {record.image_id: index for index, record in enumerate(images.records)}
    for source in {directory.thumbnail_file(source): source for source in sources}.values():
        index = position.get(source.image_id)
        if index is None or not _is_source(images.records[index].path, source):
            _logger.warning("%s is not kept: it is not what its prototype was projected onto", source.path)
            continue
        picture = images.pixels(index)
        write_atomically(directory.thumbnail_file(source), partial(picture.save, format="PNG"))


def _is_source(path: Path, source: PrototypeSource) -> bool:
    return path.is_file() and sha256_of(path) == source.sha256


def read_thumbnail(path: Path, *, image_size: tuple[int, int]) -> UInt8[np.ndarray, "H W 3"]:
    """A kept image; the file is believed nothing.

    Raises:
        DataError: It is no ordinary PNG file of the network's (height, width), or damaged.
    """
    try:
        if picture_format(path) != "PNG":
            raise DataError(f"{path} is no ordinary PNG file.")
        width, height = picture_size(path, _AS_IT_IS)
        if (height, width) != image_size:
            raise DataError(
                f"{path} has {width} x {height} pixels; wanted {image_size[1]} x {image_size[0]}, as the "
                "network takes."
            )
        return np.asarray(load_image(path, _AS_IT_IS))
    except DataError as error:
        raise DataError(
            f"{error} It is the run's own copy of a training image; without it the data set's is taken."
        ) from error
