"""Images that are decoded once: their 8-bit pixels after the first resize, in memory or in a file.

Every image has a slot of its own whose place is known from the start, and a checksum that is written after
its pixels. So processes fill and read the same slots without locks: the same image always gives the same
bytes, and what is not whole yet, or was damaged, does not fit its checksum and is decoded anew.

A file is shared with later runs and with runs at the same time. Its name tells the images, the geometry and
the state of the files that the images come from (path, size, times of modification and change), so a changed
image makes another file, and the old one is deleted.
"""

from __future__ import annotations

import hashlib
import logging
import mmap
import os
import shutil
import zlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import PIL
import torchvision
from PIL import Image

from pixpnet.data.spec import Geometry
from pixpnet.data.transforms import prepared_size
from pixpnet.errors import DataError
from pixpnet.memory import machine_memory
from pixpnet.types import ImageRecord

_logger = logging.getLogger(__name__)

MEMORY_SHARE = 4
"""The cache in memory takes at most one part in so many of the machine's (or the container's) memory."""

_FORMAT = "pixpnet pixels 2"


class Slots:
    """A checksum of 4 bytes for each slot (0: not filled yet), then the bytes, slot after slot.

    They lie in a file that has room for them, or else in memory that this process shares with those it forks;
    one that is spawned gets its own, empty. The lengths of the slots are in bytes.
    """

    def __init__(self, lengths: Sequence[int], *, path: Path | None = None) -> None:
        self._offsets = _slot_offsets(lengths)
        self._path = path
        self._is_checked = bytearray(len(lengths))
        self._is_full = False
        self._open()

    def _open(self) -> None:
        self._file = None if self._path is None else self._path.open("r+b", buffering=0)
        if self._file is None:
            self._bytes = mmap.mmap(-1, max(1, self._offsets[-1]))
        else:
            self._bytes = mmap.mmap(self._file.fileno(), 0, access=mmap.ACCESS_READ)

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in vars(self).items() if name not in ("_file", "_bytes")}

    def __setstate__(self, state: dict[str, Any]) -> None:
        vars(self).update(state)
        self._open()

    def get(self, slot: int) -> bytes | None:
        """The bytes, if the slot is filled and whole."""
        wanted = int.from_bytes(self._bytes[4 * slot : 4 * slot + 4], "little")
        if wanted == 0:
            return None
        data = self._bytes[self._offsets[slot] : self._offsets[slot + 1]]
        if not self._is_checked[slot]:
            if _checksum(data) != wanted:
                _logger.warning("What is kept in slot %d of %s is damaged.", slot, self._path or "memory")
                return None
            self._is_checked[slot] = 1
        return data

    def put(self, slot: int, data: bytes) -> None:
        """Keep the bytes, if they have the slot's length and there is room."""
        if self._is_full or len(data) != self._offsets[slot + 1] - self._offsets[slot]:
            return
        try:
            self._write(self._offsets[slot], data)
            self._write(4 * slot, _checksum(data).to_bytes(4, "little"))
        except OSError as error:
            self._is_full = True
            _logger.warning("No more images are kept: %s.", error)

    def _write(self, offset: int, data: bytes) -> None:
        if self._file is None:
            self._bytes[offset : offset + len(data)] = data
            return
        # A store to the mapping of a file would end the process where the disk is full.
        while data:
            written = os.pwrite(self._file.fileno(), data, offset)
            data, offset = data[written:], offset + written


class ImageCache:
    """The pixels of images, in the slots of a file or of memory.

    Args:
        records: The images, in the order of their slots.
        sizes: (width, height) of each after the first resize.
        path: As in `Slots`.
    """

    def __init__(
        self, records: Sequence[ImageRecord], sizes: Sequence[tuple[int, int]], *, path: Path | None = None
    ) -> None:
        self._slot_of = {record_key(record): slot for slot, record in enumerate(records)}
        self._sizes = sizes
        self._slots = Slots(_pixel_bytes(sizes), path=path)

    def __len__(self) -> int:
        return len(self._slot_of)

    def get(self, record: ImageRecord) -> Image.Image | None:
        """The image, if it has a slot that is filled and whole."""
        slot = self._slot_of.get(record_key(record))
        pixels = None if slot is None else self._slots.get(slot)
        return None if pixels is None else Image.frombytes("RGB", self._sizes[slot or 0], pixels)

    def put(self, record: ImageRecord, image: Image.Image) -> None:
        """Keep the image, if it has a slot of its size."""
        slot = self._slot_of.get(record_key(record))
        if slot is not None and image.size == self._sizes[slot]:
            self._slots.put(slot, image.tobytes())


def memory_cache(records: Sequence[ImageRecord], *, geometry: Geometry) -> ImageCache:
    """Images in memory: the first ones, as many as `memory_budget` has room for."""
    room, sizes = memory_budget(), []
    for record in records:
        width, height = prepared_size(record, geometry)
        room -= 3 * width * height + 4
        if room < 0:
            _logger.info("%d of %d images are kept in memory.", len(sizes), len(records))
            break
        sizes.append((width, height))
    return ImageCache(records[: len(sizes)], sizes)


