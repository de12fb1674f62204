"""The cache of decoded images as a file, which later runs, and runs at the same time, share.

A file holds a header, the size of every image, a checksum for every image (see `pixpnet.data.cache`) and the
pixels, which are filled in as images are first read. It is published whole: written under another name, then
linked. Its name tells the images, the geometry and the state of the files that the images come from (path,
size, times of modification and change), so a changed image makes another file, and the old one is deleted.
"""

from __future__ import annotations

import contextlib
import hashlib
import logging
import mmap
import os
import shutil
import struct
import tempfile
import weakref
import zlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import PIL
import torchvision
from jaxtyping import Int

from pixpnet.data.cache import ImageCache, slot_bytes
from pixpnet.data.decode import prepared_size
from pixpnet.data.spec import Geometry
from pixpnet.errors import DataError
from pixpnet.types import ImageRecord

__all__ = ["cache_folder", "file_cache"]

_logger = logging.getLogger(__name__)

_MAGIC = b"pixpnet pixels 1"
_HEADER = struct.Struct("<16s32sQI")
"""Magic, fingerprint of what the file is of, number of images, CRC-32 of the table of sizes."""


class File:
    """A file that is read through memory and written in place."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._descriptor = os.open(path, os.O_RDWR)
        weakref.finalize(self, os.close, self._descriptor)
        self.view = np.frombuffer(mmap.mmap(self._descriptor, 0, access=mmap.ACCESS_READ), dtype=np.uint8)

    def write(self, offset: int, data: bytes) -> None:
        # A store to the mapping itself would end the process where the disk is full.
        while data:
            written = os.pwrite(self._descriptor, data, offset)
            data, offset = data[written:], offset + written

    def __reduce__(self) -> tuple[type[File], tuple[Path]]:
        return File, (self._path,)


def cache_folder() -> Path:
    """$PIXPNET_CACHE, else $XDG_CACHE_HOME/pixpnet, else ~/.cache/pixpnet."""
    chosen = os.environ.get("PIXPNET_CACHE")
    if chosen:
        return Path(chosen)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "pixpnet"


def file_cache(records: Sequence[ImageRecord], *, geometry: Geometry) -> ImageCache:
    """Images in a file of the cache folder, made now if there is none for them.

    Raises:
        DataError: The folder cannot be written, or has no room; an image is missing or damaged.
    """
    folder = cache_folder() / "images"
    place, fingerprint = _place(records, geometry), _fingerprint(records)
    path = folder / f"{place}-{fingerprint.hex()[:16]}.pixels"
    try:
        cache = _open(path, records, fingerprint)
        if cache is None:
            _publish(path, records, geometry, fingerprint)
            cache = _open(path, records, fingerprint)
    except OSError as error:
        raise DataError(
            f"the cache of decoded images {path} cannot be used ({error}); set PIXPNET_CACHE to a folder "
            "that can be written, or give --dataset.cache ram."
        ) from error
    if cache is None:
        raise DataError(f"{path} was damaged while it was opened; try again.")
    for old in folder.glob(f"{place}-*.pixels"):
        if old != path:
            old.unlink(missing_ok=True)
    return cache


def _place(records: Sequence[ImageRecord], geometry: Geometry) -> str:
    """Which images, from where, at which size: what stays the same when a file changes."""
    digest = hashlib.sha256(repr((geometry.to_box, geometry.resize, geometry.crop)).encode())
    for record in records:
        digest.update(repr((record.image_id, str(record.path.absolute()))).encode())
    return digest.hexdigest()[:16]


def _fingerprint(records: Sequence[ImageRecord]) -> bytes:
    """The state of the images' files and boxes, and of the programs that decode and resize them."""
    digest = hashlib.sha256(repr((_MAGIC, PIL.__version__, torchvision.__version__)).encode())
    for record in records:
        try:
            state = record.path.stat()
        except OSError:
            raise DataError(f"{record.path} is missing; wanted an image.") from None
        # A copy with the old times, or an archive that is unpacked again, has another time of change.
        digest.update(repr((state.st_size, state.st_mtime_ns, state.st_ctime_ns, record.box)).encode())
    return digest.digest()


def _open(path: Path, records: Sequence[ImageRecord], fingerprint: bytes) -> ImageCache | None:
    """The cache of a file; none if there is no such file, or it isn't what it should be."""
    if not path.exists():
        return None
    if path.stat().st_size < _HEADER.size:
        return _damaged(path)
    file = File(path)
    magic, found, count, sizes_checksum = _HEADER.unpack(file.view[: _HEADER.size].tobytes())
    start = _HEADER.size + 8 * len(records)
    table = file.view[_HEADER.size : start].tobytes()
    if (magic, found, count) != (_MAGIC, fingerprint, len(records)) or zlib.crc32(table) != sizes_checksum:
        return _damaged(path)
    sizes = np.frombuffer(table, dtype="<u4").reshape(-1, 2).astype(np.int64)
    if len(file.view) != start + 4 * len(records) + int(slot_bytes(sizes).sum()):
        return _damaged(path)
    return ImageCache(records, sizes, storage=file, start=start)


def _damaged(path: Path) -> None:
    _logger.warning("%s is damaged; it is made anew.", path)
    path.unlink(missing_ok=True)


def _publish(path: Path, records: Sequence[ImageRecord], geometry: Geometry, fingerprint: bytes) -> None:
    """Make the file, without pixels yet, unless another run was first."""
    sizes = np.array([prepared_size(record, geometry) for record in records], dtype=np.int64).reshape(-1, 2)
    path.parent.mkdir(parents=True, exist_ok=True)
    header = _header(sizes, fingerprint)
    total = len(header) + 4 * len(records) + int(slot_bytes(sizes).sum())
    free = shutil.disk_usage(path.parent).free
    if total > free:
        raise DataError(
            f"decoded, the images take {total / 1e9:.1f} GB, and {path.parent} has {free / 1e9:.1f} GB free; "
            "set PIXPNET_CACHE to a folder with more room, or give --dataset.cache ram."
        )
    descriptor, name = tempfile.mkstemp(dir=path.parent, prefix=f"{path.stem}-", suffix=".part")
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(header)
            file.truncate(total)
        try:
            os.link(name, path)
        except FileExistsError:
            return
        except OSError:  # a file system without hard links
            os.replace(name, path)
    finally:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(name)


def _header(sizes: Int[np.ndarray, "n 2"], fingerprint: bytes) -> bytes:
    table = sizes.astype("<u4").tobytes()
    return _HEADER.pack(_MAGIC, fingerprint, len(sizes), zlib.crc32(table)) + table
