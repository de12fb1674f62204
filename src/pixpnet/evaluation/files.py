"""The files of an evaluation, each written whole or not at all; its measurements as tables and figures."""

from __future__ import annotations

import csv
import io
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from pixpnet.errors import DataError, FileError
from pixpnet.evaluation.metric import Curve, Evaluation, Key, Measurement
from pixpnet.evaluation.table import METRICS
from pixpnet.figures import FIGURE_FORMATS, BarPanel, CurveLine, bars_figure, curves_figure, save_figure
from pixpnet.files import csv_text, is_there, read_mapping, read_text, write_text, write_yaml
from pixpnet.metrics import Estimate
from pixpnet.pixel_space import mapping_title
from pixpnet.runs import RunDirectory

COLUMNS = ("metric", "method", "protocol", "quantity", "unit", *Estimate._fields, "seconds")
CURVE_COLUMNS = ("metric", "method", "share", "similarity", "normalised")


@dataclass(frozen=True)
class EvaluationFiles:
    """Where an evaluation lies."""

    folder: Path
    prefix: str = ""
    """What the names of the files begin with."""

    @classmethod
    def of_checkpoint(cls, checkpoint: Path, *, out: Path | None = None) -> EvaluationFiles:
        """In `out`, or in the results of the checkpoint's run, or beside a checkpoint that lies alone."""
        if out is not None:
            return cls(out)
        run = RunDirectory.of_checkpoint(checkpoint)
        return cls(checkpoint.parent, f"{checkpoint.stem}.") if run is None else cls(run.results)

    @property
    def yaml(self) -> Path:
        """All measurements; what is read back."""
        return self._file("interpretability.yaml")

    @property
    def csv(self) -> Path:
        """One row for each quantity."""
        return self._file("interpretability.csv")

    @property
    def curves(self) -> Path:
        """One row for each point of a curve."""
        return self._file("interpretability_curves.csv")

    def figure(self, metric: str, suffix: str) -> Path:
        """The curves of a metric."""
        return self._file(f"{metric}.{suffix}")

    def existing(self) -> list[Path]:
        """The files that there are, the one that is read back first."""
        figures = [self.figure(metric, suffix) for metric in METRICS for suffix in FIGURE_FORMATS]
        return [path for path in (self.yaml, self.csv, self.curves, *figures) if path.is_file()]

    def undrawn(self, measurements: Sequence[Measurement]) -> bool:
        """Whether a figure of these measurements is missing."""
        metrics = {one.metric for one in measurements if one.curve is not None}
        return not all(self.figure(name, suffix).is_file() for name in metrics for suffix in FIGURE_FORMATS)

    def remove_figures(self, metrics: Iterable[str]) -> None:
        """Those that are to be drawn anew: a figure that is there shows all that has been measured."""
        for metric in metrics:
            for suffix in FIGURE_FORMATS:
                self.figure(metric, suffix).unlink(missing_ok=True)

    def _file(self, name: str) -> Path:
        return self.folder / f"{self.prefix}{name}"

    def read(self) -> Evaluation | None:
        """What has been measured, without the measurements whose curves are gone; None without the file.

        Raises:
            DataError: A file is damaged.
        """
        if not is_there(self.yaml):
            return None
        try:
            return Evaluation.from_dict(read_mapping(self.yaml), self._read_curves())
        except FileError as error:
            raise DataError(f"{error} Remove it to measure anew.") from error
        except (ValueError, DataError) as error:
            reason = error if isinstance(error, DataError) else f"it can't be read ({error})."
            raise DataError(f"{self.yaml}: {reason} Remove it to measure anew.") from error

    def _read_curves(self) -> dict[Key, Curve]:
        points = defaultdict[Key, list[list[float]]](list)
        if not is_there(self.curves):
            return {}
        try:
            rows = csv.DictReader(io.StringIO(read_text(self.curves), newline=""))
            if not set(CURVE_COLUMNS) <= set(rows.fieldnames or ()):
                raise ValueError(f"its columns are not {', '.join(CURVE_COLUMNS)}")
            for row in rows:
                values = [float(row[name] or "nan") for name in CURVE_COLUMNS[2:]]
                points[row["metric"] or "", row["method"] or None, None].append(values)
            return {key: Curve(*np.array(rows).T.copy()) for key, rows in points.items()}
        except (FileError, csv.Error, KeyError, ValueError) as error:
            raise DataError(f"its curves in {self.curves} can't be read ({error!r}).") from error

    def write(self, evaluation: Evaluation) -> None:
        """Write all tables; the YAML file last, for it says what the others hold.

        Raises:
            FileError: They can't be written.
        """
        rows: list[Sequence[object]] = [CURVE_COLUMNS]
        for one in evaluation.measurements:
            if one.curve is not None:
                arrays = (one.curve.shares, one.curve.similarity, one.curve.normalised)
                points = np.stack(arrays, axis=1).tolist()
                rows += [(one.metric, one.method, *point) for point in points]
        if len(rows) > 1:
            write_text(self.curves, csv_text(rows))
        rows = [COLUMNS]
        for one in evaluation.measurements:
            rows += [
                (one.metric, one.method, one.protocol, name, one.units[name], *value, round(one.seconds, 3))
                for name, value in one.values.items()
            ]
        write_text(self.csv, csv_text(rows))
        write_yaml(self.yaml, evaluation.to_dict())


def write_curves(files: EvaluationFiles, measurements: Sequence[Measurement], *, mean_percent: float) -> None:
    """Write a figure, in every format, for each metric that has curves among the measurements."""
    for metric in METRICS:
        found = [one for one in measurements if one.metric == metric and one.curve is not None]
        if found:
            figure = draw_curves(found, mean_percent=mean_percent)
            for suffix in FIGURE_FORMATS:
                save_figure(figure, files.figure(metric, suffix))


def draw_curves(measurements: Sequence[Measurement], *, mean_percent: float) -> Figure:
    """The curves of one metric's measurements, the mean receptive field (in percent) marked."""
    name = measurements[0].metric
    metric = METRICS[name]
    lines = [
        CurveLine(one.method or name, one.curve.shares, one.curve.normalised, one.values["area"].value)
        for one in measurements
        if one.curve is not None
    ]
    return curves_figure(lines, title=metric.title, under=metric.curve_axis, mean_percent=mean_percent)


def draw_bars(measurements: Sequence[Measurement]) -> Figure:
    """The quantities of one metric's measurements side by side, with their 95 % intervals."""
    panels = []
    for name, quantity in METRICS[measurements[0].metric].quantities.items():
        values = [one.values[name] for one in measurements]
        unit = f", {quantity.unit}" if quantity.unit else ""
        direction = f"\n({quantity.better}er is better)" if quantity.better else ""
        panels.append(
            BarPanel(
                f"{quantity.title}{unit}{direction}",
                [value.value for value in values],
                [value.low for value in values],
                [value.high for value in values],
            )
        )
    return bars_figure([_name(one) for one in measurements], panels)


def tabulate(measurements: Sequence[Measurement]) -> pd.DataFrame:
    """One metric's measurements: a row for each mapping, each quantity with its 95 % interval."""
    quantities = METRICS[measurements[0].metric].quantities
    return pd.DataFrame(
        {
            quantity.title: {_name(one): _cell(one, name) for one in measurements}
            for name, quantity in quantities.items()
        }
    )


def _cell(measurement: Measurement, name: str) -> str:
    value, interval = measurement.values[name].in_words(measurement.units[name])
    return f"{value} ({interval})" if interval else value


def _name(measurement: Measurement) -> str:
    return mapping_title(measurement.method or "any mapping")
