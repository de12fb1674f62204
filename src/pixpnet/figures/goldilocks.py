"""Accuracy against receptive field, of many layers of many backbones."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from math import cos, hypot, pi, sin
from typing import NamedTuple

from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.text import Text
from matplotlib.ticker import FixedLocator, NullLocator

from pixpnet.backbones import FAMILIES, family_of
from pixpnet.errors import ConfigError
from pixpnet.figures.panels import DPI, ShownFigure

LABEL = "layer label"
"""What matplotlib calls the label of a point (its gid)."""

COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#882255", "#999933")
"""Six of Okabe and Ito, two of Tol: the colour-blind tell them apart."""

MARKERS = {
    "resnet": "o",
    "vgg": "s",
    "densenet": "^",
    "inception": "D",
    "squeezenet": "v",
    "small_resnet": "P",
    "other": "X",
}

FAMILY_NAMES = {
    "resnet": "ResNet, ResNeXt, Wide ResNet",
    "vgg": "VGG",
    "densenet": "DenseNet",
    "inception": "Inception v3",
    "squeezenet": "SqueezeNet",
    "small_resnet": "small ResNet",
    "other": "others",
}

_SIZE = (10.0, 6.5)
_FONT = 7.5
_CLEARANCE, _REACH, _FAR_REACH = 4.0, 12.0, 60.0  # in printer's points, 1/72 inch; far: labels of the front
_TICKS = (0.01, 0.03, 0.1, 0.3, 1, 3, 10, 30, 100)

_DIRECTIONS = (0, 4, 2, 6, 1, 7, 3, 5)
"""Eighths of a turn, from the right: beside the point first, then above and below it."""


@dataclass(frozen=True)
class LayerPoint:
    """One layer."""

    model: str
    stage: str
    accuracy: float
    """Share of the test images."""
    mean_rf: float
    """Percent of the image's area."""
    rank: int
    """Pareto rank; 1: on the front."""


def goldilocks_figure(points: Sequence[LayerPoint], *, title: str, max_rf: float | None = None) -> Figure:
    """A scatter plot with the Pareto front.

    Markers tell the families and colours the models, whose layers are joined and labelled as far as there is
    room. Where there are more models than colours, these tell the families, and only the front is labelled.

    Args:
        points: The layers.
        title: Of the figure.
        max_rf: Receptive field up to which users look for a layer, percent: a line marks it.

    Raises:
        ConfigError: There are no points.
    """
    if not points:
        raise ConfigError("there are no results to draw.")
    figure = ShownFigure(figsize=_SIZE, dpi=DPI, layout="constrained")
    canvas = FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    axes.set_title(title, fontsize=10, loc="left")
    lines = _by_model(points)
    is_few = len(lines) <= len(COLOURS)
    colours = _model_colours(lines) if is_few else _family_colours(lines)
    for model, line in lines.items():
        xs, ys = [point.mean_rf for point in line], [100 * point.accuracy for point in line]
        if is_few:
            axes.plot(xs, ys, color=colours[model], linewidth=0.6, alpha=0.5, zorder=1)
        axes.scatter(
            xs, ys, s=26, marker=MARKERS[_family(model)], color=colours[model], linewidths=0, zorder=3
        )
    _draw_front(axes, points)
    _scale_axes(axes, points)
    legend = _legend(lines, colours, by_model=is_few)
    if max_rf is not None:
        legend.append(
            axes.axvline(
                max_rf, label=f"at most {max_rf:g} %", color="0.4", linewidth=0.8, linestyle=":", zorder=0
            )
        )
    figure.legend(handles=legend, fontsize=_FONT, loc="outside right upper", frameon=False)
    canvas.draw()  # only now the places of the axes are known
    figure.set_layout_engine("none")
    _draw_labels(axes, points, canvas, front_only=not is_few)
    return figure


def _by_model(points: Sequence[LayerPoint]) -> dict[str, list[LayerPoint]]:
    models = dict.fromkeys(point.model for point in points)
    return {model: [point for point in points if point.model == model] for model in models}


