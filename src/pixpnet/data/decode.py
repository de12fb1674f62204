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
import logging
import os
import re
import stat
import struct
import threading
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple, Protocol, runtime_checkable

import numpy as np
from jaxtyping import Shaped
from PIL import ExifTags, Image, ImageCms

from pixpnet.errors import DataError
from pixpnet.types import STANDARD, Reading

_logger = logging.getLogger(__name__)

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

_DAMAGE = (
    OSError,
    SyntaxError,
    ValueError,
    EOFError,
    IndexError,
    KeyError,
    RuntimeError,
    struct.error,
    zlib.error,
)
_T = Image.Transpose
_TURNS = {
    2: _T.FLIP_LEFT_RIGHT,
    3: _T.ROTATE_180,
    4: _T.FLIP_TOP_BOTTOM,
    5: _T.TRANSPOSE,
    6: _T.ROTATE_270,
    7: _T.TRANSVERSE,
    8: _T.ROTATE_90,
}
"""What makes a picture upright, by its orientation tag (EXIF 2.3, 4.6.4)."""
_BACK = {**_TURNS, 6: _T.ROTATE_90, 8: _T.ROTATE_270}
_GREY_WITH_ALPHA = 4
_OTHER_BYTES = {2: "RGB;16L", _GREY_WITH_ALPHA: "RGBA", 6: "RGBA;16L"}
"""By the colour type of a PNG file of 16 bits: as what Pillow keeps the bytes that it leaves out."""
_BITS_PER_SAMPLE, _PHOTOMETRIC, _TILE_WIDTH, _TILE_LENGTH = 258, 262, 322, 323
"""Tags of TIFF files; the second is 0 where the number 0 is white."""


TAGGED = "an orientation tag"


class Picture(NamedTuple):
    """A picture, and what a person may want to know of how it was read, to follow "a picture with ..."."""

    image: Image.Image
    """Upright 8-bit RGB."""
    notes: tuple[str, ...] = ()
    """What it says of itself."""
    doubts: tuple[str, ...] = ()
    """What was left aside or guessed: further frames, a broken colour profile, how many bits are used."""


@runtime_checkable
class Readable(Protocol):
    """A file that was opened for reading bytes."""

    def read(self) -> bytes:
        """All that is left in it."""
        ...


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


def read_picture(source: PictureSource, reading: Reading = STANDARD) -> Picture:
    """The picture, and what there is to say of it; raises as `load_image`."""
    if isinstance(source, np.ndarray):
        with _naming("the array"):
            return Picture(_from_values(source, None if source.dtype.kind == "f" else reading.bits))
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


