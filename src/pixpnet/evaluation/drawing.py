"""The curves of an evaluation as figures."""

from __future__ import annotations

from collections.abc import Sequence

from pixpnet.evaluation.files import EvaluationFiles
from pixpnet.evaluation.record import Measurement
from pixpnet.evaluation.table import METRICS
from pixpnet.figures import FIGURE_FORMATS, save_figure
from pixpnet.figures.relevance import CurveLine, curves_figure

__all__ = ["draw_curves"]

AXES = {
    "relevance_ordering": "pixels put in, the most relevant first",
    "deletion": "pixels taken away, the most relevant first",
}
"""What stands under the curves of each metric."""


def draw_curves(files: EvaluationFiles, measurements: Sequence[Measurement], *, mean_percent: float) -> None:
    """Write a figure, in every format, for each metric that has curves among the measurements."""
    for metric, under in AXES.items():
        lines = [
            CurveLine(one.method or metric, one.curve.shares, one.curve.normalised, one.values["area"].value)
            for one in measurements
            if one.metric == metric and one.curve is not None
        ]
        if lines:
            figure = curves_figure(lines, title=METRICS[metric].title, under=under, mean_percent=mean_percent)
            for suffix in FIGURE_FORMATS:
                save_figure(figure, files.figure(metric, suffix))
