"""Files from the web: resumed where they were cut off, checked, and never there by halves.

A download is written to `<file>.part` and gets its name when it is whole and its MD5 is right. What a broken
connection, a stall or Ctrl-C left in `<file>.part` is kept, and the next call goes on from there.
"""

from __future__ import annotations

import hashlib
import http.client
import logging
import os
import re
import shutil
import socket
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from pixpnet.data.spec import Progress
from pixpnet.errors import DataError

__all__ = ["check_md5", "download"]

_logger = logging.getLogger(__name__)

_CHUNK = 1 << 18
_WORTH_ANOTHER_TRY = frozenset((408, 425, 429, 500, 502, 503, 504))
_BROKEN = (urllib.error.URLError, http.client.HTTPException, ConnectionError, TimeoutError)


class _CutOff(ConnectionError):
    """The connection ended before the file did."""


def download(
    url: str,
    destination: Path,
    *,
    md5: str | None = None,
    progress: Progress | None = None,
    attempts: int = 4,
    timeout: float = 30.0,
    sleep: Callable[[float], None] = time.sleep,
) -> Path:
    """Fetch a file, unless it is there already, and check it.

    Args:
        url: http or https.
        destination: The file to write; a file that is there is checked and kept.
        md5: Hexadecimal; none: whatever comes is taken.
        progress: Told (bytes done, bytes in all).
        attempts: Tries in a row that bring nothing new before this gives up.
        timeout: Seconds without a byte after which a connection counts as broken.
        sleep: Waits 1, 2, 4, ... seconds between such tries.

    Raises:
        DataError: No network, a refusal (404), the wrong bytes, a full disk; it says what to do by hand.
    """
    destination.parent.mkdir(parents=True, exist_ok=True)
    with _one_process(destination):
        if not destination.exists():
            part = destination.with_name(f"{destination.name}.part")
            resumed = part.exists() and part.stat().st_size > 0
            _fetch_persistently(url, part, progress, attempts, timeout, sleep)
            if resumed and md5 is not None and _md5(part) != md5:
                _logger.info("%s does not go on what %s held; starting over", url, part)
                part.unlink()
                _fetch_persistently(url, part, progress, attempts, timeout, sleep)
            if md5 is not None and (found := _md5(part)) != md5:
                part.unlink()
                raise DataError(
                    f"{url} gave a file with MD5 {found}, wanted {md5}: a proxy's page, or it has changed; "
                    f"{_by_hand(url, destination)}"
                )
            part.replace(destination)
        elif md5 is not None:
            check_md5(destination, md5)
    return destination


def check_md5(path: Path, md5: str) -> None:
    """Hold a file against its MD5.

    Raises:
        DataError: They differ.
    """
    found = _md5(path)
    if found != md5:
        raise DataError(f"{path} has MD5 {found}, wanted {md5}: it is damaged; delete it and get it again.")


def _fetch_persistently(
    url: str,
    part: Path,
    progress: Progress | None,
    attempts: int,
    timeout: float,
    sleep: Callable[[float], None],
) -> None:
    farthest = _size(part)
    failures = 0
    while True:
        try:
            return _fetch(url, part, progress=progress, timeout=timeout)
        except urllib.error.HTTPError as error:
            reason = f"the server answered {error.code} {error.reason}"
            if error.code not in _WORTH_ANOTHER_TRY:
                raise _given_up(url, part, reason) from error
        except _BROKEN as error:
            reason = _reason(error, timeout)
            if isinstance(getattr(error, "reason", None), socket.gaierror):
                raise _given_up(url, part, reason) from error
        failures = failures + 1 if _size(part) <= farthest else 0
        farthest = max(farthest, _size(part))
        if failures >= attempts:
            raise _given_up(url, part, f"{reason}, {attempts} times in a row")
        _logger.warning("%s: %s; trying again", url, reason)
        sleep(2.0 ** max(0, failures - 1))


def _fetch(url: str, part: Path, *, progress: Progress | None, timeout: float) -> None:
    """One connection: append what is missing, or start over where the server can't resume."""
    start = _size(part)
    request = urllib.request.Request(url, headers={"User-Agent": "pixpnet"})
    if start:
        request.add_header("Range", f"bytes={start}-")
    try:
        response = urllib.request.urlopen(request, timeout=timeout)
    except urllib.error.HTTPError as error:
        if error.code != 416 or not start:
            raise
        if error.headers.get("Content-Range") == f"bytes */{start}":
            return  # everything was there already
        part.unlink()
        raise _CutOff("the server has less than was left of an earlier download") from error
    with response:
        if not _resumes_at(response, start):
            start = 0
        length = response.headers.get("Content-Length")
        total = start + int(length) if length else 0
        _check_room(part, total - start)
        done = start
        with part.open("ab" if start else "wb") as file:
            while chunk := response.read1(_CHUNK):
                file.write(chunk)
                done += len(chunk)
                if progress is not None:
                    progress(done, max(done, total))
    if done < total:
        raise _CutOff(f"the connection ended after {done} of {total} bytes")


def _resumes_at(response: http.client.HTTPResponse, start: int) -> bool:
    given = re.match(r"bytes (\d+)-", response.headers.get("Content-Range", ""))
    return given is not None and int(given[1]) == start


def _check_room(part: Path, wanted: int) -> None:
    free = shutil.disk_usage(part.parent).free
    if wanted > free:
        raise DataError(
            f"{part.parent} has {free / 1e9:.1f} GB free, the download needs {wanted / 1e9:.1f} GB more; "
            "make room, or give a dataset.root on another disk."
        )


def _reason(error: Exception, timeout: float) -> str:
    cause = getattr(error, "reason", error)
    if isinstance(cause, TimeoutError):
        return f"nothing came for {timeout:g} s"
    if isinstance(cause, socket.gaierror):
        return f"no such server, or no network ({cause.strerror})"
    return str(cause) or type(cause).__name__


def _given_up(url: str, part: Path, reason: str) -> DataError:
    return DataError(f"{url} could not be downloaded: {reason}; {_by_hand(url, part.with_suffix(''))}")


def _by_hand(url: str, destination: Path) -> str:
    return f"try again later, or get it by hand, put it at {destination} and try again."


def _md5(path: Path) -> str:
    digest = hashlib.md5(usedforsecurity=False)
    with path.open("rb") as file:
        while chunk := file.read(1 << 20):
            digest.update(chunk)
    return digest.hexdigest()


def _size(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0


@contextmanager
def _one_process(destination: Path) -> Iterator[None]:
    """Other processes that want the same file wait until it is there."""
    try:
        import fcntl
    except ImportError:  # Windows
        yield
        return
    path = destination.with_name(f".{destination.name}.lock")
    while True:
        with path.open("w") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                _logger.info("another process downloads %s; waiting for it", destination)
                fcntl.flock(file, fcntl.LOCK_EX)
            if not _is_at(path, file):
                continue  # who had it deleted it, and a third process may have made and locked another
            try:
                yield
            finally:
                path.unlink(missing_ok=True)
            return


def _is_at(path: Path, file: IO[str]) -> bool:
    """Whether an open file still has that name."""
    return path.exists() and os.path.samestat(os.fstat(file.fileno()), path.stat())