class OpenedPicture:
    """A picture whose head has been read.

    Args:
        image: As Pillow opened it.
        reading: How it is to be read.
        file: What it is read from, where that is known.
    """

    def __init__(self, image: Image.Image, reading: Reading, file: io.BufferedIOBase | None) -> None:
        self.image, self.reading = image, reading
        self.png = _PngHead(file) if file is not None and image.format == "PNG" else None
        # Pillow turns TIFF files itself when it loads them, and forgets the tag.
        self._turns_itself = image.format == "TIFF"
        self._tag = _orientation(image) if self._turns_itself else 0

    @property
    def size(self) -> tuple[int, int]:
        """(width, height) of the upright picture."""
        if self.png is not None and self.png.has_late_notes:
            self.image.load()
        width, height = self.image.size
        turn = self._turn(_orientation(self.image))
        swaps = turn in (_T.TRANSPOSE, _T.ROTATE_270, _T.TRANSVERSE, _T.ROTATE_90)
        return (height, width) if swaps else (width, height)

    def _turn(self, tag: int) -> Image.Transpose | None:
        """What is to be done with the pixels that Pillow gives."""
        if self._turns_itself:
            return _BACK.get(self._tag) if self.reading.orientation == "ignore" else None
        return _TURNS.get(tag) if self.reading.orientation == "apply" else None

    def upright(self) -> Image.Image:
        """The pixels as they are stored, but upright."""
        self.image.load()
        turn = self._turn(_orientation(self.image))
        return self.image if turn is None else self.image.transpose(turn)

    def decoded(self) -> Picture:
        """The picture as 8-bit RGB."""
        image, notes, doubts = self.upright(), [], []
        if (self._tag or _orientation(self.image)) in _TURNS:
            notes.append(TAGGED)
        if image.mode == "F":
            raise ValueError("its pixels are floats, whose range is unknown; save it with 8 or 16 bits")
        if self._has_many_bits:
            values = self.values()
            bits = self._bits(values)
            if bits is not None and 8 < bits < 16:
                is_guess = self.is_deep and self.reading.bits is None
                (doubts if is_guess else notes).append(f"numbers of {bits} bits in 16")
            image = _from_values(self._with_alpha(values), bits)
            image.info["icc_profile"] = self.image.info.get("icc_profile")
        shown, is_broken = _to_srgb(image)
        if is_broken:
            doubts.append("a broken colour profile, which is left aside")
        shown = _over_white(shown)
        # Without the tags, or it would be turned again by whoever reads it again.
        shown = shown.copy() if shown is self.image else shown
        shown.info.clear()
        if self._has_frames():
            doubts.append("several frames, of which the first is read")
        return Picture(shown, tuple(notes), tuple(doubts))

    def _has_frames(self) -> bool:
        """Whether there is more to it; not what cameras add to JPEG files. It may leave the first frame."""
        try:
            return self.image.format != "MPO" and getattr(self.image, "is_animated", False)
        except _DAMAGE:  # in what isn't read
            return True

    @property
    def is_deep(self) -> bool:
        """Whether the numbers are stored in 16 bits, and nothing says how many of them are used."""
        if self.png is not None:
            return self.png.depth == 16 and self.png.stated_bits is None
        return self.image.mode.startswith("I;16") and self._tiff_tag(_BITS_PER_SAMPLE) in (None, (16,))

    @property
    def _has_many_bits(self) -> bool:
        return self.image.mode.startswith("I") or (self.png is not None and self.png.depth == 16)

    def values(self) -> Shaped[np.ndarray, "H W n"]:
        """The numbers as they are stored, upright; 0 is black."""
        if self.png is None or self.png.depth < 16 or self.png.colour_type == 0:
            values = np.asarray(self.upright()).astype(np.int64)
            values = values.reshape(*values.shape[:2], -1)
            # Pillow inverts TIFF files whose 0 is white, but not those of 16 bits.
            if self.image.mode.startswith("I;16") and self._tiff_tag(_PHOTOMETRIC) == 0:
                bits = self._bits(values)
                values = 2 ** (16 if bits is None else bits) - 1 - values
            return values
        high, low = self.upright(), self._low_bytes()
        if self.png.colour_type == _GREY_WITH_ALPHA:
            high_grey, low_grey, high_alpha, low_alpha = np.moveaxis(np.asarray(low, np.uint16), 2, 0)
            return np.stack([256 * high_grey + low_grey, 256 * high_alpha + low_alpha], axis=2)
        return 256 * np.asarray(high, np.uint16) + np.asarray(low, np.uint16)

    def _low_bytes(self) -> Image.Image:
        """Of a 16-bit PNG file with colour: what Pillow leaves out; of grey with alpha: all four bytes."""
        assert self.png is not None
        with Image.open(io.BytesIO(self.png.read_all()), formats=("PNG",)) as image:
            image.tile = [part._replace(args=_OTHER_BYTES[self.png.colour_type]) for part in image.tile]
            image.load()
        turn = self._turn(_orientation(self.image))
        return image if turn is None else image.transpose(turn)

    def _with_alpha(self, values: Shaped[np.ndarray, "H W n"]) -> Shaped[np.ndarray, "H W m"]:
        """What has one transparent colour gets an alpha channel of 16 bits."""
        transparent = self.image.info.get("transparency")
        if transparent is None or values.shape[2] not in (1, 3):
            return values
        opaque = (values != transparent).any(axis=2, keepdims=True)
        return np.concatenate([values.astype(np.uint16), opaque * np.uint16(65535)], axis=2)

    def _bits(self, values: Shaped[np.ndarray, "H W n"]) -> int | None:
        """How many bits the numbers use; None: nothing says."""
        if self.image.format in ("PPM", "JPEG2000"):  # Pillow has scaled them to 16
            return 16
        colours = values[:, :, : 3 if values.shape[2] > 2 else 1]
        stated = self.png.stated_bits if self.png is not None else None
        if stated is not None:
            # By the standard they are scaled to 16 bits, but some programs leave them as they were.
            is_scaled = colours.max() >= 2**stated or not (colours % 2 ** (16 - stated)).any()
            return 16 if is_scaled else stated
        stored = self._tiff_tag(_BITS_PER_SAMPLE)
        if stored and stored[0] < 16:
            return stored[0]
        if self.reading.bits is not None:
            return self.reading.bits
        # Before version 11, Pillow reads 16-bit PNG files as 32 bits; PNG has no more than 16.
        is_short = self.image.mode != "I" or self.image.format == "PNG"
        return range_bits(int(colours.max())) if is_short else None

    def _tiff_tag(self, number: int) -> Any:
        tags = getattr(self.image, "tag_v2", None) if self._turns_itself else None
        return None if tags is None else tags.get(number)


