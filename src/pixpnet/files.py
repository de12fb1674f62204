"""Files that are never half-written nor written by two, and files that are read with an error that helps."""

from __future__ import annotations

import csv
import glob
import hashlib
import io
import json
import logging
import os
import shutil
import stat
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import IO, Any

import yaml

from pixpnet.errors import FileError, MissingDataError
from pixpnet.records import checked
from pixpnet.words import visible

_logger = logging.getLogger(__name__)

_PARTIAL = ".partial"
"""How the names of files and folders end that are not whole yet; they begin with a dot."""


def write_atomically(path: Path, write: Callable[[IO[bytes]], object]) -> None:
    """Write a file under a temporary name, flush it to the disk, then rename it.

    Raises:
        FileError: The file can't be written (a full disk, say); a former version stays as it was.
    """
    temporary = ""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, temporary = tempfile.mkstemp(_PARTIAL, f".{file_part(path.name)}.", path.parent)
        with os.fdopen(handle, "wb") as file:
            write(file)
            file.flush()
            os.fsync(file.fileno())
        os.chmod(temporary, 0o644)
        os.replace(temporary, path)
    except OSError as error:
        stays = " Its last good version stays." if path.is_file() else ""
        raise FileError(f"{path} could not be written: {error}.{stays}") from error
    finally:
        if temporary:
            Path(temporary).unlink(missing_ok=True)


def file_part(name: str, *, most: int = 80) -> str:
    r"""A name as a part of a file's name: without control characters, and of so many bytes at most.

    What is cut gets a checksum, so that two long names stay two.

    >>> file_part("wren\n"), len(file_part(300 * "wren"))
    ('wren_', 80)
    """
    plain = "".join("_" if visible(sign) != sign or sign in "/\\" else sign for sign in name)
    data = plain.encode()
    if len(data) <= most:
        return plain
    return f"{data[: most - 9].decode(errors='ignore')}-{hashlib.sha256(data).hexdigest()[:8]}"


def write_text(path: Path, text: str) -> None:
    """Write a text file atomically."""
    write_atomically(path, lambda file: file.write(text.encode()))


def write_yaml(path: Path, values: Mapping[str, object]) -> None:
    """Write plain values as YAML, atomically, in the order given."""
    write_text(path, yaml.safe_dump(dict(values), sort_keys=False, allow_unicode=True))


def write_json(path: Path, values: object) -> None:
    """Write plain values as JSON, atomically; numbers that JSON has no form for are refused."""
    write_text(path, json.dumps(values, indent=1, ensure_ascii=False, allow_nan=False) + "\n")


def csv_text(rows: Iterable[Iterable[object]]) -> str:
    """Rows as CSV, each line ended by a newline alone."""
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows(rows)
    return text.getvalue()


MOST_BYTES = 2**30
"""Of files that are read as a whole."""


def check_ordinary(path: Path, *, most: float = MOST_BYTES) -> None:
    """Check that a file is an ordinary one of so many bytes at most: no pipe, no device, no folder.

    Raises:
        FileError: It is something else, or too large.
        OSError: There is none.
    """
    state = path.stat()
    if not stat.S_ISREG(state.st_mode):
        raise FileError(f"{path} can't be read: it is no ordinary file.")
    if state.st_size > most:
        raise FileError(f"{path} is not read: {state.st_size} bytes are more than {most}, which is the most.")


def read_text(path: Path, *, most: int = MOST_BYTES) -> str:
    """The text of an ordinary file, as `check_ordinary` has it.

    Raises:
        FileError: It is missing, too large, can't be read or is not UTF-8.
    """
    try:
        check_ordinary(path, most=most)
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise FileError(f"{path} can't be read: {error}.") from error


MOST_YAML = 2**20
"""Bytes; to read so much takes seconds already."""


def read_mapping(path: Path) -> dict[str, Any]:
    """The mapping in a YAML or JSON file.

    Raises:
        FileError: It can't be read, or holds no mapping.
    """
    values = read_json(path) if path.suffix == ".json" else _read_yaml(path)
    if not isinstance(values, dict):
        raise FileError(f"{path} should hold names and values, and doesn't.")
    return values


def read_json(path: Path) -> Any:
    """The plain values in a JSON file.

    Raises:
        FileError: It can't be read.
    """
    try:
        return json.loads(read_text(path))
    except (ValueError, RecursionError) as error:
        raise FileError(f"{path} can't be read: {error}.") from error


def _read_yaml(path: Path) -> Any:
    try:
        return yaml.safe_load(read_text(path, most=MOST_YAML))
    except (ValueError, RecursionError, yaml.YAMLError) as error:
        raise FileError(f"{path} can't be read: {str(error).splitlines()[0]}.") from error


def is_there(path: Path) -> bool:
    """Whether anything has that name, be it a folder, a pipe or a link to nothing."""
    return os.path.lexists(path)


def real_path(path: str | Path) -> Path:
    """The absolute path without links; a circle of links stays one."""
    return Path(os.path.realpath(path))


def read_if_there(path: Path) -> dict[str, Any]:
    """The mapping in a YAML or JSON file; empty without the file.

    Raises:
        FileError: As of `read_mapping`.
    """
    return read_mapping(path) if is_there(path) else {}


def read_numbers(path: Path) -> dict[str, float]:
    """The finite numbers in a YAML or JSON file by their names; none without the file.

    Raises:
        FileError: As of `read_mapping`, or a value is no number.
    """
    try:
        return checked(dict[str, float], read_if_there(path))
    except ValueError as error:
        raise FileError(f"{path} is damaged: {error}.") from error


