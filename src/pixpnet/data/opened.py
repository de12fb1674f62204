"""A picture whose file is open: which way it is up, and its numbers with all the bits that are stored."""

from __future__ import annotations

import io
import os
import struct
import sys
import zlib
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Shaped
from PIL import ExifTags, Image

from pixpnet.data.rgb import from_values, over_white, range_bits, to_srgb
from pixpnet.types import Reading

DAMAGE = (
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
"""What Pillow raises of files that are no pictures, or not whole."""
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
_OTHER_BYTES = {2: "RGB;16L", 4: "RGBA", 6: "RGBA;16L"}
"""By the colour type of a PNG file of 16 bits: as what Pillow keeps the bytes that it leaves out.

The upper bytes come first, so what takes the second of two as the upper one takes the lower one.
"""
_BITS_PER_SAMPLE, _PHOTOMETRIC = 258, 262
"""Tags of TIFF files; the second is 0 where the number 0 is white."""


TAGGED = "an orientation tag"


class DecodedPicture(NamedTuple):
    """A picture, and what a person may want to know of how it was read, to follow "a picture with ..."."""

    image: Image.Image
    """Upright 8-bit RGB."""
    notes: tuple[str, ...] = ()
    """What it says of itself."""
    doubts: tuple[str, ...] = ()
    """What was left aside or guessed: further frames, a broken colour profile, how many bits are used."""


class OpenedPicture:
    """A picture whose head has been read, as Pillow opened it from a file (None: it came opened)."""

    def __init__(
        self, image: Image.Image, reading: Reading, file: io.BytesIO | io.BufferedReader | None
    ) -> None:
        self.image, self.reading, self._file = image, reading, file
        self.png = _PngHead(file) if file is not None and image.format == "PNG" else None
        # Pillow turns TIFF files itself when it loads them, and forgets the tag.
        self._turns_itself = image.format == "TIFF"
        self._tag = _orientation(image) if self._turns_itself else 0
        self._other_bytes = self._find_other_bytes()

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

    def decoded(self) -> DecodedPicture:
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
            image = from_values(self._with_alpha(values), bits)
            image.info["icc_profile"] = self.image.info.get("icc_profile")
        shown, is_broken = to_srgb(image)
        if is_broken:
            doubts.append("a broken colour profile, which is left aside")
        shown = over_white(shown)
        # Without the tags, or it would be turned again by whoever reads it again.
        shown = shown.copy() if shown is self.image else shown
        shown.info.clear()
        if self._has_frames():
            doubts.append("several frames, of which the first is read")
        return DecodedPicture(shown, tuple(notes), tuple(doubts))

    def _has_frames(self) -> bool:
        """Whether it is the first of several; not what cameras add to JPEG files. It may leave that frame."""
        if self.image.format == "MPO" or self.image.tell() > 0:
            return False
        try:
            return getattr(self.image, "is_animated", False)
        except DAMAGE:  # in what isn't read
            return True

    @property
    def is_deep(self) -> bool:
        """Whether the numbers are stored in 16 bits, and nothing says how many of them are used."""
        if self.png is not None:
            return self.png.depth == 16 and self.png.stated_bits is None
        return (
            self._has_many_bits
            and self._turns_itself
            and max(self._tiff_tag(_BITS_PER_SAMPLE) or (16,)) == 16
        )

    @property
    def _has_many_bits(self) -> bool:
        return self.image.mode.startswith("I") or self._other_bytes is not None

    def _find_other_bytes(self) -> str | None:
        """As what Pillow keeps those bytes of 16 bits with colour or alpha that it leaves out otherwise."""
        if self.png is not None:
            return _OTHER_BYTES.get(self.png.colour_type) if self.png.depth == 16 else None
        parts = {part.args[0] for part in getattr(self.image, "tile", ())} if self._turns_itself else set()
        layout = parts.pop() if len(parts) == 1 else ""
        if self._file is None or layout[:-1] not in ("RGB;16", "RGBA;16"):
            return None
        order = layout[-1].replace("N", "L" if sys.byteorder == "little" else "B")
        return layout[:-1] + ("B" if order == "L" else "L")

    def values(self) -> Shaped[np.ndarray, "H W n"]:
        """The numbers as they are stored, upright; 0 is black."""
        if self._other_bytes is None:
            values = np.asarray(self.upright()).astype(np.int64)
            values = values.reshape(*values.shape[:2], -1)
            # Pillow inverts TIFF files whose 0 is white, but not those of 16 bits.
            if self.image.mode.startswith("I;16") and self._tiff_tag(_PHOTOMETRIC) == 0:
                bits = self._bits(values)
                values = 2 ** (16 if bits is None else bits) - 1 - values
            return values
        high, low = self.upright(), self._low_bytes()
        if self._other_bytes == "RGBA":
            high_grey, low_grey, high_alpha, low_alpha = np.moveaxis(np.asarray(low, np.uint16), 2, 0)
            return np.stack([256 * high_grey + low_grey, 256 * high_alpha + low_alpha], axis=2)
        return 256 * np.asarray(high, np.uint16) + np.asarray(low, np.uint16)

    def _low_bytes(self) -> Image.Image:
        """Of 16 bits with colour: what Pillow leaves out; of grey with alpha: all four bytes."""
        assert self._file is not None
        self._file.seek(0)
        with Image.open(io.BytesIO(self._file.read()), formats=(self.image.format or "",)) as image:
            other = self._other_bytes
            image.tile = [
                part._replace(args=other if self.png is not None else (other, *part.args[1:]))
                for part in image.tile
            ]
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

    def __init__(self, file: io.BytesIO | io.BufferedReader) -> None:
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


def _orientation(image: Image.Image) -> int:
    """The tag of the picture as far as it is read; 1 where there is none, or nothing that can be read."""
    try:
        # A PNG file's own getexif reads all its pixels first.
        return int(Image.Image.getexif(image).get(ExifTags.Base.Orientation, 1))
    except (*DAMAGE, TypeError):
        return 1