class _PngHead:
    """What the chunks of a PNG file say beside its pixels (ISO/IEC 15948, 11)."""

    def __init__(self, file: io.BufferedIOBase) -> None:
        self._file = file
        place = file.tell()
        file.seek(24)
        self.depth, self.colour_type = file.read(2)
        file.seek(place)

    @property
    def stated_bits(self) -> int | None:
        """The most significant bits of a colour."""
        chunk = self._chunks().get(b"sBIT")
        if not chunk:
            return None
        return max(chunk[: 3 if self.colour_type in (2, 6) else 1])

    @property
    def has_late_notes(self) -> bool:
        """Whether what may say how the picture is turned stands behind its pixels."""
        return b"late" in self._chunks()

    def read_all(self) -> bytes:
        self._file.seek(0)
        return self._file.read()

    def _chunks(self) -> dict[bytes, bytes]:
        """The chunk that tells of bits; "late" where there is a note behind the pixels."""
        place, found, has_pixels = self._file.tell(), {}, False
        self._file.seek(8)
        while len(head := self._file.read(8)) == 8:
            length, name = struct.unpack(">I4s", head)
            if name == b"sBIT" and length <= 4:
                found[name] = self._file.read(length)
                length = 0
            has_pixels = has_pixels or name == b"IDAT"
            if has_pixels and name in (b"eXIf", b"iTXt", b"zTXt", b"tEXt"):
                found[b"late"] = b""
            self._file.seek(length + 4, os.SEEK_CUR)
        self._file.seek(place)
        return found


