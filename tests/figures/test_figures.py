"""Figures stay legible with awkward content, leave no global state, and keep text as text in PDF files."""

from __future__ import annotations

from collections.abc import Callable
from itertools import combinations
from pathlib import Path

import matplotlib
import numpy as np
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import to_hex
from matplotlib.figure import Figure
from PIL import Image

from pixpnet.figures import (
    FIGURE_FORMATS,
    AtlasEntry,
    ContrastColumn,
    EvidenceRow,
    Picture,
    atlas_figure,
    contrast_figure,
    crop,
    evidence_figure,
    overlay,
    save_figure,
)
from pixpnet.types import Box

LONG = r"137.Very_long_winded_$\Name$_of_a_Class_of_Birds_that_goes_on_and_on_and_on_with_even_more_words"


def picture(height: int, width: int, box: Box | None = None) -> Picture:
    image = np.random.default_rng(height).integers(0, 256, (height, width, 3), dtype=np.uint8)
    return Picture(image, box or Box(0, 0, width, height))


SEEN = (
    picture(32, 32),  # the receptive field is the image
    picture(128, 75, Box(0, 0, 0, 0)),  # the cell sees nothing
    picture(75, 128, Box(100.5, 20.2, 128, 75)),
)


def evidence() -> Figure:
    rows = [
        EvidenceRow(
            seen=seen,
            source=seen if number else None,
            map=np.zeros(seen.image.shape[:2]),
            prototype=123456,
            class_name=LONG,
            similarity=-0.001,
            weight=1234.5 if number else -1234.5,
        )
        for number, seen in enumerate(SEEN)
    ]
    return evidence_figure(rows, title=f"{LONG} {LONG}", note=LONG * 2, map_title="map", footer="footer")


def contrast() -> Figure:
    rows = [EvidenceRow(seen, seen, None, 123456, LONG, -12.3, -1234.5, 1234.5) for seen in SEEN]
    columns = ContrastColumn(f"for {LONG}", rows), ContrastColumn("for none", [])
    return contrast_figure(*columns, title=f"Why {LONG} and not {LONG}?", note="note", footer="footer")


def atlas() -> Figure:
    entries = [AtlasEntry(seen, f"prototype 123456, weight −1234.50, from {LONG}") for seen in SEEN] * 2
    return atlas_figure(entries, title=LONG, note=LONG)


FIGURES = [evidence, contrast, atlas]


@pytest.mark.parametrize("make", FIGURES)
def test_words_touch_nothing_and_stay_on_the_page(make: Callable[[], Figure]) -> None:
    figure = make()
    figure.dpi = 100
    renderer = FigureCanvasAgg(figure).get_renderer()
    texts = {text.get_text(): text.get_window_extent(renderer).padded(-1) for text in figure.texts}
    pictures = [axes.get_window_extent(renderer) for axes in figure.axes]
    for text, area in texts.items():
        assert figure.bbox.containsx(area.x0), text
        assert figure.bbox.containsx(area.x1), text
        assert figure.bbox.containsy(area.y0), text
        assert not any(area.overlaps(other) for other in pictures), text
    for first, second in combinations(texts, 2):
        assert not texts[first].overlaps(texts[second]), (first, second)


@pytest.mark.parametrize("suffix", FIGURE_FORMATS)
def test_files_depend_on_the_figure_alone(suffix: str, tmp_path: Path) -> None:
    settings = dict(matplotlib.rcParams)
    first, second = (save_figure(atlas(), tmp_path / name / f"figure.{suffix}") for name in "ab")
    assert first.read_bytes() == second.read_bytes()
    assert dict(matplotlib.rcParams) == settings
    if suffix == "pdf":
        content = first.read_bytes()
        assert b"/CIDFontType2" in content  # letters of a font, not their outlines
        assert b"/Type3" not in content


def test_files_hold_their_title_for_those_who_do_not_see_them(tmp_path: Path) -> None:
    entry = AtlasEntry(SEEN[0], "caption")
    figure = atlas_figure([entry], title="Vögel, all of them", note="note")
    with Image.open(save_figure(figure, tmp_path / "figure.png")) as png:
        assert png.info["Title"] == "Vögel, all of them"
    pdf = save_figure(figure, tmp_path / "figure.pdf").read_bytes()
    assert b"/Title" in pdf
    assert "Vögel, all of them".encode("utf-16-be") in pdf


def test_endless_figures_are_drawn_smaller(tmp_path: Path) -> None:
    tall = Figure(figsize=(1, 700))
    save_figure(tall, tmp_path / "tall.png")
    with Image.open(tmp_path / "tall.png") as image:
        assert image.height < 2**16  # what older matplotlib and many viewers can open


def test_marks_differ_without_colour() -> None:
    lines = [one for axes in evidence().axes for one in axes.patches if not one.get_fill()]
    styles = {to_hex(one.get_edgecolor()): str(one.get_linestyle()) for one in lines}
    del styles["#000000"]  # behind either mark
    assert len(styles) == len(set(styles.values())) == 2, "this image and the training image"


def test_crop_takes_the_pixels_that_the_box_touches() -> None:
    image = np.arange(5 * 6 * 3, dtype=np.uint8).reshape(5, 6, 3)
    assert (crop(image, Box(1, 2, 4, 5)) == image[2:5, 1:4]).all()
    assert (crop(image, Box(1.6, 2.9, 3.1, 4)) == image[2:4, 1:4]).all()
    assert crop(image, Box(0, 0, 0, 0)).size == 0


def test_an_overlay_is_clear_where_the_map_is_least_and_yellow_where_it_is_most() -> None:
    image = np.full((10, 20, 3), 100, dtype=np.uint8)
    values = np.linspace(-3, -1, 200).reshape(10, 20)
    shown = overlay(image, values)
    assert (shown[0, 0] == 100).all()
    red, green, blue = shown[-1, -1].astype(int)
    assert min(red, green) > 2 * blue
    assert (overlay(image, np.full((10, 20), 7.0)) == 100).all()
    spot = np.zeros((10, 20))
    spot[3, 4] = 1e-6
    changed = (overlay(image, spot) != 100).any(axis=2)
    assert changed.sum() == 1
    assert changed[3, 4]
