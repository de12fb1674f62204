"""Accuracy against receptive field: what is drawn where, and labels that leave each other alone."""

from __future__ import annotations

import random
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import to_hex
from matplotlib.figure import Figure

from pixpnet.backbones import FAMILIES
from pixpnet.errors import ConfigError
from pixpnet.figures import LayerPoint, goldilocks_figure, save_figure
from pixpnet.figures.goldilocks import (
    COLOURS,
    FAMILY_NAMES,
    LABEL,
    MARKERS,
    Label,
    Rectangle,
    place_labels,
)

FOUR = ("vgg11_bn", "resnet18", "squeezenet1_1", "densenet121")
FORTY = (
    *(f"resnet{depth}" for depth in (18, 34, 50, 101, 152)),
    *(f"vgg{depth}{norm}" for depth in (11, 13, 16, 19) for norm in ("", "_bn")),
    *(f"densenet{depth}" for depth in (121, 161, 169, 201)),
    *("inception_v3", "squeezenet1_0", "squeezenet1_1", "small_resnet"),
    *(f"efficientnet_b{size}" for size in range(8)),
    *(f"regnet_y_{size}gf" for size in range(11)),
)


def _points(models: tuple[str, ...]) -> list[LayerPoint]:
    """Accuracies that grow with the receptive field, as they do; many points lie on each other."""
    drawn = random.Random(0)
    found = [
        (model, f"layer{number}", round(0.3 + 0.08 * number + drawn.gauss(0, 0.03), 2), field)
        for model in models
        for number, field in enumerate((0.02, 0.1, 0.25, 2.0 + drawn.random(), 7.0, 16.0, 100.0))
    ]
    return [
        LayerPoint(*one, rank=1 + sum(o[2] >= one[2] and o[3] <= one[3] and o[2:] != one[2:] for o in found))
        for one in found
    ]


def _labels(figure: Figure) -> dict[str, tuple[float, float, float, float]]:
    """The labels, with their boxes (left, bottom, right, top) in pixels."""
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    found = [text for text in figure.axes[0].texts if text.get_gid() == LABEL]
    # The text's own box: an annotation's extent holds its arrow, too.
    boxes = [super(type(text), text).get_window_extent(canvas.get_renderer()).extents for text in found]
    assert len({text.get_text() for text in found}) == len(found)
    return {text.get_text(): tuple(box) for text, box in zip(found, boxes, strict=True)}


def _are_apart(one: tuple[float, ...], other: tuple[float, ...]) -> bool:
    return one[2] <= other[0] or other[2] <= one[0] or one[3] <= other[1] or other[3] <= one[1]


def _front(points: list[LayerPoint]) -> set[str]:
    return {f"{point.model}/{point.stage}" for point in points if point.rank == 1}


@pytest.mark.parametrize("models", [FOUR, FORTY], ids=["four", "forty"])
@pytest.mark.parametrize("dpi", [72, 110, 220])
def test_no_label_lies_on_another(models: tuple[str, ...], dpi: int) -> None:
    figure = goldilocks_figure(_points(models), title="any", max_rf=30)
    figure.set_dpi(dpi)  # PDF has 72, PNG 110
    boxes = _labels(figure)
    names = list(boxes)
    pairs = [(one, other) for number, one in enumerate(names) for other in names[:number]]
    assert len(pairs) > 10
    assert [pair for pair in pairs if not _are_apart(boxes[pair[0]], boxes[pair[1]])] == []
    axes = figure.axes[0].bbox.extents
    for box in boxes.values():
        assert axes[0] - 1 <= box[0] < box[2] <= axes[2] + 1
        assert axes[1] - 1 <= box[1] < box[3] <= axes[3] + 1


def test_the_front_is_labelled_and_with_few_models_others_are() -> None:
    few, many = _points(FOUR), _points(FORTY)
    assert _front(few) < set(_labels(goldilocks_figure(few, title="")))
    labelled = set(_labels(goldilocks_figure(many, title="")))
    assert labelled <= _front(many)
    assert {label.partition("/")[2] for label in labelled} >= {"layer6", "layer5", "layer3"}


