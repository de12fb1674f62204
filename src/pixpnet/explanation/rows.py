"""Predictions as rows of a file, one by one, so that a killed call can go on: CSV, JSON lines or Parquet.

CSV and Parquet have a column for each value, those of evidence numbered from 1; JSON lines hold all of
`Prediction.to_dict`. Names that are no UTF-8 are written as the bytes that they are (in JSON as escapes).
"""

from __future__ import annotations

import csv
import heapq
import io
import json
import os
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any, NamedTuple

import torch

from pixpnet.choices import choose
from pixpnet.errors import ConfigError, FileError
from pixpnet.explanation.evidence import Evidence
from pixpnet.explanation.files import explain_images
from pixpnet.explanation.prediction import Prediction, predict
from pixpnet.files import sole_writer, write_atomically
from pixpnet.runs import Run, load
from pixpnet.types import Box, Progress, no_progress

_OF_PICTURE: dict[str, Callable[[Prediction], Any]] = {
    "path": lambda one: one.path,
    "class": lambda one: one.class_name,
    "probability": lambda one: one.probability,
    "margin": lambda one: one.margin,
    "second_class": lambda one: one.second_class,
    "unfamiliar": lambda one: one.unfamiliar,
    "error": lambda one: one.error,
}
_OF_EVIDENCE: dict[str, Callable[[Evidence], Any]] = {
    "prototype": lambda one: one.number,
    "similarity": lambda one: one.similarity,
    "contribution": lambda one: one.contribution,
    "box": lambda one: _edges(one.box_in_picture),
    "input_box": lambda one: _edges(one.box),
    "looks_like": lambda one: None if one.source is None else one.source.path,
    "looks_like_box": lambda one: None if one.source is None else _edges(one.source.box),
}
_TYPES = {"prototype": "int64"} | dict.fromkeys(
    ("probability", "margin", "unfamiliar", "similarity", "contribution"), "float64"
)
"""Of columns in Parquet; all others are text."""
_ROWS_AT_ONCE = 1000


class Written(NamedTuple):
    """Pictures in a file of predictions."""

    pictures: int
    unreadable: int
    least_certain: tuple[str, ...] = ()
    """The pictures whose class has the lowest probability, lowest first: as many as were asked for."""


class _Row(NamedTuple):
    """What is known of a row that is there already."""

    path: str
    probability: float | None
    """None: the picture could not be read."""


class _Lines(NamedTuple):
    """A format of text that grows by lines."""

    head: Callable[[int], str]
    """What stands above the rows, for so many prototypes of evidence."""
    line: Callable[[Prediction, int], str]
    read: Callable[[Path, str], tuple[list[_Row], int]]
    """The whole rows, and where they end in bytes."""


def write_predictions(
    run_dir: Run | str | Path,
    pictures: Iterable[str | Path],
    *,
    out: str | Path | None = None,
    top_k: int = 3,
    batch_size: int | None = None,
    resume: bool = False,
    explain: str | Path | None = None,
    review: int = 0,
    dataset_root: str | Path | None = None,
    progress: Progress = no_progress,
) -> Written:
    """Predict picture files, and write a row for each of them, also for those that can't be read.

    Args:
        run_dir: A run directory or one of its checkpoints, whose network goes to a GPU where there is one; or
            what was loaded of it, which stays where it is.
        pictures: Their files; `pixpnet.data.find_pictures` finds those in folders.
        out: The file, of .csv, .jsonl or .parquet (which needs pyarrow); None: CSV on stdout.
        top_k: Prototypes of each picture's evidence.
        batch_size: Pictures at a time; None: 8, on a GPU 64.
        resume: Go on with a file that a killed call has left: pictures that have a row get no other one.
        explain: Also write the explanation of every picture that can be read to this folder.
        review: Name so many of the pictures that the network is least certain of.
        dataset_root: Where the run's data lies now, if it has moved.
        progress: Told of the pictures.

    Raises:
        CheckpointError: There is no such run.
        ConfigError: The ending of `out` is none of these, can't be resumed, or the file has other columns.
        DataError: The run's data is wanted for explanations, and gone.
        FileError: The file can't be written or read.
    """
    write = _writer(out, resume=resume)
    if isinstance(run_dir, Run):
        run = run_dir
    else:
        run = load(run_dir, dataset_root=dataset_root)
        run.network.to("cuda" if torch.cuda.is_available() else "cpu")
    if explain is not None:  # what is wrong is better known before the work
        run.require_source_images()
    names = list(dict.fromkeys(os.fspath(picture) for picture in pictures))
    readable: dict[str, float] = {}  # with the probability of the class

    def predicted(former: Iterable[_Row]) -> Iterator[Prediction]:
        """Of the pictures without a row; what is wrong with the run is known before the first one."""
        there = {row.path: row.probability for row in former}
        missing = [name for name in names if name not in there]
        known = ((name, there.get(name)) for name in names)
        readable.update((name, probability) for name, probability in known if probability is not None)
        found = predict(run, missing, top_k=top_k, batch_size=batch_size)

        def told() -> Iterator[Prediction]:
            for done, one in enumerate(found, start=1 + len(names) - len(missing)):
                if one.probability is not None:
                    readable[one.path] = one.probability
                yield one
                progress(done, len(names), "pictures")

        return told()

    write(predicted, top_k)
    if explain is not None and readable:
        explain_images(run, list(readable), top_k=max(1, top_k), out=explain)
    least_certain = tuple(heapq.nsmallest(review, readable, key=readable.__getitem__))
    return Written(len(names), len(names) - len(readable), least_certain)


