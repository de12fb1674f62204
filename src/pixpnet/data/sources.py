"""Where a data set lies, and how it gets there: archives that are downloaded, checked and unpacked.

A download is written to `<file>.part` and gets its name when it is whole and its MD5 is right. What a broken
connection, a stall or Ctrl-C left in `<file>.part` is kept, and the next call goes on from there.
"""

from __future__ import annotations

import errno
import gzip
import hashlib
import http.client
import logging
import lzma
import math
import os
import re
import shutil
import socket
import tarfile
import time
import urllib.error
import urllib.request
import zlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import IO

from pixpnet.config import DatasetConfig
from pixpnet.data.spec import Archive, DatasetSpec
from pixpnet.errors import DataError, MissingDataError
from pixpnet.files import check_ordinary, is_there, locked, whole_folder
from pixpnet.types import Progress, no_progress
from pixpnet.words import visible

_logger = logging.getLogger(__name__)

_CHUNK = 1 << 18
_WORTH_ANOTHER_TRY = frozenset((408, 425, 429, 500, 502, 503, 504))
_BROKEN = (urllib.error.URLError, http.client.HTTPException, ConnectionError, TimeoutError, ValueError)
_DAMAGE = (tarfile.TarError, EOFError, zlib.error, gzip.BadGzipFile, lzma.LZMAError)
_DAMAGE += (ValueError, KeyError, ArithmeticError, RecursionError)  # of members that say what can't be
_NO_FILES = (errno.EEXIST, errno.EISDIR, errno.ENOTDIR, errno.ENOENT, errno.ENAMETOOLONG, errno.EINVAL)
_NO_FILES += (errno.EILSEQ, errno.EFBIG, errno.ELOOP)
"""Of members that no folder can hold."""
_HANDLERS = (
    urllib.request.ProxyHandler,
    urllib.request.UnknownHandler,
    urllib.request.HTTPHandler,
    urllib.request.HTTPSHandler,
    urllib.request.HTTPDefaultErrorHandler,
    urllib.request.HTTPRedirectHandler,
    urllib.request.HTTPErrorProcessor,
)
"""All that http and https need, and no other protocol, not after a redirection either."""


def find_root(
    spec: DatasetSpec,
    config: DatasetConfig,
    progress: Progress = no_progress,
    *,
    folders: Sequence[str] | None = None,
) -> Path:
    """The folder that holds the set's marker files; what is missing and can be downloaded is.

    Args:
        spec: The set.
        config: Where to look.
        progress: Told (done, in all) of the bytes of the download, then of the archive.
        folders: Below `dataset.root`, in place of `dataset.root` itself and the set's folder in it.

    Raises:
        DataError: With the folders looked into, and where people get the set.
    """
    places = [Path(config.root, folder) for folder in folders or ("", spec.folder)]
    for place in places:
        for found in (place, place / place.name):
            if holds(found, spec.markers):
                if found != place:
                    _logger.info("%s is read: one folder deeper than usual", found)
                return found
    if spec.archive is None:
        raise missing(spec, config)
    return _fetched(spec, config, spec.archive(config), progress)


def holds(place: Path, markers: Sequence[str]) -> bool:
    """Whether a folder has all of a set's marker files."""
    return all(is_there(place / marker) for marker in markers)


def missing(spec: DatasetSpec, config: DatasetConfig) -> MissingDataError:
    """The error that tells where a set was looked for, and where people get it."""
    wanted, root = " and ".join(spec.markers), Path(config.root)
    return MissingDataError(
        f"{spec.name} was not found: looked for {wanted} in {root} and {root / spec.folder}. {spec.source}"
    )


