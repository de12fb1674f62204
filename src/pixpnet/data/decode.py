"""One reader of pictures: from what holds one (a file, bytes, an array, a Pillow image) to upright 8-bit RGB.

Files are told by what they hold, whatever their suffix, and only those of `FORMATS` are opened. In order: the
first frame or page of several; turned by the orientation tag (`Reading.orientation`); the colour profile, if
there is one, applied (to sRGB); more than 8 bits scaled to 8; what is transparent laid over white.

Scaling: what is stored in 16 bits says itself how many of them it uses (PNG: sBIT; TIFF: BitsPerSample; PNM
and JPEG 2000: always), else the data set does (`Reading.bits`), else the largest number: 256 to 1023 are of
10 bits, 1024 to 4095 of 12, and all else of 16, so that a picture that is nearly black stays dark. (TIFF's
MaxSampleValue tells what a picture holds, and by the standard not how it should look.)
"""

from __future__ import annotations

import io
import os
import re
import stat
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Protocol, runtime_checkable

import numpy as np
from PIL import Image

from pixpnet.data.opened import DAMAGE, DecodedPicture, OpenedPicture
from pixpnet.data.rgb import from_values
from pixpnet.errors import DataError
from pixpnet.types import STANDARD, Reading

FORMATS: dict[str, tuple[str, ...]] = {
    "AVIF": (".avif", ".avifs"),
    "BMP": (".bmp", ".dib"),
    "GIF": (".gif",),
    "JPEG": (".jpg", ".jpeg", ".jpe", ".jfif"),
    "JPEG2000": (".jp2", ".j2k", ".jpx", ".jpf", ".j2c", ".jpc"),
    "PNG": (".png", ".apng"),
    "PPM": (".ppm", ".pgm", ".pbm", ".pnm"),
    "TIFF": (".tif", ".tiff"),
    "WEBP": (".webp",),
}
"""The formats that are read, by Pillow's names, and the suffixes that files of them usually have."""

_SIGNATURES = {
    "AVIF": rb".{4}ftyp(avif|avis|mif1|msf1)",
    "BMP": rb"BM.{12}[\x0c\x10\x28\x34\x38\x40\x6c\x7c]\0\0\0",
    "GIF": rb"GIF8[79]a",
    "JPEG": rb"\xff\xd8\xff",
    "JPEG2000": rb"\xff\x4f\xff\x51|\0\0\0\x0cjP  \r\n\x87\n",
    "PNG": rb"\x89PNG\r\n\x1a\n",
    "PPM": rb"P[1-6]\s",
    "TIFF": rb"II\*\0|MM\0\*|II\+\0|MM\0\+",
    "WEBP": rb"RIFF.{4}WEBP",
}
"""How a file of each format begins."""


@runtime_checkable
class Readable(Protocol):
    """A file that was opened for reading bytes; it is read from its beginning, if it can go there."""

    def read(self) -> bytes:
        """All that is left in it."""
        ...


_TILE_WIDTH, _TILE_LENGTH = 322, 323
"""Tags of TIFF files."""

PictureSource = str | os.PathLike[str] | bytes | bytearray | memoryview | Readable | Image.Image | np.ndarray
"""A file, its bytes, an opened file or Pillow image, or an array: RGB (not BGR) [H W 3], RGBA [H W 4],
grey [H W] or [H W 1] or grey with alpha [H W 2], of whole numbers as of a file, or of floats in [0, 1]."""


def picture_format(path: Path | str) -> str | None:
    """The name in `FORMATS` of what a regular file holds, whatever its suffix; None: of none of them.

    It reads the first bytes only: the rest may be damaged.
    """
    try:
        if not stat.S_ISREG(os.stat(path).st_mode):
            return None
        with open(path, "rb") as file:
            return _format_of(file.read(32))
    except OSError:
        return None


def is_picture(path: Path | str) -> bool:
    """Whether a regular file holds a picture of one of `FORMATS`, by its first bytes."""
    return picture_format(path) is not None


def load_image(source: PictureSource, reading: Reading = STANDARD) -> Image.Image:
    """The picture as upright 8-bit RGB.

    Raises:
        DataError: Naming the file, or the kind of what came: missing, no regular file, none of `FORMATS`,
            damaged, larger than `reading.max_pixels`, or of numbers that have no range (floats beyond [0, 1],
            below 0, beyond 16 bits).
    """
    return read_picture(source, reading).image


def read_picture(source: PictureSource, reading: Reading = STANDARD) -> DecodedPicture:
    """The picture, and what there is to say of it; raises as `load_image`."""
    if isinstance(source, np.ndarray):
        with _naming("the array"):
            return DecodedPicture(from_values(source, None if source.dtype.kind == "f" else reading.bits))
    with open_picture(source, reading) as found:
        return found.decoded()


def picture_size(source: PictureSource, reading: Reading = STANDARD) -> tuple[int, int]:
    """(width, height) of the upright picture, from the head of the file; raises as `load_image`."""
    with open_picture(source, reading) as found:
        return found.size


def is_deep(source: Path, reading: Reading) -> bool:
    """Whether it is of more than 8 bits, and doesn't say of how many; False for what can't be read."""
    if picture_format(source) not in ("PNG", "TIFF"):
        return False
    try:
        with open_picture(source, reading) as found:
            return found.is_deep
    except DataError:
        return False


