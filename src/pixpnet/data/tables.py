"""Tables and lists in files, with errors that name file and place.

CSV files are read as spreadsheets and pandas write them (`read_csv`), and name images as `Names.find` says. A
box `x y width height` is the continuous one from (x, y) to (x + width, y + height), as in CUB-200-2011.
"""

from __future__ import annotations

import csv
import io
import math
import os
import re
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np

from pixpnet.data.listing import plain
from pixpnet.errors import DataError, FileError
from pixpnet.files import check_ordinary
from pixpnet.types import Box

BOX = ("x", "y", "width", "height")
_CORNERS = ("left", "top", "right", "bottom")
_BOX_COLUMNS = {
    _CORNERS: True,
    ("xmin", "ymin", "xmax", "ymax"): True,
    ("x_min", "y_min", "x_max", "y_max"): True,
    ("x1", "y1", "x2", "y2"): True,
    BOX: False,
    ("x", "y", "w", "h"): False,
    ("bbox_x", "bbox_y", "bbox_width", "bbox_height"): False,
}
"""Columns of a box -> whether the last two are its right and bottom edge, not its width and height."""
SEPARATORS = {",": "commas", ";": "semicolons", "\t": "tabs", "|": "bars"}
"""What may stand between the fields of a CSV file, and what it is called."""
_UTF16 = (b"\xff\xfe", b"\xfe\xff")
_FLAGS = dict.fromkeys(("1", "true", "yes", "t", "y"), True) | dict.fromkeys(
    ("0", "false", "no", "f", "n"), False
)


@dataclass(frozen=True)
class TableLine:
    """One line of a table, or one entry of a list."""

    path: Path
    number: int
    fields: Mapping[str, Any]
    unit: str = "line"
    has_decimal_commas: bool = False
    """Whether 12,5 is a number."""

    def error(self, message: str) -> DataError:
        return DataError(f"{self.path}, {self.unit} {self.number}: {message}")

    def whole(self, column: str, *, least: float = -math.inf, most: float = math.inf) -> int:
        """A whole number, in its range."""
        value = self.fields.get(column)
        try:
            number = float(value)  # pyright: ignore[reportArgumentType]
        except (ValueError, TypeError):
            number = math.nan
        if not number.is_integer():
            raise self.error(f"wanted {column} as a whole number, got {value!r}.")
        if not least <= number <= most:
            raise self.error(f"wanted {column} from {least} to {most}, got {value}.")
        return int(number)

    def numbers(self, columns: Sequence[str]) -> list[float]:
        texts = [self.fields[column] for column in columns]
        try:
            numbers = [float(self._with_point(text)) for text in texts]
        except ValueError:
            numbers = []
        if not numbers or not np.isfinite(numbers).all():
            raise self.error(f"wanted {', '.join(columns)} as numbers, got {' '.join(texts)!r}.")
        return numbers

    def flag(self, column: str) -> bool:
        """Yes or no, as people, pandas and spreadsheets write it."""
        text = re.sub(r"[.]0*$", "", self._with_point(self.fields[column].lower()))
        if text not in _FLAGS:
            got = f"{self.fields[column]!r} (true and false, yes and no are read, too)"
            raise self.error(f"wanted 0 or 1 ({column}), got {got}.")
        return _FLAGS[text]

    def _with_point(self, number: str) -> str:
        return number.replace(",", ".") if self.has_decimal_commas else number

    def box(self, columns: Sequence[str] = BOX) -> Box | None:
        """The box of these columns (`box_columns`); None where all of them are empty."""
        if not any(self.fields[name] for name in columns):
            return None
        left, top, right, bottom = self.numbers(columns)
        if not _BOX_COLUMNS[tuple(columns)]:
            right, bottom = left + right, top + bottom
        if right <= left or bottom <= top:
            got = " ".join(self.fields[name] for name in columns)
            raise self.error(f"wanted a box with a width and a height ({' '.join(columns)}), got {got}.")
        return Box(left, top, right, bottom)

    def file_below(self, folder: Path, name: str) -> Path:
        """An image of that name, which lies in a folder or deeper."""
        relative = PurePosixPath(name)
        if relative.is_absolute() or ".." in relative.parts:
            raise self.error(f"wanted a path below {folder}, got {name!r}.")
        path = folder / relative
        if not path.is_file():
            raise self.error(f"the image {path} is missing.")
        return path