@contextmanager
def open_picture(
    source: PictureSource, reading: Reading = STANDARD, *, wanted: str = "an image"
) -> Iterator[OpenedPicture]:
    """The picture with its head read; what goes wrong while it is used is told of it.

    Args:
        source: Where it is.
        reading: How it is read.
        wanted: What it should be, for the errors.

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
    return DataError(
        f"{name} has {width} x {height} = {width * height / 1e6:,.0f} million pixels, more than the limit "
        f"of {reading.max_pixels / 1e6:,.0f} million; make it smaller (with Pillow: image.reduce(2)), or "
        f"train with a higher limit (--dataset.max-pixels {width * height})."
    )


def _check_size(image: Image.Image, name: str, reading: Reading) -> None:
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
    except _DAMAGE as error:
        raise DataError(f"{name} is not {wanted} that can be read: {str(error).rstrip('.')}.") from error


@contextmanager
def _bytes_of(source: PictureSource) -> Iterator[io.BufferedIOBase]:
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
    elif isinstance(source, Readable):
        data = source.read()
        if not isinstance(data, bytes):
            raise ValueError("the file is opened as text; open it with mode 'rb'")
        yield io.BytesIO(data)
    else:
        raise DataError(
            f"an image of type {type(source).__name__} came; wanted a path, a Pillow image, a numpy array "
            "(RGB [H, W, 3] or grey [H, W], of 8 or 16 bits or of floats in [0, 1]), bytes or a file."
        )


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


def _orientation(image: Image.Image) -> int:
    """The tag of the picture as far as it is read; 1 where there is none, or nothing that can be read."""
    try:
        # A PNG file's own getexif reads all its pixels first.
        return int(Image.Image.getexif(image).get(ExifTags.Base.Orientation, 1))
    except (*_DAMAGE, TypeError):
        return 1


def range_bits(high: int) -> int:
    """How many bits numbers up to `high` use, where they are stored in 16: 10, 12, or else all.

    >>> range_bits(255), range_bits(1000), range_bits(4095), range_bits(4096)
    (16, 10, 12, 16)
    """
    return 10 if 255 < high <= 1023 else 12 if 1023 < high <= 4095 else 16


def _from_values(values: Shaped[np.ndarray, "..."], bits: int | None) -> Image.Image:
    """An array, of so many bits where it is of more than 8 (None: by its values), as RGB over white.

    Raises:
        ValueError: No picture has such a shape, type or range.
    """
    values = values[:, :, None] if values.ndim == 2 else values
    if values.ndim != 3 or not 1 <= values.shape[2] <= 4 or 0 in values.shape:
        raise ValueError(
            f"its shape is {list(values.shape)}; wanted [H, W, 3] (RGB), [H, W, 4] (RGBA) or [H, W] (grey)"
        )
    colours = 3 if values.shape[2] > 2 else 1
    shares = _shares(values[:, :, :colours], bits)
    if values.shape[2] in (2, 4):
        alpha = values[:, :, colours:]
        opacity = _shares(alpha, 16 if values.dtype == np.uint16 else None)
        shares = shares * opacity + (1 - opacity)
    levels = (shares * 255).round().astype(np.uint8)
    return Image.fromarray(np.broadcast_to(levels, (*levels.shape[:2], 3)).copy())


def _shares(values: Shaped[np.ndarray, "H W n"], bits: int | None) -> Shaped[np.ndarray, "H W n"]:
    """Numbers as shares of the largest that they can be."""
    if values.dtype in (np.uint8, np.bool_):
        return values / (255 if values.dtype == np.uint8 else 1)
    if values.dtype.kind not in "uif":
        raise ValueError(f"its numbers are of type {values.dtype}; wanted whole numbers, or floats in [0, 1]")
    low, high = values.min(), values.max()
    if values.dtype.kind == "f":
        if not (low >= 0 and high <= 1):  # nor NaN
            raise ValueError(f"its floats are from {low:g} to {high:g}; wanted them in [0, 1]")
        return values.astype(np.float64)
    is_short = values.dtype == np.uint16
    if bits is None:
        bits = 8 if high <= 255 and not is_short else range_bits(int(high))
    if low < 0 or high > 65535:
        raise ValueError(
            f"its pixels are whole numbers from {low} to {high}, whose range is unknown; "
            "save it with 8 or 16 bits"
        )
    if high >= 2**bits:
        raise ValueError(
            f"its pixels go up to {high}, beyond the {bits} bits that they are read with; give "
            f"dataset.bits {max(bits + 1, int(high).bit_length())} or leave it out"
        )
    return values / (2**bits - 1)


def _over_white(image: Image.Image) -> Image.Image:
    if image.mode == "RGB" and "transparency" not in image.info:
        return image
    if image.has_transparency_data:
        image = image.convert("RGBA")
        return Image.alpha_composite(Image.new("RGBA", image.size, "white"), image).convert("RGB")
    return image.convert("RGB")


def _to_srgb(image: Image.Image) -> tuple[Image.Image, bool]:
    """The picture by its colour profile, if it has one that isn't sRGB's own; and whether that is broken."""
    profile = image.info.get("icc_profile") or b""
    if profile and image.mode in ("P", "PA"):
        image = image.convert("RGBA" if image.has_transparency_data else "RGB")
    colours = {"LA": "L", "RGBA": "RGB"}.get(image.mode, image.mode)
    if image.mode != "LAB" and not (profile and colours in ("L", "RGB", "CMYK")):
        return image, False
    try:
        transform = _transform_to_srgb(profile, colours)
    except (ImageCms.PyCMSError, *_DAMAGE):
        return image, True
    if transform is None:
        return image, False
    if image.has_transparency_data:
        with_alpha = image.convert("LA" if colours == "L" else "RGBA")
        alpha = with_alpha.getchannel("A")
        shown = ImageCms.applyTransform(with_alpha.convert(colours), transform)
        assert shown is not None
        shown.putalpha(alpha)
        return shown, False
    shown = ImageCms.applyTransform(image, transform)
    assert shown is not None
    return shown, False


@lru_cache(maxsize=16)
def _transform_to_srgb(profile: bytes, mode: str) -> ImageCms.ImageCmsTransform | None:
    """From a profile (of Lab: its own) to sRGB; None where it is sRGB already."""
    if mode == "LAB":
        known = ImageCms.ImageCmsProfile(ImageCms.createProfile("LAB"))
    else:
        known = ImageCms.getOpenProfile(io.BytesIO(profile))
        if mode == "RGB" and ImageCms.getProfileDescription(known).strip().startswith("sRGB"):
            return None
    return ImageCms.buildTransform(
        known,
        ImageCms.createProfile("sRGB"),
        mode,
        "RGB",
        renderingIntent=ImageCms.Intent.RELATIVE_COLORIMETRIC,
        flags=ImageCms.Flags.BLACKPOINTCOMPENSATION,
    )
