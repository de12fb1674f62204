"""Measurements of one metric as figures and tables."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd
from matplotlib.figure import Figure

from pixpnet.evaluation.files import EvaluationFiles
from pixpnet.evaluation.record import Measurement
from pixpnet.evaluation.table import METRICS
from pixpnet.figures import FIGURE_FORMATS, BarPanel, CurveLine, bars_figure, curves_figure, save_figure
from pixpnet.pixel_space import MAPPING_TITLES

AXES = {
    "relevance_ordering": "pixels put in, the most relevant first",
    "deletion": "pixels taken away, the most relevant first",
}
"""What stands under the curves of each metric that has some."""


def write_curves(files: EvaluationFiles, measurements: Sequence[Measurement], *, mean_percent: float) -> None:
    """Write a figure, in every format, for each metric that has curves among the measurements."""
    for metric in AXES:
        found = [one for one in measurements if one.metric == metric and one.curve is not None]
        if found:
            figure = draw_curves(found, mean_percent=mean_percent)
            for suffix in FIGURE_FORMATS:
                save_figure(figure, files.figure(metric, suffix))


def draw_curves(measurements: Sequence[Measurement], *, mean_percent: float) -> Figure:
    """The curves of one metric's measurements, the mean receptive field (in percent) marked."""
    metric = measurements[0].metric
    lines = [
        CurveLine(one.method or metric, one.curve.shares, one.curve.normalised, one.values["area"].value)
        for one in measurements
        if one.curve is not None
    ]
    return curves_figure(lines, title=METRICS[metric].title, under=AXES[metric], mean_percent=mean_percent)


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
    return MAPPING_TITLES.get(measurement.method or "", measurement.method or "any mapping")