def _fetched(spec: DatasetSpec, config: DatasetConfig, archive: Archive, progress: Progress) -> Path:
    """The unpacked folder of the set's archive, which may lie in `root` already."""
    root = Path(config.root)
    place, file = root / spec.folder, root / archive.file
    destination = place if archive.folder == spec.folder else place / archive.folder
    if destination.exists():
        raise DataError(
            f"{destination} is there, but it lacks what {spec.name} needs ({' and '.join(spec.markers)}); "
            "delete it, and it will be made anew."
        )
    _logger.info(
        "%s is not in %s: %s and unpacking it (`pixpnet data prepare %s --root %s` does just that)",
        spec.name,
        root,
        f"taking {file}" if file.exists() else f"downloading {archive.url}",
        spec.name,
        root,
    )
    try:
        download(archive.url, file, md5=archive.md5, progress=progress)
    except OSError as error:
        raise MissingDataError(
            f"{spec.name} was not found, and {file} cannot be written: {error}."
        ) from error
    except DataError as error:
        raise MissingDataError(f"{spec.name} was not found in {root} and {place}, and {error}") from error
    return extract(file, destination, folder=archive.folder, progress=progress)


def download(
    url: str,
    destination: Path,
    *,
    md5: str,
    progress: Progress = no_progress,
    attempts: int = 4,
    timeout: float = 30.0,
    sleep: Callable[[float], None] = time.sleep,
) -> Path:
    """Fetch a file, unless it is there already, and check it.

    Args:
        url: http or https.
        destination: The file to write; a file that is there is checked and kept.
        md5: Hexadecimal.
        progress: Told (bytes done, bytes in all).
        attempts: Tries in a row that bring nothing new before this gives up.
        timeout: Seconds without a byte after which a connection counts as broken.
        sleep: Waits 1, 2, 4, ... seconds between such tries.

    Raises:
        DataError: No network, a refusal (404), the wrong bytes; it says what to do by hand.
        FileError: What is there is no ordinary file.
    """
    destination.parent.mkdir(parents=True, exist_ok=True)
    part = destination.with_name(f"{destination.name}.part")
    by_hand = f"try again later, or get it by hand, put it at {destination} and try again."
    if not destination.exists():
        with locked(destination.with_name(f".{destination.name}.lock"), waits=True):
            if not destination.exists():  # another process may have brought it meanwhile
                try:
                    found = _fetch_whole(url, part, md5, progress, attempts, timeout, sleep)
                except _BROKEN as error:
                    reason = _reason(error, timeout)
                    raise DataError(f"{url} could not be downloaded: {reason}; {by_hand}") from error
                if found != md5:
                    part.unlink()
                    raise DataError(
                        f"{url} gave a file with MD5 {found}, wanted {md5}: a proxy's page, or it has "
                        f"changed; {by_hand}"
                    )
                part.replace(destination)
                return destination
    if (found := _md5(destination)) != md5:
        raise DataError(
            f"{destination} has MD5 {found}, wanted {md5}: it is damaged; delete it and get it again."
        )
    return destination


def _fetch_whole(
    url: str,
    part: Path,
    md5: str,
    progress: Progress,
    attempts: int,
    timeout: float,
    sleep: Callable[[float], None],
) -> str:
    """Fetch in as many tries as it takes; the MD5 of what came."""
    with part.open("ab", buffering=0) as file:
        file.seek(0, os.SEEK_END)
        start = farthest = file.tell()
        failures = 0
        while True:
            try:
                _fetch(url, file, progress=progress, timeout=timeout)
            except _BROKEN as error:
                failures = failures + 1 if file.tell() <= farthest else 0
                farthest = max(farthest, file.tell())
                if failures >= attempts or _is_final(error):
                    raise
                _logger.warning("%s: %s; trying again", url, _reason(error, timeout))
                sleep(2.0 ** max(0, failures - 1))
                continue
            found = _md5(part)
            if found == md5 or start == 0:
                return found
            _logger.info("%s does not go on what %s held; starting over", url, part)
            _empty(file)
            start = farthest = 0


