"""Measurements as tables: their words and cells, and the tables of one run's metrics."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path

from pixpnet.evaluation import METRICS, EvaluationFiles, Measurement
from pixpnet.pixel_space import mapping_title
from pixpnet.words import spaced

MISSING = "–"


@dataclass(frozen=True)
class Cell:
    """One number, or what a row says of one run."""

    text: str = MISSING
    interval: str = ""
    """The interval in which 95 % of its resamples lie; empty for what was counted."""
    is_best: bool = False

    @property
    def is_missing(self) -> bool:
        """Whether it is not known."""
        return self.text == MISSING


@dataclass(frozen=True)
class TableRow:
    """One quantity, for every method or run."""

    title: str
    cells: tuple[Cell, ...]
    better: str = ""
    """high, low, or nothing where neither is."""
    detail: str = ""
    """Mapping and protocol, where they don't stand elsewhere."""


@dataclass(frozen=True)
class MetricTable:
    """One metric of one run."""

    title: str
    methods: tuple[str, ...]
    """Headings of the columns; empty for a metric that does not depend on the method."""
    rows: tuple[TableRow, ...]
    note: str


def metric_title(metric: str) -> str:
    """As the table of metrics has it; one that is not there is called by its own name."""
    return METRICS[metric].title if metric in METRICS else spaced(metric).capitalize()


def read_metrics(folder: Path, *, checkpoint: str) -> tuple[MetricTable, ...]:
    """The tables of a folder's interpretability.yaml; nothing without that file.

    Args:
        folder: The run's results.
        checkpoint: File name of the checkpoint that the report shows.

    Raises:
        DataError: A file is damaged.
    """
    evaluation = EvaluationFiles(folder).read()
    if evaluation is None:
        return ()
    warning = ""
    if evaluation.checkpoint != checkpoint:
        warning = f"Measured on the checkpoint {evaluation.checkpoint}, not on the one that this page shows. "
    known = [one for one in evaluation.measurements if one.metric in METRICS]
    groups = groupby(known, key=lambda one: (one.metric, one.protocol, dict(one.settings)))
    return tuple(_table(list(of_metric), warning) for _, of_metric in groups)


def _table(measurements: Sequence[Measurement], warning: str) -> MetricTable:
    first = measurements[0]
    metric = METRICS[first.metric]
    names = [name for name in metric.quantities if any(name in one.values for one in measurements)]
    rows = tuple(
        TableRow(
            metric.quantities[name].title,
            tuple(
                Cell(*one.values[name].in_words(one.units[name])) if name in one.values else Cell()
                for one in measurements
            ),
            metric.quantities[name].better,
        )
        for name in names
    )
    return MetricTable(
        title=f"{metric.title}, {first.protocol}" if first.protocol else metric.title,
        methods=tuple(mapping_title(one.method) for one in measurements if one.method is not None),
        rows=rows,
        note=warning + _note(measurements),
    )


def _note(measurements: Sequence[Measurement]) -> str:
    """What the values were taken over."""
    values = [value for one in measurements for value in one.values.values()]
    counts, left_out = {value.count for value in values}, max(value.left_out for value in values)
    span = " to ".join(f"{count:,}" for count in sorted({min(counts), max(counts)}))
    words = [f"Means of {span} values", f"up to {left_out:,} left out"]
    words = words if left_out else words[:1]
    settings = measurements[0].settings
    words += [f"{spaced(name)} {_plain(value)}" for name, value in settings.items() if value is not None]
    return ", ".join(words) + "."


def _plain(value: float | str) -> str:
    return value.replace("-", " ") if isinstance(value, str) else f"{value:g}"
