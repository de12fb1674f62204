"""From the record of an image to the pixels that training and evaluation share."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

from PIL import Image

from pixpnet.data.decode import load_image, picture_size, without_pillows_limit
from pixpnet.data.spec import Geometry
from pixpnet.data.transforms import first_size, object_window
from pixpnet.errors import DataError
from pixpnet.types import ImageRecord, Progress, no_progress


def load_window(record: ImageRecord, *, geometry: Geometry) -> tuple[Image.Image, tuple[int, int, int, int]]:
    """The part of a record's image that the geometry starts from, and which part of the picture that is.

    Raises:
        DataError: As `load_image`; the object's box is wanted but missing or outside.
    """
    image = load_image(record.path, record.reading)
    window = _window(record, image.size, geometry)
    if not geometry.to_box:
        return image, window
    with without_pillows_limit():
        return image.crop(window), window


def prepared_size(record: ImageRecord, geometry: Geometry) -> tuple[int, int]:
    """(width, height) after the first resize, without decoding the image.

    Raises:
        DataError: As `load_window`.
    """
    if isinstance(geometry.resize, tuple):
        return geometry.resize[1], geometry.resize[0]
    size = picture_size(record.path, record.reading)
    left, top, right, bottom = _window(record, size, geometry)
    return first_size((right - left, bottom - top), geometry)


def _window(record: ImageRecord, size: tuple[int, int], geometry: Geometry) -> tuple[int, int, int, int]:
    return object_window(record, size) if geometry.to_box else (0, 0, *size)


def unreadable(
    records: Sequence[ImageRecord], *, threads: int = 4, progress: Progress = no_progress
) -> dict[str, str]:
    """Why images cannot be decoded, by the ids of those that cannot."""

    def fault(record: ImageRecord) -> str | None:
        try:
            load_image(record.path, record.reading)
        except DataError as error:
            return str(error)
        return None

    found = {}
    with ThreadPoolExecutor(threads) as pool:
        for done, (record, reason) in enumerate(zip(records, pool.map(fault, records), strict=True), start=1):
            if reason is not None:
                found[record.image_id] = reason
            progress(done, len(records), "reading images")
    return found