_Predicted = Callable[[Iterable[_Row]], Iterator[Prediction]]


def _writer(out: str | Path | None, *, resume: bool) -> Callable[[_Predicted, int], None]:
    """What writes the rows to the file."""
    if out is None:
        if resume:
            raise ConfigError("predict: --resume needs the file to go on with: --out FILE.")
        return _print
    path = Path(out)
    if path.suffix.lower() == ".parquet":
        if resume:
            raise ConfigError(
                f"predict: {path} can't be resumed: part of a Parquet file can't be read, so a killed call "
                "leaves none. Write .csv or .jsonl to be able to resume."
            )
        return _parquet_writer(path)
    lines = choose({**_LINES, ".parquet": None}, path.suffix.lower(), what="the ending of --out")
    assert lines is not None

    def write(predicted: _Predicted, top_k: int) -> None:
        head = lines.head(top_k)
        if path.exists() and not path.is_file():
            raise FileError(f"{path} could not be written: it is no ordinary file.")
        with sole_writer(path.parent, name=path.name):
            former, end = lines.read(path, head) if resume and path.exists() else ([], 0)
            rows = predicted(former)
            with _open_after(path, end) as file:
                if end == 0:
                    file.write(head)
                for one in rows:
                    file.write(lines.line(one, top_k))
                    file.flush()

    return write


def _print(predicted: _Predicted, top_k: int) -> None:
    rows = predicted(())
    sys.stdout.write(_csv_head(top_k))
    for one in rows:
        sys.stdout.write(_csv_line(one, top_k))
        sys.stdout.flush()


@contextmanager
def _open_after(path: Path, end: int) -> Iterator[IO[str]]:
    """A file to add lines to, cut after so many bytes."""
    try:
        with path.open("a", encoding="utf-8", errors="surrogateescape", newline="") as file:
            file.truncate(end)
            yield file
    except OSError as error:
        raise FileError(f"{path} could not be written: {error}. --resume goes on with it.") from error


def _columns(top_k: int) -> list[str]:
    return [*_OF_PICTURE, *(f"{name}_{place}" for place in range(1, top_k + 1) for name in _OF_EVIDENCE)]


def _values(prediction: Prediction, top_k: int) -> list[Any]:
    """Of the columns."""
    found = [value(prediction) for value in _OF_PICTURE.values()]
    for one in prediction.evidence:
        found += [value(one) for value in _OF_EVIDENCE.values()]
    return found + [None] * (len(_OF_PICTURE) + top_k * len(_OF_EVIDENCE) - len(found))


def _edges(box: Box | None) -> str | None:
    """A box as text: left, top, right, bottom."""
    return None if box is None else " ".join(f"{edge:.10g}" for edge in box)


def _csv_head(top_k: int) -> str:
    return _csv_row(_columns(top_k))


def _csv_line(prediction: Prediction, top_k: int) -> str:
    return _csv_row(_values(prediction, top_k))


def _csv_row(values: Sequence[Any]) -> str:
    text = io.StringIO()
    # A carriage return needs quotes, too, whatever the line's own end is.
    quoting = csv.QUOTE_ALL if any("\r" in str(value) for value in values) else csv.QUOTE_MINIMAL
    csv.writer(text, lineterminator="\n", quoting=quoting).writerow(values)
    return text.getvalue()