def highest_value(source: Path, reading: Reading) -> int:
    """The largest number of a colour or grey as it is stored; 0 for what can't be read."""
    try:
        with open_picture(source, reading) as found:
            return int(found.values().max())
    except DataError:
        return 0


def name_of(source: PictureSource, *, otherwise: str = "the image") -> str:
    """The path of a file; else words for it."""
    return os.fspath(source) if isinstance(source, (str, os.PathLike)) else otherwise


@contextmanager
def open_picture(
    source: PictureSource, reading: Reading = STANDARD, *, wanted: str = "an image"
) -> Iterator[OpenedPicture]:
    """The picture with its head read; what goes wrong while it is used is told of it (it is not `wanted`).

    Raises:
        DataError: As `load_image`.
    """
    name = name_of(source)
    with _naming(name, wanted), without_pillows_limit():
        if isinstance(source, Image.Image):
            _check_size(source, name, reading)
            yield OpenedPicture(source, reading, None)
            return
        with _bytes_of(source) as file:
            first = file.read(32)
            file.seek(0)
            form = _format_of(first)
            if form is None:
                raise ValueError(f"it holds none of {', '.join(FORMATS)}" if first else "it is empty")
            with Image.open(file, formats=(form,)) as image:
                _check_size(image, name, reading)
                yield OpenedPicture(image, reading, file)


def over_limit(name: str, size: tuple[int, int], reading: Reading) -> DataError:
    """What is said of a picture that is too large."""
    width, height = size
    count, limit = (
        f"{number / 1e6:,.0f} million" if number >= 1e7 else f"{number:,}"
        for number in (width * height, reading.max_pixels)
    )
    return DataError(
        f"{name} has {width} x {height} = {count} pixels, more than the limit of {limit}; make it "
        "smaller (with Pillow: image.reduce(2)), or "
        f"train with a higher limit (--dataset.max-pixels {width * height})."
    )


def _check_size(image: Image.Image, name: str, reading: Reading) -> None:
    if 0 in image.size:
        raise ValueError("it has no pixels")
    # The tiles of a TIFF file may be larger than the picture.
    tags = getattr(image, "tag_v2", {})
    tile = tags.get(_TILE_WIDTH, 0), tags.get(_TILE_LENGTH, 0)
    for width, height in (image.size, tile):
        if width * height > reading.max_pixels:
            raise over_limit(name, (width, height), reading)


def _format_of(first: bytes) -> str | None:
    return next((name for name, begins in _SIGNATURES.items() if re.match(begins, first, re.DOTALL)), None)


@contextmanager
def _naming(name: str, wanted: str = "an image") -> Iterator[None]:
    """Make what goes wrong with a picture an error that names it."""
    try:
        yield
    except FileNotFoundError:
        raise DataError(f"{name} is missing; wanted {wanted}.") from None
    except DAMAGE as error:
        raise DataError(f"{name} is not {wanted} that can be read: {str(error).rstrip('.')}.") from error


@contextmanager
def _bytes_of(source: PictureSource) -> Iterator[io.BytesIO | io.BufferedReader]:
    """The source as a file of bytes; only regular files are opened, as a pipe would wait for ever."""
    if isinstance(source, (str, os.PathLike)):
        mode = os.stat(source).st_mode
        if not stat.S_ISREG(mode):
            kind = "a folder" if stat.S_ISDIR(mode) else "no regular file (but a pipe, a socket or a device)"
            raise ValueError(f"it is {kind}")
        with open(source, "rb") as file:
            yield file
    elif isinstance(source, (bytes, bytearray, memoryview)):
        yield io.BytesIO(source)
    else:
        yield io.BytesIO(_all_bytes(source))


def _all_bytes(file: object) -> bytes:
    # Asked for, not looked up in its type: what wraps a file (as tempfile does) has it by delegation.
    read, seek = getattr(file, "read", None), getattr(file, "seek", None)
    if read is None:
        raise DataError(
            f"an image of type {type(file).__name__} came; wanted a path, a Pillow image, a numpy array "
            "(RGB [H, W, 3] or grey [H, W], of 8 or 16 bits or of floats in [0, 1]), bytes or a file."
        )
    if seek is not None:
        with suppress(OSError):  # of pipes and connections, which are read from where they are
            seek(0)
    data = read()
    if not isinstance(data, bytes):
        raise ValueError("the file is opened as text; open it with mode 'rb'")
    return data


_lifted_by: list[int | None] = []
_lifting = threading.Lock()


@contextmanager
def without_pillows_limit() -> Iterator[None]:
    """Let Pillow open and crop pictures of any size without a word; several threads may be inside."""
    with _lifting:
        # The first one in keeps what the last one out puts back.
        _lifted_by.append(Image.MAX_IMAGE_PIXELS if not _lifted_by else _lifted_by[0])
        Image.MAX_IMAGE_PIXELS = None
    try:
        yield
    finally:
        with _lifting:
            own = _lifted_by.pop()
            Image.MAX_IMAGE_PIXELS = None if _lifted_by else own
