"""Bars with whiskers, a panel for each quantity."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from matplotlib.figure import Figure

_COLOUR = "#56B4E9"  # of Okabe and Ito's palette; the bars are told apart by their names


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
    figure = Figure(figsize=(8.6, 0.9 + 0.45 * len(names)), layout="constrained")
    axes_of = figure.subplots(1, len(panels), squeeze=False)[0]
    for axes, panel in zip(axes_of, panels, strict=True):
        whiskers = [
            [value - low for value, low in zip(panel.values, panel.low, strict=True)],
            [high - value for value, high in zip(panel.values, panel.high, strict=True)],
        ]
        axes.barh(list(names), list(panel.values), xerr=whiskers, color=_COLOUR, capsize=3)
        axes.invert_yaxis()
        axes.set_title(panel.title, fontsize=9, loc="left")
        axes.spines[["top", "right"]].set_visible(False)
    return figure
