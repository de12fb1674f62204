"""Unpacking of downloaded archives, which are strangers' files."""

from __future__ import annotations

import gzip
import lzma
import os
import shutil
import tarfile
import zlib
from pathlib import Path, PurePosixPath
from typing import IO

from pixpnet.data.spec import Progress
from pixpnet.errors import DataError
from pixpnet.folders import whole_folder

__all__ = ["extract"]

_DAMAGE = (tarfile.TarError, EOFError, zlib.error, gzip.BadGzipFile, lzma.LZMAError)
_CHUNK = 1 << 20


def extract(
    archive: Path, destination: Path, *, folder: str, limit: int, progress: Progress | None = None
) -> Path:
    """Unpack a tar archive (of any compression), as a whole or not at all.

    Only plain files and folders are taken, with plain permissions, and only below the destination.

    Args:
        archive: The file.
        destination: The new folder that becomes the archive's `folder`; what lies beside that is put into it.
        folder: The archive's own outermost folder.
        limit: Bytes that it may have, unpacked.
        progress: Told (bytes of the archive read, bytes of the archive).

    Raises:
        DataError: Damaged or cut short, larger than the limit, something unsafe in it, or no such folder.
    """
    with whole_folder(destination) as whole:
        place = whole / ".unpacked"
        place.mkdir()
        try:
            with archive.open("rb") as file, tarfile.open(fileobj=file, mode="r:*") as tar:
                _unpack(tar, file, place, archive, limit, progress)
        except _DAMAGE as error:
            reason = (str(error) or type(error).__name__).splitlines()[0].rstrip(":")
            raise DataError(
                f"{archive} is damaged or cut short ({reason}); delete it and get it again."
            ) from error
        if not (place / folder).is_dir():
            raise DataError(f"{archive} holds no folder {folder!r}; it is not the archive that was wanted.")
        for source in (*(place / folder).iterdir(), *place.iterdir()):
            if source != place / folder and not (whole / source.name).exists():
                source.rename(whole / source.name)
        shutil.rmtree(place)
    return destination


def _unpack(
    tar: tarfile.TarFile, file: IO[bytes], place: Path, archive: Path, limit: int, progress: Progress | None
) -> None:
    size = archive.stat().st_size
    room = limit
    for member in tar:
        target = place / _safe_name(member, archive)
        room -= member.size + tarfile.BLOCKSIZE  # empty files count, too
        if room < 0:
            raise DataError(f"{archive} unpacks to more than {limit / 1e9:.1f} GB, which it should not.")
        if member.isdir():
            target.mkdir(parents=True, exist_ok=True)
            continue
        target.parent.mkdir(parents=True, exist_ok=True)
        source = tar.extractfile(member)
        assert source is not None, "plain files have content"
        if os.path.lexists(target):
            raise DataError(f"{archive} is not safe to unpack: {member.name!r} stands in it twice.")
        with source, target.open("xb") as output:
            shutil.copyfileobj(source, output, _CHUNK)
        if target.stat().st_size != member.size:
            raise tarfile.ReadError(f"{member.name} ends early")
        if progress is not None:
            progress(file.tell(), size)
    assert tar.fileobj is not None
    while room >= 0 and (rest := tar.fileobj.read(_CHUNK)):  # to the end, where the checksum is
        room -= len(rest)


def _safe_name(member: tarfile.TarInfo, archive: Path) -> Path:
    """Where a member belongs, if it is a plain file or folder below the archive's root."""
    name = PurePosixPath(member.name)
    if name.is_absolute() or ".." in name.parts or "\\" in member.name or ":" in member.name:
        problem = "lies outside of the folder"
    elif not (member.isreg() or member.isdir()) or member.issparse():
        problem = "is neither a plain file nor a folder"
    else:
        return Path(name)
    raise DataError(f"{archive} is not safe to unpack: {member.name!r} {problem}; nothing was unpacked.")