def file_cache(records: Sequence[ImageRecord], *, geometry: Geometry) -> ImageCache:
    """Images in a file of the cache folder, made now if there is none for them.

    Raises:
        DataError: The folder cannot be written, or has no room; an image is missing or damaged.
    """
    sizes = [prepared_size(record, geometry) for record in records]
    path = shared_file(
        "images/*.pixels", records, geometry, lengths=_pixel_bytes(sizes), way_out="give --dataset.cache ram"
    )
    return ImageCache(records, sizes, path=path)


def shared_file(
    pattern: str,
    records: Sequence[ImageRecord],
    geometry: Geometry,
    *,
    lengths: Sequence[int],
    way_out: str,
    made_with: str = "",
) -> Path:
    """A file of the cache folder with a slot for each image, made now if there is none; older ones go.

    Args:
        pattern: Its path in the cache folder, with * for its name.
        records: In the order of the slots.
        geometry: Of the images.
        lengths: Bytes of each slot.
        way_out: What to do where there is no room.
        made_with: What else decides what is in the slots.

    Raises:
        DataError: The folder cannot be written, or has no room; an image is missing.
    """
    place = _place(records, geometry, made_with)
    path = cache_folder() / pattern.replace("*", f"{place}-{_state(records)}")
    try:
        _make_room(path, _slot_offsets(lengths)[-1], way_out)
        for old in cache_folder().glob(pattern.replace("*", f"{place}-*")):
            if old != path:
                old.unlink(missing_ok=True)
    except OSError as error:
        raise DataError(
            f"the cache {path} cannot be used ({error}); set PIXPNET_CACHE to a folder "
            f"that can be written, or {way_out}."
        ) from error
    return path


CACHES: dict[str, Callable[..., ImageCache | None]] = {
    "ram": memory_cache,
    "disk": file_cache,
    "none": lambda records, *, geometry: None,
}
"""What `dataset.cache` chooses from; each takes the images and their geometry."""


def cache_folder() -> Path:
    """$PIXPNET_CACHE, else $XDG_CACHE_HOME/pixpnet, else ~/.cache/pixpnet."""
    chosen = os.environ.get("PIXPNET_CACHE")
    if chosen:
        return Path(chosen)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "pixpnet"


def memory_budget() -> int:
    """Bytes for the cache of one training process: its part of a quarter of the memory there is."""
    return machine_memory() // MEMORY_SHARE // max(1, int(os.environ.get("LOCAL_WORLD_SIZE", "1")))


def _make_room(path: Path, length: int, way_out: str) -> None:
    """Give the file its length; what is there stays, and what is new are zeros: empty slots."""
    path.parent.mkdir(parents=True, exist_ok=True)
    found = path.stat().st_size if path.exists() else 0
    if found not in (0, length):
        _logger.warning("%s is damaged; what is missing in it is decoded anew.", path)
    free = shutil.disk_usage(path.parent).free
    if length - found > free:
        raise DataError(
            f"decoded, the images take {length / 1e9:.1f} GB, {path.parent} has {free / 1e9:.1f} GB free; "
            f"set PIXPNET_CACHE to a folder with more room, or {way_out}."
        )
    with path.open("ab") as file:
        file.truncate(length)


def _place(records: Sequence[ImageRecord], geometry: Geometry, made_with: str) -> str:
    """Which images, from where, at which size: what stays the same when a file changes."""
    digest = hashlib.sha256(repr((geometry.to_box, geometry.resize, geometry.crop)).encode())
    digest.update(made_with.encode())
    for record in records:
        digest.update(repr((record.image_id, str(record.path.absolute()))).encode())
    return digest.hexdigest()[:16]


def _state(records: Sequence[ImageRecord]) -> str:
    """The state of the images' files and boxes, and of the programs that decode and resize them."""
    digest = hashlib.sha256(repr((_FORMAT, PIL.__version__, torchvision.__version__)).encode())
    for record in records:
        try:
            state = record.path.stat()
        except OSError:
            raise DataError(f"{record.path} is missing; wanted an image.") from None
        # A copy with the old times, or an archive that is unpacked again, has another time of change.
        digest.update(
            repr((state.st_size, state.st_mtime_ns, state.st_ctime_ns, record.box, record.reading)).encode()
        )
    return digest.hexdigest()[:16]


def _pixel_bytes(sizes: Sequence[tuple[int, int]]) -> list[int]:
    return [3 * width * height for width, height in sizes]


def _slot_offsets(lengths: Sequence[int]) -> list[int]:
    """Where the bytes of each slot begin, and where the last ones end."""
    return np.cumsum([4 * len(lengths), *lengths]).tolist()


def _checksum(data: bytes) -> int:
    """CRC-32, but never 0, which means that there is nothing."""
    return zlib.crc32(data) or 1


def record_key(record: ImageRecord) -> tuple[str, str]:
    """What tells an image from all others of its set."""
    return record.image_id, str(record.path)
