"""Charts of measurements: bars with whiskers, and curves of a similarity, one for each method."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float64
from matplotlib.figure import Figure

from pixpnet.figures.panels import ShownFigure
from pixpnet.pixel_space import MAPPINGS, Mapping, mapping_title

_BARS = "#56B4E9"  # of Okabe and Ito's palette; the bars are told apart by their names
_SMALL = 8.5


@dataclass(frozen=True)
class BarPanel:
    """One quantity of all bars."""

    title: str
    values: Sequence[float]
    low: Sequence[float]
    """Where the whiskers begin."""
    high: Sequence[float]


def bars_figure(names: Sequence[str], panels: Sequence[BarPanel]) -> Figure:
    """Horizontal bars, the first on top, in panels side by side."""
    figure = ShownFigure(figsize=(8.6, 0.9 + 0.45 * len(names)), layout="constrained")
    axes_of = figure.subplots(1, len(panels), squeeze=False)[0]
    for axes, panel in zip(axes_of, panels, strict=True):
        whiskers = [
            [value - low for value, low in zip(panel.values, panel.low, strict=True)],
            [high - value for value, high in zip(panel.values, panel.high, strict=True)],
        ]
        axes.barh(list(names), list(panel.values), xerr=whiskers, color=_BARS, capsize=3)
        axes.invert_yaxis()
        axes.set_title(panel.title, fontsize=9, loc="left")
        axes.spines[["top", "right"]].set_visible(False)
    return figure


@dataclass(frozen=True, eq=False)
class CurveLine:
    """The mean curve of one method."""

    method: str
    shares: Float64[np.ndarray, "n"]
    """Share of the pixels, from 0 to 1."""
    values: Float64[np.ndarray, "n"]
    """0: as the empty image; 1: as the whole one."""
    area: float
    """Under the curve, for the legend."""


def curves_figure(lines: Sequence[CurveLine], *, title: str, under: str, mean_percent: float) -> Figure:
    """The curves with the mean receptive field marked.

    Args:
        lines: One for each method.
        title: Of the figure.
        under: Name of the horizontal axis.
        mean_percent: Mean receptive field, in percent of the image.
    """
    figure = ShownFigure(figsize=(6.4, 4.2), layout="constrained")
    axes = figure.subplots()
    axes.set_title(title, fontsize=11, fontweight="bold", loc="left")
    axes.axhline(1, color="#BBBBBB", linewidth=0.8, zorder=0)
    axes.axhline(0, color="#BBBBBB", linewidth=0.8, zorder=0)
    axes.axvline(mean_percent, color="black", linewidth=1.2, linestyle=(0, (1, 1)))
    for line in lines:
        looks = MAPPINGS.get(line.method, Mapping)
        axes.plot(
            100 * line.shares,
            line.values,
            color=looks.colour,
            linestyle=looks.line,
            linewidth=2,
            label=f"{mapping_title(line.method)}, area {line.area:.3f}",
        )
    axes.set_xlim(0, 100 * max(float(line.shares[-1]) for line in lines))
    axes.set_xlabel(f"{under} (% of the image)", fontsize=_SMALL)
    axes.set_ylabel("similarity (0: empty image, 1: whole image)", fontsize=_SMALL)
    axes.tick_params(labelsize=_SMALL)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    axes.legend(
        fontsize=_SMALL,
        framealpha=0.9,  # a line that passes below does not cross the words
        edgecolor="none",
        alignment="left",
        title=f"dotted line: mean receptive field, {mean_percent:.1f} %",
        title_fontsize=_SMALL,
    )
    return figure
