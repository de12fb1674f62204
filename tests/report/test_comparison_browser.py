"""The comparison in a real browser."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from made_runs import agreement

from page_checks import CONTRASTS, TOO_WIDE
from pixpnet.report import Comparison, compare, read_runs, to_html

NAMES = ("a", "<script>alert(1)<", "a_rather_long_name_of_a_run_that_must_not_widen_the_page")


@pytest.fixture
def comparison(run_copy: Callable[..., Path]) -> Comparison:
    runs = [
        run_copy(name, agreement("consistency", 60 + place, method="prp"), accuracy=0.5 + place / 10)
        for place, name in enumerate(NAMES)
    ]
    return compare(read_runs([*runs, run_copy("other", dataset={"classes": 4})]))


@pytest.fixture
def html_file(comparison: Comparison, tmp_path: Path) -> Path:
    file = tmp_path / "page.html"
    file.write_text(to_html(comparison), encoding="utf-8")
    return file


@pytest.mark.parametrize(("width", "dark"), [(1200, False), (400, True)])
def test_it_opens_quietly_fits_and_stands_out(opened, html_file, width, dark):
    window = opened(html_file, width=width, dark=dark)
    window.page.wait_for_load_state("networkidle")
    assert window.said == []
    assert all(url.startswith("file:") for url in window.requests)
    assert window.page.evaluate("document.documentElement.scrollWidth") == width
    assert window.page.evaluate(TOO_WIDE) == []
    paper = window.page.evaluate("getComputedStyle(document.body).backgroundColor")
    assert (paper == "rgb(20, 22, 25)") == dark
    contrasts = window.page.evaluate(CONTRASTS)
    assert len(contrasts) > 50
    assert [(round(ratio, 2), text) for ratio, text in contrasts if ratio < 4.5] == []


def test_it_shows_what_is_compared(opened, html_file, comparison):
    page = opened(html_file, width=400, scripts=False).page
    assert page.locator("script").count() == 0
    assert [cell.inner_text() for cell in page.locator("thead th").all()] == list(comparison.labels)
    assert NAMES[1] in comparison.labels
    lines = [line for group in comparison.groups for line in group.rows]
    rows = page.locator("tbody tr:not(.group)")
    assert rows.count() == len(lines)
    for line, row in zip(lines, rows.all(), strict=True):
        for cell, shown in zip(line.cells, row.locator("td").all(), strict=True):
            assert shown.locator(".best-tag").count() == cell.is_best
            assert cell.text in shown.inner_text()
    assert page.locator(".banner").count() == len(comparison.warnings) == 1
    assert page.locator("#notes li").count() == len(comparison.notes) > 0
    assert page.locator("#notes code").first.inner_text().startswith("pixpnet ")


def test_row_titles_stay_in_sight(opened, html_file):
    page = opened(html_file, width=400).page
    title = page.locator("tbody th[scope=row]").first
    before = title.bounding_box()
    page.evaluate("document.querySelector('.scroll').scrollLeft = 200")
    assert page.evaluate("document.querySelector('.scroll').scrollLeft") == 200
    assert title.bounding_box() == before


def test_best_is_said_in_words_where_one_is(opened, run_copy, tmp_path):
    runs = [run_copy(name, accuracy=value) for name, value in (("x", 0.25), ("y", 0.75))]
    file = tmp_path / "page.html"
    file.write_text(to_html(compare(read_runs(runs))), encoding="utf-8")
    page = opened(file).page
    assert page.locator("td .best-tag").count() == 1
    assert page.locator("td.best").inner_text().split() == ["75.0", "%", "best"]