def _model_colours(models: Iterable[str]) -> dict[str, str]:
    return dict(zip(models, COLOURS, strict=False))


def _family_colours(models: Iterable[str]) -> dict[str, str]:
    families = dict(zip(MARKERS, COLOURS, strict=False))
    return {model: families[_family(model)] for model in models}


def _draw_front(axes: Axes, points: Sequence[LayerPoint]) -> None:
    """The front as steps: the best accuracy that can be had up to each receptive field."""
    xs, ys = zip(*_front(points), strict=True)
    axes.step(xs, ys, where="post", color="black", linewidth=1.0, zorder=2)
    axes.scatter(xs, ys, s=70, facecolors="none", edgecolors="black", linewidths=0.9, zorder=4)


def _front(points: Sequence[LayerPoint]) -> list[tuple[float, float]]:
    """Receptive field and accuracy of the front's layers, in percent, from left to right."""
    return sorted((point.mean_rf, 100 * point.accuracy) for point in points if point.rank == 1)


def _scale_axes(axes: Axes, points: Sequence[LayerPoint]) -> None:
    smallest = min(point.mean_rf for point in points)
    axes.set_xscale("log")
    axes.set_xlim(smallest / 1.6, 160)
    axes.xaxis.set_major_locator(FixedLocator([tick for tick in _TICKS if tick >= smallest / 1.6]))
    axes.xaxis.set_major_formatter("{x:g}")
    axes.xaxis.set_minor_locator(NullLocator())
    axes.margins(y=0.08)
    axes.set_xlabel("mean receptive field, % of the image")
    axes.set_ylabel("test accuracy, %")
    axes.grid(color="0.92", linewidth=0.6)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)


def _legend(models: Iterable[str], colours: Mapping[str, str], *, by_model: bool) -> list[Line2D]:
    entries: dict[str, Line2D] = {}
    for model in models:
        family = _family(model)
        name = model if by_model else FAMILY_NAMES[family]
        entries[name] = Line2D(
            [], [], label=name, marker=MARKERS[family], color=colours[model], linestyle="none", markersize=5
        )
    ring = Line2D(
        [], [], label="Pareto front", marker="o", markersize=8, markerfacecolor="none", color="black"
    )
    return [*entries.values(), ring]


def _draw_labels(
    axes: Axes, points: Sequence[LayerPoint], canvas: FigureCanvasAgg, *, front_only: bool
) -> None:
    """Labels of the front, then of the others by rank; a thin line leads to one that lies further off."""
    ordered = sorted(points, key=lambda point: (point.rank, -point.accuracy, point.mean_rf))
    unit = canvas.figure.dpi / 72
    marks = axes.transData.transform([(point.mean_rf, 100 * point.accuracy) for point in ordered]) / unit
    front = axes.transData.transform(_front(points)) / unit
    labels = []
    named = [point for point in ordered if point.rank == 1 or not front_only]  # the first ones
    for point, (x, y) in zip(named, marks.tolist(), strict=False):
        width, height = _text_size(_words(point), canvas)
        reach = _FAR_REACH if point.rank == 1 else _REACH
        labels.append(Label(x, y, width / unit, height / unit, reach, is_needed=point.rank == 1))
    places = place_labels(
        labels,
        area=Rectangle(*(float(side) / unit for side in axes.bbox.extents)),
        obstacles=[
            *(Rectangle(x, y, x, y).grown(_CLEARANCE) for x, y in marks.tolist()),
            *(step.grown(1.0) for step in _steps(front.tolist())),
        ],
        clearance=_CLEARANCE,
    )
    for point, label, place in zip(named, labels, places, strict=True):
        if place is not None:
            _draw_label(axes, point, label, place)


def _steps(front: Sequence[Sequence[float]]) -> Iterator[Rectangle]:
    """The front's line: right, then up."""
    for (x, y), (next_x, next_y) in pairwise(front):
        yield Rectangle(x, y, next_x, y)
        yield Rectangle(next_x, y, next_x, next_y)


