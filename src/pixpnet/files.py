"""Files that are never half-written, and files that are read with an error that says what is wrong."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

import yaml

from pixpnet.errors import DataError, FileError
from pixpnet.words import visible


def write_atomically(path: Path, write: Callable[[IO[bytes]], object]) -> None:
    """Write a file under a temporary name, flush it to the disk, then rename it.

    Raises:
        FileError: The file can't be written (a full disk, say); a former version stays as it was.
    """
    temporary = ""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, temporary = tempfile.mkstemp(prefix=f".{file_part(path.name)}.", dir=path.parent)
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


def read_text(path: Path) -> str:
    """The text of a file.

    Raises:
        FileError: It is missing, can't be read or is not UTF-8.
    """
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise FileError(f"{path} can't be read: {error}.") from error


def read_mapping(path: Path) -> dict[str, Any]:
    """The mapping in a YAML or JSON file.

    Raises:
        FileError: It can't be read, or holds no mapping.
    """
    text = read_text(path)
    try:
        values = json.loads(text) if path.suffix == ".json" else yaml.safe_load(text)
    except (ValueError, RecursionError, yaml.YAMLError) as error:
        raise FileError(f"{path} can't be read: {str(error).splitlines()[0]}.") from error
    if not isinstance(values, dict):
        raise FileError(f"{path} should hold names and values, and doesn't.")
    return values


def read_if_there(path: Path) -> dict[str, Any]:
    """The mapping in a YAML or JSON file; empty without the file.

    Raises:
        FileError: As of `read_mapping`.
    """
    return read_mapping(path) if path.exists() else {}


def sha256_of(path: Path) -> str:
    """Hexadecimal SHA-256 of a file."""
    return hashlib.sha256(path.read_bytes()).hexdigest()


@contextmanager
def whole_folder(destination: Path) -> Iterator[Path]:
    """A folder to fill that becomes the destination at the end, or vanishes on any error.

    Where another process made the destination in the meantime, that one stays.

    Raises:
        DataError: The folder cannot be written.
    """
    try:
        destination.parent.mkdir(parents=True, exist_ok=True)
        name = tempfile.mkdtemp(prefix=f".{destination.name}.", suffix=".partial", dir=destination.parent)
    except OSError as error:
        raise DataError(
            f"{destination} cannot be written ({error}); give a folder that can be (dataset.root)."
        ) from error
    folder = Path(name) / "whole"  # with the permissions of any new folder, which a temporary one has not
    folder.mkdir()
    try:
        yield folder
        try:
            folder.replace(destination)
        except OSError:
            if not destination.is_dir() or not any(destination.iterdir()):
                raise
    finally:
        shutil.rmtree(name, ignore_errors=True)
