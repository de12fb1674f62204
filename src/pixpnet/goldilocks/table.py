"""The table of results: one row per (model, stage, mode, readout), in a CSV as soon as it is known."""

from __future__ import annotations

import csv
import io
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Literal, NamedTuple, get_args

from pixpnet.errors import DataError, FileError
from pixpnet.files import csv_text, is_there, read_text, write_text
from pixpnet.records import checked

Mode = Literal["probe", "finetune"]
Readout = Literal["average", "prototypes"]
Weights = Literal["pretrained", "trained", "random"]

READOUT_TITLES: Mapping[Readout, str] = {
    "average": "average pooling",
    "prototypes": "max-similarity prototypes",
}


class Key(NamedTuple):
    """What tells rows apart: a run that finds a row's key in the table does not do it again."""

    model: str
    stage: str
    mode: Mode
    readout: Readout
    seed: int
    dataset: str
    height: int
    width: int
    weights: Weights


@dataclass(frozen=True)
class Row:
    """How well the classes of a data set can be told from one stage of one backbone."""

    model: str
    stage_number: int
    """Among the stages of the model, from 1."""
    stage: str
    dataset: str
    height: int
    """The network's input, in pixels."""
    width: int
    test_accuracy: float
    """Share of the test images, 0 to 1."""
    test_accuracy_top5: float
    """Share of the test images whose class is among the five likeliest."""
    mean_rf: float
    """Mean receptive field of the stage's cells, percent of the image."""
    max_rf: float
    parameters: int
    """What the network has up to the stage."""
    macs: int
    """Multiply-adds for one image, of the network up to the stage."""
    mode: Mode
    """Heads on the frozen backbone (probe), or the cut network trained as a whole (finetune)."""
    readout: Readout
    """What the head reads: the average over cells, or the best cell's similarity to prototypes."""
    weights: Weights
    """Where the backbone's weights are from: published, trained on this data first, or random."""
    seed: int
    seconds: float
    """What the row took, beyond what rows share."""
    version: str
    """The version of pixpnet."""

    @property
    def key(self) -> Key:
        return Key(*(getattr(self, name) for name in Key._fields))


RANK = "Pareto Rank"

COLUMNS: Mapping[str, str] = {
    "Test Accuracy": "test_accuracy",
    "Test Accuracy Top5": "test_accuracy_top5",
    "Dataset": "dataset",
    "Height": "height",
    "Width": "width",
    "Stage #": "stage_number",
    "Stage Name": "stage",
    "Model": "model",
    "Mean RF %": "mean_rf",
    "Max RF %": "max_rf",
    RANK: "",  # no property of one row alone
    "Parameters": "parameters",
    "MACs": "macs",
    "Mode": "mode",
    "Readout": "readout",
    "Weights": "weights",
    "Seed": "seed",
    "Seconds": "seconds",
    "Version": "version",
}
"""The CSV's headings and the fields below them; the first eight are the original's."""

_CHOICES: Mapping[str, tuple[str, ...]] = {
    "mode": get_args(Mode),
    "readout": get_args(Readout),
    "weights": get_args(Weights),
}
_CONVERTERS = {"int": int, "float": lambda text: checked(float, float(text))}
_TYPES = {field.name: field.type for field in fields(Row)}


def append_row(path: Path, row: Row) -> None:
    """Add a row, on the disk when this returns. A file that is not there is begun, a torn last line goes."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a+b") as file:
        file.seek(0)
        content = file.read()
        file.truncate(content.rfind(b"\n") + 1)
        lines = [] if b"\n" in content else [COLUMNS]
        file.write(csv_text([*lines, _cells(row)]).encode())
        file.flush()
        os.fsync(file.fileno())


def read_rows(path: Path) -> list[Row]:
    """The rows of a table, in order; no file has none. A torn last line is left out.

    Raises:
        DataError: The file is no such table; the error names the line.
    """
    if not is_there(path):
        return []
    try:
        text = read_text(path)
    except FileError as error:
        raise DataError(f"{path} is no table of Goldilocks results ({error})") from None
    whole = text[: text.rfind("\n") + 1]
    if not whole and not csv_text([COLUMNS]).startswith(text):  # nor the beginning of one
        raise DataError(f"{path} is no table of Goldilocks results: it begins with {text[:20]!r}.")
    reader = csv.DictReader(io.StringIO(whole))
    missing = [name for name in COLUMNS if name not in (reader.fieldnames or ())]
    if whole and missing:
        raise DataError(f"{path} is no table of Goldilocks results: it has no column {', '.join(missing)}.")
    try:
        return [_row(cells) for cells in reader]
    except (TypeError, ValueError, csv.Error) as error:
        raise DataError(f"{path}, line {reader.line_num}: {error}.") from None


def write_rows(path: Path, rows: Sequence[Row], ranks: Iterable[int]) -> None:
    """Write the whole table anew, atomically, with the Pareto rank of each row."""
    lines = [_cells(row, str(rank)) for row, rank in zip(rows, ranks, strict=True)]
    write_text(path, csv_text([COLUMNS, *lines]))


def _cells(row: Row, rank: str = "") -> list[str]:
    return [str(getattr(row, name)) if name else rank for name in COLUMNS.values()]


def _row(cells: Mapping[str, str]) -> Row:
    """
    Raises:
        ValueError: A cell holds no value of its column; TypeError: the line is too short.
    """
    return Row(**{name: _value(name, heading, cells[heading]) for heading, name in COLUMNS.items() if name})


def _value(name: str, heading: str, text: str):
    allowed = _CHOICES.get(name)
    if allowed and text not in allowed:
        raise ValueError(f"{heading} is {text!r}, not one of {', '.join(allowed)}")
    return _CONVERTERS.get(str(_TYPES[name]), str)(text)