def read_columns(path: Path, layout: str) -> list[TableLine]:
    """The lines of a table with blanks between its columns; `layout` names them: `<image id> <path>`.

    The last field keeps the blanks in it.

    Raises:
        DataError: No such file, no text, or a line with too few columns.
    """
    columns = re.findall("<([^>]+)>", layout)
    try:
        lines = _bytes(path, layout).decode("utf-8-sig").splitlines()
    except UnicodeDecodeError as error:
        raise DataError(f"{path} cannot be read: {error}.") from error
    rows = []
    for number, line in enumerate(lines, start=1):
        fields = line.split(None, len(columns) - 1)
        if 0 < len(fields) < len(columns):
            raise DataError(f"{path}, line {number}: wanted `{layout}`, got {line.strip()!r}.")
        if fields:
            fields[-1] = fields[-1].rstrip()
            rows.append(TableLine(path, number, dict(zip(columns, fields, strict=True))))
    return rows


def read_csv(path: Path, columns: Sequence[str] = (), *, optional: Sequence[str] = ()) -> list[TableLine]:
    """The lines of a CSV file with a header, as Excel, LibreOffice and pandas write it.

    Between the fields stand commas, semicolons, tabs or bars: what a first line `sep=;` says, else what makes
    most columns of the header. Where it is no comma, numbers may have decimal commas. The text is UTF-8,
    UTF-16 with its mark (Excel's "Unicode text") or Windows-1252; fields may be quoted. Names of columns are
    compared in lower case; an optional column that is not there has empty fields, and columns of other names
    are kept.

    Raises:
        DataError: No such file, no text, a column missing in the header or twice in it, or a line with too
            few or too many fields.
    """
    text, separator, first = _dialect(_decoded(_bytes(path, ",".join(columns)), path))
    header = text.partition("\n")[0]
    between = f"separated by {SEPARATORS.get(separator, repr(separator))}"
    reader = csv.reader(io.StringIO(text), delimiter=separator, skipinitialspace=separator != "\t")
    rows = []
    try:
        names = [name.strip().lower() for name in next(reader, ())]
        for name in columns:
            if names.count(name) != 1:
                what = f"without {name}" if name not in names else f"with {name} twice"
                raise DataError(
                    f"{path}, line {first}: wanted a header with {', '.join(columns)}, got "
                    f"{header[:200]!r} {what} (separated by commas, semicolons or tabs)."
                )
        for values in reader:
            number = reader.line_num + first - 1
            fields = [value.strip() for value in values]
            if not any(fields):
                continue
            if len(fields) < len(names) or any(fields[len(names) :]):
                is_split = separator == "," and len(fields) > len(names)
                commas = "; decimal commas need semicolons between the fields" if is_split else ""
                raise DataError(
                    f"{path}, line {number}: wanted {len(names)} fields, got {len(fields)} {between}{commas}."
                )
            named = dict.fromkeys(optional, "") | dict(zip(names, fields, strict=False))
            rows.append(TableLine(path, number, named, has_decimal_commas=separator != ","))
    except csv.Error as error:
        number = reader.line_num + first - 1
        raise DataError(f"{path}, line {number}: {error}; is a quotation mark not closed?") from error
    return rows


def csv_columns(path: Path, wanted: str = "column,column") -> tuple[str, ...]:
    """The names of the columns of a CSV file, in lower case, without reading all of it.

    Raises:
        DataError: No such file, or no text.
    """
    content = _bytes(path, wanted, most=1 << 16)
    if content[:2] not in _UTF16 and len(content) == 1 << 16:
        content = content[: content.rfind(b"\n") + 1] or content  # no half of a letter
    text, separator, _ = _dialect(_decoded(content, path))
    header = next(csv.reader(io.StringIO(text), delimiter=separator), ())
    return tuple(name.strip().lower() for name in header)


