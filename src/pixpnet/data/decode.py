"""From what holds a picture to 8-bit RGB: which formats are read, and how a file tells its own."""

from __future__ import annotations

import re
import stat
from pathlib import Path

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


def picture_format(path: Path | str) -> str | None:
    """The name in `FORMATS` of what a regular file holds, whatever its suffix; None: of none of them.

    It reads the first bytes only: the rest may be damaged.
    """
    path = Path(path)
    try:
        if not stat.S_ISREG(path.stat().st_mode):
            return None
        with path.open("rb") as file:
            first = file.read(32)
    except OSError:
        return None
    return next((name for name, begins in _SIGNATURES.items() if re.match(begins, first, re.DOTALL)), None)


def is_picture(path: Path | str) -> bool:
    """Whether a regular file holds a picture of one of `FORMATS`, by its first bytes."""
    return picture_format(path) is not None
