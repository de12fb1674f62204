"""What lies in folders: the pictures, the folders, and what is left out.

Hidden files and folders and what servers and systems leave behind (`@eaDir`, `__MACOSX`, `Thumbs.db`) are as
if they were not there. A picture is a regular file (or a link to one) with a usual suffix of a format that is
read, or of any other name that holds one; all others are left out and counted by their suffix. Names compare
in one Unicode form, and files are opened by the names they have.
"""

from __future__ import annotations

import glob
import os
import unicodedata
from collections import Counter
from collections.abc import Container, Iterable, Mapping
from pathlib import Path

from pixpnet.data.decode import FORMATS, is_picture
from pixpnet.errors import DataError

_DROPPINGS = frozenset(
    (
        *("@eadir", "#recycle", "#snapshot", "@recycle", "lost+found"),  # of network storages
        *("$recycle.bin", "system volume information", "thumbs.db", "ehthumbs.db", "desktop.ini"),  # Windows
        *("__macosx", "icon\r", "network trash folder", "temporary items"),  # macOS; .DS_Store is hidden
    )
)
"""In lower case."""
_RAW = frozenset((".3fr", ".arw", ".cr2", ".dng", ".nef", ".nrw", ".orf", ".pef", ".rw2", ".sr2", ".srw"))
"""Of cameras' raw files: they begin like TIFF files, and a small preview would be read."""
_SUFFIXES = frozenset(suffix for suffixes in FORMATS.values() for suffix in suffixes)


def plain(name: str) -> str:
    """A name in the one form in which names compare: Unicode's NFC (some systems write é as two signs)."""
    return unicodedata.normalize("NFC", name)


def entries(place: Path | str) -> list[os.DirEntry[str]]:
    """Files and folders in a folder by their names, without what is hidden and droppings of systems.

    Raises:
        DataError: The folder cannot be read.
    """
    try:
        with os.scandir(place) as found:
            kept = [one for one in found if one.name[0] != "." and one.name.lower() not in _DROPPINGS]
    except OSError as error:
        raise DataError(f"the folder {place} cannot be read: {error}.") from error
    return sorted(kept, key=lambda entry: plain(entry.name))


def folders_in(place: Path) -> dict[str, Path]:
    """The folders in a folder by their names.

    Raises:
        DataError: Two have the same name, but for the Unicode form of it.
    """
    found: dict[str, Path] = {}
    for entry in entries(place) if place.is_dir() else ():
        if entry.is_dir():
            name = plain(entry.name)
            if name in found:
                raise _twins(found[name], Path(entry.path))
            found[name] = place / entry.name
    return found


def only_folder(place: Path, *, but_for: Container[str]) -> Path:
    """Where a folder holds nothing but a folder of folders (as some archives unpack), that one, and so on.

    Folders of the names in `but_for` (in lower case) are not entered.
    """
    while len(inner := folders_in(place)) == 1:
        ((name, folder),) = inner.items()
        if name.lower() in but_for or not folders_in(folder):
            break
        place = folder
    return place


def pictures_below(place: Path, left_out: Counter[str]) -> list[Path]:
    """The pictures of a folder by their names, then those of the folders in it, linked ones too.

    A folder that several links lead to is read once. To `left_out` the files of each kind are added that are
    no picture.
    """
    found: list[Path] = []
    seen: set[str] = set()
    waiting = [os.fspath(place)]
    while waiting:
        folder = waiting.pop()
        real = os.path.realpath(folder)
        if real in seen:
            continue
        seen.add(real)
        inner = []
        for entry in entries(folder):
            if entry.is_dir():
                if not _leads_back(folder, entry):
                    inner.append(entry.path)
            elif kind := _other_kind(entry):
                left_out[kind] += 1
            else:
                found.append(Path(entry.path))
        waiting += reversed(inner)
    return found


def find_pictures(names: Iterable[str | os.PathLike[str]]) -> list[Path]:
    """The pictures that are meant, each once, in this order: files, folders with all below, and patterns.

    A pattern is what shells know, with ``**`` for any depth; a file of that very name comes first.

    Raises:
        DataError: There is no such file, or no picture in a folder or of a pattern.
    """
    found: dict[Path, None] = {}
    for name in (os.fspath(name) for name in names):
        paths = [name] if os.path.lexists(name) else sorted(glob.glob(name, recursive=True))
        if not paths:
            wanted = "matches nothing" if glob.has_magic(name) else "is missing"
            raise DataError(f"{name} {wanted}; wanted a picture, a folder of them, or a pattern.")
        for path in map(Path, paths):
            left_out: Counter[str] = Counter()
            below_it = pictures_below(path, left_out) if path.is_dir() else [path]
            if not below_it and len(paths) == 1:
                others = f", but {left_out_in_words(left_out)}" if left_out else ""
                raise DataError(f"the folder {path} holds no picture ({', '.join(FORMATS)}){others}.")
            found |= dict.fromkeys(below_it)
    return list(found)


def loose_pictures(place: Path) -> list[str]:
    """Names of the pictures that lie in a folder itself."""
    return [entry.name for entry in entries(place) if not entry.is_dir() and not _other_kind(entry)]


def below(root: Path, paths: list[Path]) -> dict[str, Path]:
    """The paths by their names below `root`.

    Raises:
        DataError: Two have the same name, but for the Unicode form of it.
    """
    # relative_to takes ten times as long
    start = len(root.as_posix().rstrip("/")) + 1 if root != Path() else 0
    named: dict[str, Path] = {}
    for path in paths:
        name = plain(path.as_posix()[start:])
        if name in named:
            raise _twins(named[name], path)
        named[name] = path
    return named


def left_out_in_words(left_out: Mapping[str, int]) -> str:
    """How many files of which kind are no pictures; "" where there are none."""
    counts = sorted(left_out.items(), key=lambda item: (-item[1], item[0]))
    return ", ".join(f"{count} {kind}" for kind, count in counts)


def _other_kind(entry: os.DirEntry[str]) -> str:
    """What a file that is no picture is counted as; "": it is one, or a link to one that is gone."""
    suffix = os.path.splitext(entry.name)[1].lower()
    if not entry.is_file() and (os.path.exists(entry.path) or not entry.is_symlink()):
        return "(pipe or device)"
    is_found = suffix in _SUFFIXES or (suffix not in _RAW and is_picture(entry.path))
    return "" if is_found else suffix or "without a suffix"


def _leads_back(folder: str, entry: os.DirEntry[str]) -> bool:
    """Whether a folder is a link to one that it lies in, which would never end."""
    if not entry.is_symlink():
        return False
    target, here = os.path.realpath(entry.path), os.path.realpath(folder)
    return os.path.commonpath([target, here]) == target


def _twins(one: Path, other: Path) -> DataError:
    return DataError(
        f"{one} and {other} have names that differ only in their Unicode form ({one.name!a} and "
        f"{other.name!a}), so people can't tell them apart: rename one of them, or put them together."
    )