def sha256_of(path: Path) -> str:
    """Hexadecimal SHA-256 of a file."""
    return hashlib.sha256(path.read_bytes()).hexdigest()


@contextmanager
def sole_writer(folder: Path, *, name: str = "", deep: bool = False) -> Iterator[None]:
    """Keep other writers out of a folder, and clear away what one that was killed left half-written there.

    The lock is the operating system's, so it ends with the process, however that ends. Readers need none.

    Args:
        folder: Made if it isn't there; gone again if nothing was written to it.
        name: Of the files in it that this is about, their beginning.
        deep: Whether the folders below belong to it.

    Raises:
        FileError: Another process writes to the folder, or nobody can.
    """
    with ExitStack() as stack:
        try:
            if not folder.is_dir():
                folder.mkdir(parents=True, exist_ok=True)
                stack.callback(_remove_empty, folder)
            stack.enter_context(locked(folder / (f".{name}.lock" if name else ".lock")))
        except BlockingIOError as error:
            raise FileError(
                f"{folder} is being written to by {error}; wait until it has ended, or write elsewhere."
            ) from error
        except OSError as error:
            raise FileError(f"{folder} can't be written to: {error}.") from error
        clear_partial(folder, f"{'**/' if deep else ''}.{glob.escape(name)}*")
        yield


def _remove_empty(folder: Path) -> None:
    with suppress(OSError):
        folder.rmdir()


def clear_partial(folder: Path, pattern: str) -> None:
    """Remove what nobody will finish: the caller has the lock of those who write there."""
    for left in [*folder.glob(pattern + _PARTIAL)]:
        if left.is_dir():
            shutil.rmtree(left, ignore_errors=True)
        else:
            left.unlink(missing_ok=True)


@contextmanager
def locked(lock: Path, *, waits: bool = False) -> Iterator[None]:
    """Hold a file that only one process at a time can; it is gone afterwards.

    Args:
        lock: The file, in a folder that is there.
        waits: Until the other process lets it go.

    Raises:
        BlockingIOError: Another process holds it; its text says which.
        OSError: The file can't be made.
    """
    is_told, start = False, time.monotonic()
    while True:
        # Neither a link's target nor what is in the file is touched before the lock is ours.
        number = os.open(lock, os.O_RDWR | os.O_CREAT | getattr(os, "O_NOFOLLOW", 0), 0o666)
        with os.fdopen(number, "r+b", buffering=0) as file:
            if not _try_lock(file):
                holder = file.read(20).decode(errors="replace")
                if not waits and (_lives(holder) or time.monotonic() > start + _DYING):
                    raise BlockingIOError(f"process {holder}".strip())
                if not is_told:
                    _logger.info("Waiting for process %s, which holds %s", holder, lock)
                    is_told = True
                time.sleep(0.1)
            elif _lies_at(file, lock):
                file.truncate()
                file.write(str(os.getpid()).encode())
                try:
                    yield
                finally:
                    with suppress(OSError):  # Windows removes no open file
                        lock.unlink()
                return


_DYING = 10.0
"""Seconds: so long the workers of a process that was killed may hold what was its own."""


def _lives(process: str) -> bool:
    """Whether there is a process of this number; True where nobody can say."""
    with suppress(ValueError, OverflowError, OSError):
        try:
            if os.name != "nt":  # where this is no mere question
                os.kill(int(process), 0)
        except ProcessLookupError:
            return False
    return True


def _lies_at(file: IO[bytes], path: Path) -> bool:
    """Whether the opened file is still the one of that name."""
    try:
        return os.path.samestat(os.fstat(file.fileno()), path.stat())
    except FileNotFoundError:
        return False


def _try_lock(file: IO[bytes]) -> bool:
    """Lock an opened file, for as long as it is open; False: another one has it."""
    try:
        try:
            import fcntl

            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except ImportError:  # Windows
            import msvcrt

            file.seek(1 << 30)  # behind what others read
            msvcrt.locking(file.fileno(), msvcrt.LK_NBLCK, 1)  # pyright: ignore[reportAttributeAccessIssue]
            file.seek(0)
    except (BlockingIOError, PermissionError):
        return False
    return True


@contextmanager
def whole_folder(destination: Path) -> Iterator[Path]:
    """A folder to fill that becomes the destination at the end, or vanishes on any error.

    One process after the other does so; where another made the destination in the meantime, that one stays.

    Raises:
        MissingDataError: The folder cannot be written.
    """
    with ExitStack() as stack:
        try:
            destination.parent.mkdir(parents=True, exist_ok=True)
            stack.enter_context(locked(destination.with_name(f".{destination.name}.lock"), waits=True))
            clear_partial(destination.parent, f".{glob.escape(destination.name)}.*")
            name = tempfile.mkdtemp(_PARTIAL, f".{destination.name}.", destination.parent)
        except OSError as error:
            raise MissingDataError(
                f"{destination} cannot be written ({error}); give a folder that can be."
            ) from error
        stack.callback(shutil.rmtree, name, ignore_errors=True)
        folder = Path(name) / "whole"  # with the permissions of any new folder, which a temporary one has not
        folder.mkdir()
        yield folder
        try:
            folder.replace(destination)
        except OSError:
            if not destination.is_dir() or not any(destination.iterdir()):
                raise