def _draw_label(axes: Axes, point: LayerPoint, label: Label, place: Rectangle) -> None:
    offset = ((place.left + place.right) / 2 - label.x, (place.bottom + place.top) / 2 - label.y)
    is_far = hypot(max(place.left - label.x, label.x - place.right, 0.0), offset[1]) > 3 * _CLEARANCE
    text = axes.annotate(
        _words(point),
        (point.mean_rf, 100 * point.accuracy),
        xytext=offset,
        textcoords="offset points",
        ha="center",
        va="center",
        fontsize=_FONT,
        color="black" if point.rank == 1 else "0.35",
        arrowprops={"arrowstyle": "-", "color": "0.6", "linewidth": 0.5, "shrinkB": 3} if is_far else None,
        zorder=5,
    )
    text.set_gid(LABEL)


def _words(point: LayerPoint) -> str:
    return f"{point.model}/{point.stage}"


def _text_size(words: str, canvas: FigureCanvasAgg) -> tuple[float, float]:
    """Width and height of a label in pixels."""
    text = Text(0, 0, words, fontsize=_FONT, figure=canvas.figure)
    box = text.get_window_extent(canvas.get_renderer())
    return float(box.width), float(box.height)


def _family(model: str) -> str:
    """Name of its entry in `FAMILIES`."""
    own = family_of(model)
    return next(name for name, family in FAMILIES.items() if family is own)


class Rectangle(NamedTuple):
    """A rectangle of a figure."""

    left: float
    bottom: float
    right: float
    top: float

    def overlaps(self, other: Rectangle) -> bool:
        return (
            self.left < other.right
            and other.left < self.right
            and self.bottom < other.top
            and other.bottom < self.top
        )

    def grown(self, by: float) -> Rectangle:
        """The rectangle with a border around it."""
        return Rectangle(self.left - by, self.bottom - by, self.right + by, self.top + by)

    def lies_in(self, other: Rectangle) -> bool:
        return (
            other.left <= self.left
            and self.right <= other.right
            and other.bottom <= self.bottom
            and self.top <= other.top
        )


class Label(NamedTuple):
    """What is to be placed: the point that it names, and its own size."""

    x: float
    y: float
    width: float
    height: float
    reach: float
    """How far from its point it may lie."""
    is_needed: bool = False
    """Whether it may lie on obstacles where there is no other place."""


def place_labels(
    labels: Sequence[Label], *, area: Rectangle, obstacles: Sequence[Rectangle], clearance: float
) -> list[Rectangle | None]:
    """A place for each label, the first ones first; None where there is no room.

    A place lies in the area, on no other label and on no obstacle. The nearest one is taken.

    Args:
        labels: What is to be placed, in any one unit.
        area: Where.
        obstacles: What shall stay visible.
        clearance: Least distance from the point and from other labels.
    """
    placed: list[Rectangle | None] = []
    for label in labels:
        taken = [place.grown(clearance / 2) for place in placed if place is not None]
        free = [
            place
            for place in _candidates(label, clearance)
            if place.lies_in(area) and not any(place.overlaps(other) for other in taken)
        ]
        clear = (place for place in free if not any(place.overlaps(one) for one in obstacles))
        placed.append(next(clear, free[0] if free and label.is_needed else None))
    return placed


def _candidates(label: Label, clearance: float) -> Iterator[Rectangle]:
    """Places around the point, from near to far."""
    steps = max(1, int(label.reach / clearance))
    for step in range(1, steps + 1):
        distance = clearance * (0.5 + step)
        for eighth in _DIRECTIONS:
            angle = eighth * pi / 4
            x = label.x + (distance + label.width / 2) * cos(angle)
            y = label.y + (distance + label.height / 2) * sin(angle)
            yield Rectangle(
                x - label.width / 2, y - label.height / 2, x + label.width / 2, y + label.height / 2
            )
