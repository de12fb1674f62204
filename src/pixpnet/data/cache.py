"""Images that are decoded once: their 8-bit pixels after the first resize, in memory or in a file.

Every image has a slot of its own whose place is known from the start, and a checksum that is written after
its pixels. So processes fill and read the same slots without locks: the same image always gives the same
bytes, and what is not whole yet, or was damaged, does not fit its checksum and is decoded anew.
"""

from __future__ import annotations

import logging
import mmap
import os
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import Protocol, runtime_checkable

import numpy as np
from jaxtyping import Int, UInt8
from PIL import Image

from pixpnet.data.decode import prepared_size
from pixpnet.data.spec import Geometry
from pixpnet.types import ImageRecord

__all__ = ["ImageCache", "checksum", "memory_budget", "memory_cache", "slot_bytes"]

_logger = logging.getLogger(__name__)

MEMORY_SHARE = 4
"""The cache in memory takes at most one part in so many of the machine's (or the container's) memory."""

_CONTAINER_LIMITS = ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes")


@runtime_checkable
class Storage(Protocol):
    """Bytes that several processes share."""

    view: UInt8[np.ndarray, " size"]
    """What is stored now, also by others."""

    def write(self, offset: int, data: bytes) -> None:
        """Store bytes; raises OSError where there is no room."""
        ...


class ImageCache:
    """A slot for each image.

    Args:
        records: The images, in the order of their slots.
        sizes: (width, height) of each after the first resize.
        storage: A checksum of 4 bytes for each slot (0: empty), then the pixels, slot after slot.
        start: Where the checksums begin in the storage.
    """

    def __init__(
        self,
        records: Sequence[ImageRecord],
        sizes: Int[np.ndarray, "n 2"],
        *,
        storage: Storage,
        start: int = 0,
    ) -> None:
        self._slot_of = {_key(record): slot for slot, record in enumerate(records)}
        self._sizes = sizes
        self._offsets = start + 4 * len(records) + np.concatenate(([0], np.cumsum(slot_bytes(sizes))))
        self._start = start
        self._storage = storage
        self._is_checked = bytearray(len(records))
        self._is_full = False

    def __len__(self) -> int:
        return len(self._slot_of)

    def get(self, record: ImageRecord) -> Image.Image | None:
        """The image, if it has a slot that is filled and whole."""
        slot = self._slot_of.get(_key(record))
        if slot is None:
            return None
        wanted = int.from_bytes(self._bytes(self._start + 4 * slot, 4), "little")
        if wanted == 0:
            return None
        pixels = self._bytes(int(self._offsets[slot]), int(self._offsets[slot + 1] - self._offsets[slot]))
        if not self._is_checked[slot]:
            if checksum(pixels) != wanted:
                _logger.warning("The kept pixels of %s are damaged; it is decoded anew.", record.path)
                return None
            self._is_checked[slot] = 1
        width, height = map(int, self._sizes[slot])
        return Image.frombytes("RGB", (width, height), pixels)

    def put(self, record: ImageRecord, image: Image.Image) -> None:
        """Keep the image, if it has a slot of its size."""
        slot = self._slot_of.get(_key(record))
        if slot is None or self._is_full or image.size != tuple(self._sizes[slot]):
            return
        pixels = image.tobytes()
        try:
            self._storage.write(int(self._offsets[slot]), pixels)
            self._storage.write(self._start + 4 * slot, checksum(pixels).to_bytes(4, "little"))
        except OSError as error:
            self._is_full = True
            _logger.warning("No more images are kept: %s.", error)

    def _bytes(self, offset: int, length: int) -> bytes:
        return self._storage.view[offset : offset + length].tobytes()


class Memory:
    """Memory that this process shares with those it forks; one that is spawned gets its own, empty."""

    def __init__(self, size: int) -> None:
        self._map = mmap.mmap(-1, max(size, 1))
        self.view = np.frombuffer(self._map, dtype=np.uint8)

    def write(self, offset: int, data: bytes) -> None:
        self._map[offset : offset + len(data)] = data

    def __reduce__(self) -> tuple[type[Memory], tuple[int]]:
        return Memory, (len(self.view),)


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
    table = np.array(sizes, dtype=np.int64).reshape(-1, 2)
    memory = Memory(4 * len(sizes) + int(slot_bytes(table).sum()))
    return ImageCache(records[: len(sizes)], table, storage=memory)


def checksum(data: bytes) -> int:
    """CRC-32, but never 0, which means that there is nothing."""
    return zlib.crc32(data) or 1


def slot_bytes(sizes: Int[np.ndarray, "n 2"]) -> Int[np.ndarray, " n"]:
    """Bytes of the pixels of images of these sizes."""
    return 3 * sizes[:, 0].astype(np.int64) * sizes[:, 1]


def memory_budget() -> int:
    """Bytes for the cache of one training process: its part of a quarter of the memory there is."""
    limits = [_machine_memory()]
    for place in map(Path, _CONTAINER_LIMITS):
        text = place.read_text().strip() if place.is_file() else "max"
        if text.isdigit():
            limits.append(int(text))
    return min(limits) // MEMORY_SHARE // max(1, int(os.environ.get("LOCAL_WORLD_SIZE", "1")))


def _machine_memory() -> int:
    """Bytes; 4 GiB where the system (Windows) has no such call."""
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") if hasattr(os, "sysconf") else 4 * 2**30


def _key(record: ImageRecord) -> tuple[str, str]:
    return record.image_id, str(record.path)