def _dialect(text: str) -> tuple[str, str, int]:
    """A table's text from its header on, what stands between fields, and the header's line.

    That is what a line `sep=;` says, else what makes most columns of the header.
    """
    if said := re.match(r'"?sep=(.)"?[;,\t|]*\n', text, re.IGNORECASE):
        return text[said.end() :], said[1], 2
    header = [text.partition("\n")[0]]
    separator = max(SEPARATORS, key=lambda one: len(next(csv.reader(header, delimiter=one), ())))
    return text, separator, 1


def _decoded(content: bytes, path: Path) -> str:
    """What a CSV file says, its lines ended by newlines."""
    for encoding in ("utf-16",) if content[:2] in _UTF16 else ("utf-8-sig", "cp1252"):
        try:
            text = content.decode(encoding)
        except UnicodeDecodeError:
            continue
        if "\0" not in text:
            return text.replace("\r\n", "\n").replace("\r", "\n")
    raise DataError(
        f"{path} cannot be read: it is no text in UTF-8, UTF-16 (with its mark) or Windows-1252; save "
        "the table as CSV with UTF-8."
    )


def _bytes(path: Path, layout: str, most: int = -1) -> bytes:
    try:
        check_ordinary(path)
        with path.open("rb") as file:
            return file.read(most)
    except FileNotFoundError:
        raise DataError(f"{path} is missing; wanted a table of lines `{layout}`.") from None
    except FileError as error:
        raise DataError(f"{error} Wanted a table of lines `{layout}`.") from error
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error}.") from error


class Names:
    """Pictures by the ways in which a table may name them."""

    def __init__(self, names: Iterable[str]) -> None:
        self._all = dict.fromkeys(names)
        self._by_end: defaultdict[str, list[str]] = defaultdict(list)
        for name in self._all:
            last = name.rpartition("/")[2].casefold()
            for end in dict.fromkeys((last, os.path.splitext(last)[0])):
                self._by_end[end].append(name)

    def find(self, text: str) -> list[str]:
        """The pictures that are meant: of this path, or of this end of a path, with or without suffix.

        Capitals count only where there are several otherwise.
        """
        wanted = plain(text).replace("\\", "/").removeprefix("./")
        if wanted in self._all:
            return [wanted]
        end = wanted.casefold().rpartition("/")[2]
        for fold in (str, str.casefold):
            *folders, last = fold(wanted).split("/")
            found = []
            for name in self._by_end.get(end, ()):
                *above, own = fold(name).split("/")
                if last in (own, os.path.splitext(own)[0]) and _ends_alike(above, folders):
                    found.append(name)
            if found:
                return [name for name in found if fold(name).rpartition("/")[2] == last] or found
        return []


def _ends_alike(one: Sequence[str], other: Sequence[str]) -> bool:
    """Whether the shorter of two paths is the end of the longer."""
    length = min(len(one), len(other))
    return one[len(one) - length :] == other[len(other) - length :]


def box_columns(columns: Iterable[str]) -> tuple[str, ...]:
    """Those of the columns that tell of a box; none where there is no box."""
    there = set(columns)
    return next((box for box in _BOX_COLUMNS if there.issuperset(box)), ())


def unique(rows: Iterable[TableLine], column: str) -> dict[int, TableLine]:
    """The rows by an id, in the order of the file.

    Raises:
        DataError: An id that is no whole number, or stands there twice.
    """
    seen: dict[int, TableLine] = {}
    for row in rows:
        key = row.whole(column)
        if key in seen:
            raise row.error(f"{column} {key} again; it stands on {row.unit} {seen[key].number} already.")
        seen[key] = row
    return seen
