"""Pictures of a report: each is in the file once, and shown whole, framed or cropped by CSS."""

from __future__ import annotations

import base64
import io
from dataclasses import dataclass

import numpy as np
from jaxtyping import UInt8
from PIL import Image

from pixpnet.types import Box

ENCODINGS = ((None, 92), (160, 86), (112, 82), (80, 76))
"""(longer side in pixels, none: as it is; JPEG quality), from the best to the smallest."""

BUDGET = 8_000_000
"""Bytes of JPEG files that a report may hold; base64 adds a third."""


@dataclass(frozen=True)
class Patch:
    """A box of a picture of the album, as values of CSS."""

    picture: str
    """Class name of the picture."""
    frame: str
    """Position and size of the box over the whole picture."""
    crop: str
    """Scale and position of the picture so that the box alone shows."""


def patch(picture: str, box: Box, *, image_size: tuple[int, int]) -> Patch:
    """A box, in pixels of a picture of that (height, width).

    >>> patch("i0", Box(0, 32, 64, 64), image_size=(64, 128)).frame
    'left:0%;top:50%;width:50%;height:50%'
    """
    height, width = image_size
    wide, high = max(box.right - box.left, 1.0), max(box.bottom - box.top, 1.0)
    frame = (
        f"left:{_percent(box.left, width)};top:{_percent(box.top, height)};"
        f"width:{_percent(wide, width)};height:{_percent(high, height)}"
    )
    crop = (
        f"width:{_percent(min(wide, high), high)};aspect-ratio:{wide:g}/{high:g};"
        f"background-size:{_percent(width, wide)} {_percent(height, high)};"
        f"background-position:{_percent(box.left, width - wide)} {_percent(box.top, height - high)}"
    )
    return Patch(picture, frame, crop)


def _percent(part: float, whole: float) -> str:
    return f"{100 * part / whole:.4g}%" if whole > 0 else "0%"


class Album:
    """The pictures of one report, by the names of their CSS classes."""

    def __init__(self, *, budget: int = BUDGET) -> None:
        self._budget = budget
        self._names: dict[str, str] = {}
        self._files: dict[str, bytes] = {}

    def __contains__(self, key: str) -> bool:
        return key in self._names

    def __getitem__(self, key: str) -> str:
        return self._names[key]

    def add(self, key: str, pixels: UInt8[np.ndarray, "H W 3"]) -> str:
        """Keep a picture under a key, unless it is there, and return its class name."""
        if key not in self._names:
            name = f"i{len(self._names)}"
            self._names[key] = name
            self._files[name] = _jpeg(Image.fromarray(pixels), *ENCODINGS[0])
        return self._names[key]

    def data_uris(self) -> dict[str, str]:
        """The pictures by class name, in the best encoding that keeps all of them within the budget."""
        files = self._files
        for side, quality in ENCODINGS[1:]:
            if sum(map(len, files.values())) <= self._budget:
                break
            files = {name: _jpeg(_open(file), side, quality) for name, file in self._files.items()}
        return {
            name: f"data:image/jpeg;base64,{base64.b64encode(file).decode()}" for name, file in files.items()
        }


def _open(file: bytes) -> Image.Image:
    return Image.open(io.BytesIO(file))


def _jpeg(image: Image.Image, side: int | None, quality: int) -> bytes:
    if side is not None and max(image.size) > side:
        image = image.copy()
        image.thumbnail((side, side), Image.Resampling.LANCZOS)
    file = io.BytesIO()
    image.save(file, "JPEG", quality=quality, subsampling=0)
    return file.getvalue()
