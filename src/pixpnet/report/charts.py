"""Training curves: from metrics.csv to the points of small charts."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from pixpnet.config import Config
from pixpnet.errors import CheckpointError, FileError
from pixpnet.files import is_there, read_text
from pixpnet.words import percent

WIDTH, HEIGHT = 400, 220
"""Size of a chart in its own units; text is 12 of them high."""
LEFT, RIGHT, TOP, BOTTOM = 46, 392, 8, 192
"""Sides of the area with the lines."""

CHARTS = (("Accuracy", "accuracy", True), ("Loss", "total_loss", False))
"""(title, measure, is a share of 1)."""
SPLITS = {"train": "training", "val": "validation", "test": "test"}

Point = tuple[int, float]
"""(epoch, value)."""


@dataclass(frozen=True)
class Series:
    """One line of a chart."""

    split: str
    name: str
    points: tuple[Point, ...]
    path: str
    """The points in the chart's units, as SVG's ``points``."""

    @property
    def last(self) -> Point:
        return self.points[-1]


@dataclass(frozen=True)
class Chart:
    """One measure over the epochs."""

    title: str
    is_share: bool
    series: tuple[Series, ...]
    x_ticks: tuple[tuple[float, str], ...]
    y_ticks: tuple[tuple[float, str], ...]
    stages: tuple[tuple[float, int, str], ...]
    """(where it ends, its last epoch, name)."""

    @property
    def summary(self) -> str:
        """The chart in words."""
        parts = [
            f"{one.name} from {self.say(one.points[0][1])} to {self.say(one.last[1])}" for one in self.series
        ]
        return f"{self.title} over the epochs: {'; '.join(parts)}."

    @property
    def table(self) -> tuple[tuple[int, tuple[str, ...]], ...]:
        """(epoch, value of every series, empty where it has none)."""
        columns = [dict(one.points) for one in self.series]
        epochs = sorted({epoch for column in columns for epoch in column})
        return tuple(
            (epoch, tuple(self.say(column[epoch]) if epoch in column else "" for column in columns))
            for epoch in epochs
        )

    def say(self, value: float) -> str:
        return percent(value) if self.is_share else f"{value:.3g}"


def read_charts(path: Path, config: Config) -> tuple[Chart, ...]:
    """The charts of a run's metrics.csv; none where the file or all of its figures are missing.

    Raises:
        CheckpointError: The file is damaged.
    """
    if not is_there(path):
        return ()
    charts = []
    try:
        reader = csv.DictReader(io.StringIO(read_text(path), newline=""))
        if "epoch" not in (reader.fieldnames or ()):
            raise ValueError("it has no column epoch")
        rows = list(reader)
        read = {
            measure: {split: _points(rows, f"{split}_{measure}") for split in SPLITS}
            for _, measure, _ in CHARTS
        }
    except (FileError, ValueError, KeyError, TypeError, csv.Error) as error:
        raise CheckpointError(
            f"{path} is damaged ({error!r}); without it the report has no curves."
        ) from error
    for title, measure, is_share in CHARTS:
        points = read[measure]
        if any(points.values()):
            charts.append(_chart(title, points, is_share=is_share, config=config))
    return tuple(charts)


def _points(rows: Sequence[dict[str, str]], column: str) -> tuple[Point, ...]:
    found: dict[int, float] = {}
    for row in rows:
        value = float(row.get(column) or "nan")
        if math.isfinite(value):
            found[int(row["epoch"])] = value
    return tuple(found.items())


def _chart(title: str, points: dict[str, tuple[Point, ...]], *, is_share: bool, config: Config) -> Chart:
    values = [value for line in points.values() for _, value in line]
    last = max(epoch for line in points.values() for epoch, _ in line)
    low, high = (0.0, 1.0) if is_share else (min(0.0, *values), max(0.0, *values))
    high = high if high > low else 1.0
    step = _round_step((high - low) / 4)
    low, high = step * math.floor(low / step + 1e-9), step * math.ceil(high / step - 1e-9)

    def x(epoch: float) -> float:
        return round(LEFT + (RIGHT - LEFT) * (epoch - 0.5) / last, 1)

    def y(value: float) -> float:
        return round(BOTTOM - (BOTTOM - TOP) * (value - low) / (high - low), 1)

    epoch_step = max(1, round(_round_step(last / 5)))
    y_values = [low + step * number for number in range(round((high - low) / step) + 1)]
    return Chart(
        title=title,
        is_share=is_share,
        series=tuple(
            Series(split, SPLITS[split], line, " ".join(f"{x(epoch)},{y(value)}" for epoch, value in line))
            for split, line in points.items()
            if line
        ),
        x_ticks=tuple((x(epoch), str(epoch)) for epoch in range(epoch_step, last + 1, epoch_step)),
        y_ticks=tuple((y(value), f"{100 * value:.0f} %" if is_share else f"{value:g}") for value in y_values),
        stages=tuple((x(end + 0.5), end, name) for end, name in _stages(config, last)),
    )


def _round_step(step: float) -> float:
    """The next of 1, 2, 2.5, 5 or 10 times a power of ten."""
    power = 10.0 ** math.floor(math.log10(step))
    return power * next(factor for factor in (1, 2, 2.5, 5, 10) if factor * power >= step * (1 - 1e-9))


def _stages(config: Config, last: int) -> list[tuple[int, str]]:
    """(last epoch, name) of the stages that began."""
    backbone = min(config.train.backbone_epochs, last)
    warm = min(backbone + config.optimizer.warmup_period, last)
    ends = [(0, backbone, "backbone"), (backbone, warm, "warm-up"), (warm, last, "joint")]
    return [(end, name) for start, end, name in ends if end > start]