def _fetch(url: str, file: IO[bytes], *, progress: Progress, timeout: float) -> None:
    """One connection: append what is missing, or start over where the server can't resume."""
    start = file.tell()
    request = urllib.request.Request(url, headers={"User-Agent": "pixpnet"})
    if start:
        request.add_header("Range", f"bytes={start}-")
    try:
        opener = urllib.request.OpenerDirector()
        for handler in _HANDLERS:
            opener.add_handler(handler())
        response = opener.open(request, timeout=timeout)
    except urllib.error.HTTPError as error:
        if error.code == 416 and start:
            return  # nothing is missing, or it is another file: the MD5 tells
        raise
    with response:
        if not response.headers.get("Content-Range", "").startswith(f"bytes {start}-"):
            start = 0
            _empty(file)
        length = response.headers.get("Content-Length") or "0"
        if not re.fullmatch(r"[0-9]{1,18}", length):
            raise ValueError(f"the server says that it sends {visible(length)!r} bytes")
        total = start + int(length)
        while chunk := response.read1(_CHUNK):
            file.write(chunk)
            progress(file.tell(), max(file.tell(), total))
    if file.tell() < total:
        raise ConnectionError(f"the connection ended after {file.tell()} of {total} bytes")


def _is_final(error: Exception) -> bool:
    """Whether another try is of no use."""
    if isinstance(error, urllib.error.HTTPError):
        return error.code not in _WORTH_ANOTHER_TRY
    return isinstance(error, ValueError) or isinstance(getattr(error, "reason", None), (socket.gaierror, str))


def _reason(error: Exception, timeout: float) -> str:
    if isinstance(error, urllib.error.HTTPError):
        return f"the server answered {error.code} {error.reason}"
    cause = getattr(error, "reason", error)
    if isinstance(cause, TimeoutError):
        return f"nothing came for {timeout:g} s"
    if isinstance(cause, socket.gaierror):
        return f"no such server, or no network ({cause.strerror})"
    return str(cause) or type(cause).__name__


def _empty(file: IO[bytes]) -> None:
    file.seek(0)
    file.truncate()


def _md5(path: Path) -> str:
    check_ordinary(path, most=math.inf)
    digest = hashlib.md5(usedforsecurity=False)
    with path.open("rb") as file:
        while chunk := file.read(1 << 20):
            digest.update(chunk)
    return digest.hexdigest()


def extract(archive: Path, destination: Path, *, folder: str, progress: Progress = no_progress) -> Path:
    """Unpack a tar archive (of any compression), as a whole or not at all.

    `tarfile`'s filter for data keeps every member below the destination, and without special permissions.

    Args:
        archive: The file.
        destination: The new folder that becomes the archive's `folder`; what lies beside that is put into it.
        folder: The archive's own outermost folder.
        progress: Told (bytes of the archive read, bytes of the archive).

    Raises:
        DataError: Damaged or cut short, something unsafe in it, or no such folder; a Python that can't tell.
    """
    if not hasattr(tarfile, "data_filter"):
        raise DataError(
            f"{archive} is not unpacked: this Python's tarfile can't refuse unsafe files (that of 3.10.12, "
            f"3.11.4 and later can); take a newer one, or unpack it by hand to {destination}."
        )
    check_ordinary(archive, most=math.inf)
    size = archive.stat().st_size
    with whole_folder(destination) as whole:
        place = whole / ".unpacked"
        place.mkdir()
        try:
            with archive.open("rb") as file, tarfile.open(fileobj=file) as tar:

                def told(member: tarfile.TarInfo, path: str) -> tarfile.TarInfo | None:
                    progress(file.tell(), size)
                    return tarfile.data_filter(member, path)

                tar.extractall(str(place), filter=told)
        except (*_DAMAGE, OSError) as error:
            if isinstance(error, OSError) and error.errno not in (None, *_NO_FILES):
                raise  # a full disk
            reason = (str(error) or type(error).__name__).splitlines()[0].rstrip(":")
            raise DataError(
                f"{archive} is damaged, cut short or not safe to unpack ({reason}); delete it and get it "
                "again."
            ) from error
        if not (place / folder).is_dir():
            raise DataError(f"{archive} holds no folder {folder!r}; it is not the archive that was wanted.")
        for source in (*(place / folder).iterdir(), *place.iterdir()):
            if source != place / folder and not (whole / source.name).exists():
                source.rename(whole / source.name)
        shutil.rmtree(place)
    return destination
