"""Tables in text files, and errors that name file and line."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from pixpnet.errors import DataError

__all__ = ["Row", "read_csv", "read_rows", "unique"]


@dataclass(frozen=True)
class Row:
    """One line of a table; the last of its fields keeps its blanks."""

    path: Path
    number: int
    fields: list[str]

    def error(self, message: str) -> DataError:
        return DataError(f"{self.path}, line {self.number}: {message}")

    def integer(self, column: int, what: str) -> int:
        try:
            return int(self.fields[column])
        except ValueError:
            raise self.error(f"wanted {what} (a whole number), got {self.fields[column]!r}.") from None

    def numbers(self, columns: slice, what: str) -> list[float]:
        try:
            numbers = [float(field) for field in self.fields[columns]]
        except ValueError:
            numbers = []
        if not numbers or not np.isfinite(numbers).all():
            raise self.error(f"wanted {what} (numbers), got {' '.join(self.fields[columns])!r}.")
        return numbers

    def flag(self, column: int, what: str) -> bool:
        if self.fields[column] not in ("0", "1"):
            raise self.error(f"wanted {what} (0 or 1), got {self.fields[column]!r}.")
        return self.fields[column] == "1"


def read_rows(path: Path, layout: str) -> list[Row]:
    """The lines of a table with blanks between its columns; `layout` names them: `<image id> <path>`.

    Raises:
        DataError: No such file, no text, or a line with too few columns.
    """
    columns = layout.count("<")
    table = []
    for number, line in enumerate(_lines(path, layout), start=1):
        fields = line.split(None, columns - 1)
        if not fields:
            continue
        if len(fields) < columns:
            raise DataError(f"{path}, line {number}: wanted `{layout}`, got {line.strip()!r}.")
        table.append(Row(path, number, [*fields[:-1], fields[-1].rstrip()]))
    return table


def read_csv(path: Path, columns: Sequence[str], *, optional: Sequence[str] = ()) -> list[Row]:
    """The lines of a CSV file with a header; each row has the fields of `columns`, then of `optional`.

    An optional column that is not there has empty fields; columns of other names are left aside.

    Raises:
        DataError: No such file, no text, a column missing in the header, or a line with too few or too many
            fields.
    """
    header: list[str] = []
    places: list[int | None] = []
    table = []
    reader = csv.reader(_lines(path, ",".join(columns)), skipinitialspace=True)
    try:
        lines = [(reader.line_num, line) for line in reader]
    except csv.Error as error:
        raise DataError(
            f"{path}, line {reader.line_num}: {error}; is a quotation mark not closed?"
        ) from error
    for number, line in lines:
        fields = [field.strip() for field in line]
        if not any(fields):
            continue
        if not header:
            header = [name.lower() for name in fields]
            missing = [name for name in columns if name not in header]
            if missing:
                raise DataError(
                    f"{path}, line {number}: wanted a header with {', '.join(columns)}, "
                    f"got {','.join(fields)!r} without {', '.join(missing)}."
                )
            places = [header.index(name) if name in header else None for name in (*columns, *optional)]
        elif len(fields) < len(header) or any(fields[len(header) :]):
            raise DataError(f"{path}, line {number}: wanted {len(header)} fields, got {','.join(line)!r}.")
        else:
            table.append(Row(path, number, ["" if place is None else fields[place] for place in places]))
    if not header:
        raise DataError(f"{path} is empty; wanted a header with {', '.join(columns)}.")
    return table


def _lines(path: Path, layout: str) -> list[str]:
    try:
        return path.read_text(encoding="utf-8-sig").splitlines()
    except FileNotFoundError:
        raise DataError(f"{path} is missing; wanted a table of lines `{layout}`.") from None
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{path} cannot be read: {error}.") from error


def unique(rows: Iterable[Row], what: str) -> dict[int, Row]:
    """The rows by the id in their first column, in the order of the file.

    Raises:
        DataError: An id that is no whole number, or stands there twice.
    """
    seen: dict[int, Row] = {}
    for row in rows:
        key = row.integer(0, f"the id of a {what}")
        if key in seen:
            raise row.error(f"{what} {key} again; it stands on line {seen[key].number} already.")
        seen[key] = row
    return seen
