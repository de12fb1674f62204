"""Folders that are there as a whole or not at all."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from pixpnet.errors import DataError


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