def _csv_rows(path: Path, head: str) -> tuple[list[_Row], int]:
    """As `_Lines.read`; a name may have line ends in it, so lines are no rows."""
    position, line = 0, ""
    found, end = [], 0
    _check_begin(path, ",".join(_OF_PICTURE))

    def lines(file: IO[bytes]) -> Iterator[str]:
        nonlocal position, line
        for data in file:
            position, line = position + len(data), data.decode("utf-8", "surrogateescape")
            yield line

    columns = next(csv.reader([head]))
    place = columns.index("probability")
    with path.open("rb") as file:
        rows = csv.reader(lines(file), strict=True)  # strict: an open quotation mark at the end is an error
        try:
            for number, row in enumerate(rows):
                if not line.endswith("\n"):
                    break
                if number == 0 and row != columns:
                    raise ConfigError(
                        f"predict: {path} has other columns than these; was --top-k another one?"
                    )
                if len(row) != len(columns):
                    raise FileError(f"{path} can't be resumed: its row {number} has other columns.")
                if number:
                    found.append(_Row(row[0], float(row[place]) if row[place] else None))
                end = position
        except csv.Error:
            pass
        except ValueError as error:
            raise FileError(
                f"{path} can't be resumed: the probability of its row {number} is no number."
            ) from error
    return found, end


def _check_begin(path: Path, wanted: str) -> None:
    """Check that a file, which may have no whole line yet, begins as predictions do.

    Raises:
        FileError: It is something else, or can't be read.
    """
    begin = wanted.encode()
    try:
        with path.open("rb") as file:
            first = file.read(len(begin))
    except OSError as error:
        raise FileError(f"{path} can't be read: {error}.") from error
    if not begin.startswith(first):
        raise FileError(f"{path} can't be resumed: it holds something else than predictions.")


def _json_line(prediction: Prediction, top_k: int) -> str:
    return json.dumps(prediction.to_dict(), allow_nan=False) + "\n"


def _json_rows(path: Path, head: str) -> tuple[list[_Row], int]:
    found, end = [], 0
    _check_begin(path, '{"path": ')
    with path.open("rb") as file:
        for data in file:
            if not data.endswith(b"\n"):
                break
            try:
                values = json.loads(data)
                probability = values["probability"]
                found.append(_Row(values["path"], None if probability is None else float(probability)))
            except (ValueError, KeyError, TypeError) as error:
                raise FileError(
                    f"{path} can't be resumed: its line {len(found) + 1} is no prediction."
                ) from error
            end += len(data)
    return found, end


_LINES = {
    ".csv": _Lines(_csv_head, _csv_line, _csv_rows),
    ".jsonl": _Lines(lambda top_k: "", _json_line, _json_rows),
}


def _utf8(value: Any) -> Any:
    """A text with escapes for the bytes in it that are no UTF-8."""
    if not isinstance(value, str):
        return value
    return value.encode(errors="surrogateescape").decode(errors="backslashreplace")


def _parquet_writer(path: Path) -> Callable[[_Predicted, int], None]:
    try:
        import pyarrow  # pyright: ignore[reportMissingImports]
        from pyarrow import parquet  # pyright: ignore[reportMissingImports]
    except ImportError as error:
        raise ConfigError(
            "predict: Parquet files need pyarrow: pip install 'pixpnet[parquet]', or write .csv or .jsonl."
        ) from error

    def write(predicted: _Predicted, top_k: int) -> None:
        types = [
            (name, _TYPES.get(name.rstrip("0123456789").rstrip("_"), "string")) for name in _columns(top_k)
        ]
        schema = pyarrow.schema([(name, pyarrow.type_for_alias(type_)) for name, type_ in types])

        def fill(file: IO[bytes]) -> None:
            rows: list[dict[str, Any]] = []
            with parquet.ParquetWriter(file, schema) as writer:
                for one in predicted(()):
                    rows.append(dict(zip(schema.names, map(_utf8, _values(one, top_k)), strict=True)))
                    if len(rows) == _ROWS_AT_ONCE:
                        writer.write_table(pyarrow.Table.from_pylist(rows, schema))
                        rows.clear()
                writer.write_table(pyarrow.Table.from_pylist(rows, schema))

        write_atomically(path, fill)

    return write