def test_points_and_front_lie_where_they_should() -> None:
    points = [
        LayerPoint("resnet18", "layer1", 0.5, 4.0, 1),
        LayerPoint("resnet18", "layer2", 0.9, 16.0, 1),
        LayerPoint("vgg11", "maxpool3", 0.7, 25.0, 2),
    ]
    axes = goldilocks_figure(points, title="birds", max_rf=20).axes[0]
    assert axes.get_title(loc="left") == "birds"
    drawn = [np.asarray(scatter.get_offsets()).tolist() for scatter in axes.collections]
    assert drawn == [[[4.0, 50.0], [16.0, 90.0]], [[25.0, 70.0]], [[4.0, 50.0], [16.0, 90.0]]]
    step = next(line for line in axes.lines if line.get_drawstyle() == "steps-post")
    assert np.asarray(step.get_xydata()).tolist() == [[4.0, 50.0], [16.0, 90.0]]
    assert [20, 20] in [list(line.get_xdata()) for line in axes.lines]


def test_few_models_have_colours_of_their_own_many_those_of_their_family() -> None:
    legend = goldilocks_figure(_points(FOUR), title="").legends[0]
    assert [text.get_text() for text in legend.get_texts()] == [*FOUR, "Pareto front"]
    colours = {to_hex(handle.get_color()) for handle in legend.legend_handles}
    assert len(colours) == 5
    legend = goldilocks_figure(_points(FORTY), title="", max_rf=30).legends[0]
    names = [text.get_text() for text in legend.get_texts()]
    assert sorted(names) == sorted([*FAMILY_NAMES.values(), "Pareto front", "at most 30 %"])


def test_every_family_has_a_marker_a_colour_and_a_name() -> None:
    assert list(MARKERS) == list(FAMILY_NAMES) == list(FAMILIES)
    assert len(set(MARKERS.values())) == len(MARKERS) <= len(set(COLOURS))


@pytest.mark.parametrize(("suffix", "start"), [("png", b"\x89PNG"), ("pdf", b"%PDF")])
def test_files(suffix: str, start: bytes, tmp_path: Path) -> None:
    files = [
        save_figure(goldilocks_figure(_points(FOUR), title="any"), tmp_path / f"{number}.{suffix}")
        for number in range(2)
    ]
    assert files[0].read_bytes().startswith(start)
    assert files[0].read_bytes() == files[1].read_bytes()


def test_nothing_to_draw() -> None:
    with pytest.raises(ConfigError, match="no results"):
        goldilocks_figure([], title="")


sizes = st.floats(1, 30, allow_nan=False)
places = st.floats(0, 100, allow_nan=False)
labels = st.builds(Label, places, places, sizes, sizes, st.floats(1, 40), st.booleans())


@settings(deadline=None)
@given(st.lists(labels, max_size=12))
def test_places_are_free_and_inside(labels: list[Label]) -> None:
    area = Rectangle(0, 0, 100, 100)
    obstacles = [Rectangle(label.x, label.y, label.x, label.y).grown(2) for label in labels]
    found = place_labels(labels, area=area, obstacles=obstacles, clearance=2)
    for number, (label, place) in enumerate(zip(labels, found, strict=True)):
        if place is None:
            continue
        assert place.lies_in(area)
        assert (place.right - place.left, place.top - place.bottom) == pytest.approx(label[2:4])
        assert all(_are_apart(place, other) for other in found[:number] if other is not None)
        assert label.is_needed or all(_are_apart(place, obstacle) for obstacle in obstacles)


def test_a_lone_label_lies_to_the_right_of_its_point() -> None:
    (place,) = place_labels(
        [Label(50, 50, 20, 8, 30)], area=Rectangle(0, 0, 100, 100), obstacles=[], clearance=4
    )
    assert place == pytest.approx((56, 46, 76, 54))


def test_a_label_without_room_is_left_out_unless_it_is_needed() -> None:
    wall = [Rectangle(0, 0, 100, 100)]
    area = Rectangle(0, 0, 100, 100)
    for needed in (False, True):
        label = Label(50, 50, 20, 8, 30, is_needed=needed)
        (place,) = place_labels([label], area=area, obstacles=wall, clearance=4)
        assert (place is not None) == needed
    (place,) = place_labels([Label(50, 50, 120, 8, 30, True)], area=area, obstacles=[], clearance=4)
    assert place is None
