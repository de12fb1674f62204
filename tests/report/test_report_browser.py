"""The report in a real browser."""

from __future__ import annotations

import pytest
from playwright.sync_api import Locator

from page_checks import CONTRASTS, TOO_WIDE


def edges(locator: Locator) -> tuple[float, float, float, float]:
    box = locator.bounding_box()
    assert box is not None
    return box["x"], box["y"], box["x"] + box["width"], box["y"] + box["height"]


def shown_shares(article: Locator, kind: str) -> list[float]:
    """Sides of the box as shares of the picture that shows it."""
    picture = article.locator(f"[data-picture={kind}]")
    left, top, right, bottom = edges(picture)
    frame = edges(picture.locator(".frame"))
    horizontal = [(frame[side] - left) / (right - left) for side in (0, 2)]
    vertical = [(frame[side] - top) / (bottom - top) for side in (1, 3)]
    return [horizontal[0], vertical[0], horizontal[1], vertical[1]]


def wanted_shares(style: str) -> list[float]:
    left, top, width, height = (
        float(part.partition(":")[2].rstrip("%")) / 100 for part in style.split(";") if part
    )
    return [left, top, left + width, top + height]


@pytest.mark.parametrize(("width", "dark"), [(1200, False), (1200, True), (400, False), (400, True)])
def test_it_opens_quietly_and_fits(opened, page_file, tmp_path, width, dark):
    window = opened(page_file, width=width, dark=dark)
    window.page.wait_for_load_state("networkidle")
    assert window.said == []
    assert all(url.startswith(("file:", "data:")) for url in window.requests)
    assert window.page.evaluate("document.documentElement.scrollWidth") == width
    wide = window.page.evaluate(TOO_WIDE)
    assert wide == []
    picture = window.page.screenshot(path=tmp_path / f"{width}-{'dark' if dark else 'light'}.png")
    assert len(picture) > 20_000
    paper = window.page.evaluate("getComputedStyle(document.body).backgroundColor")
    assert (paper == "rgb(20, 22, 25)") == dark


@pytest.mark.parametrize("dark", [False, True])
def test_text_stands_out(opened, page_file, dark):
    contrasts = opened(page_file, dark=dark).page.evaluate(CONTRASTS)
    assert len(contrasts) > 200
    assert [(round(ratio, 2), text) for ratio, text in contrasts if ratio < 4.5] == []


@pytest.mark.parametrize("article", [".example", ".versus"])
def test_pointing_at_a_row_moves_both_boxes(opened, page_file, report, article):
    window = opened(page_file)
    if article == ".versus":
        assert report.contrasts, "the shared run makes mistakes"
    one = window.page.locator(article).first
    one.scroll_into_view_if_needed()
    rows = one.locator(".row")
    assert rows.count() > 2
    for number in (2, 1, 0):
        row = rows.nth(number)
        row.hover()
        assert row.get_attribute("aria-current") == "true"
        assert one.locator("[aria-current]").count() == 1
        for kind in ("here", "there"):
            wanted = wanted_shares(row.get_attribute(f"data-{kind}"))
            assert shown_shares(one, kind) == pytest.approx(wanted, abs=0.01)
        there = one.locator("[data-picture=there]")
        assert there.get_attribute("class") == f"picture {row.get_attribute('data-source')}"
        assert row.get_attribute("data-words") in there.get_attribute("aria-label")
        assert row.get_attribute("data-words") in one.locator("figcaption").nth(1).inner_text()


def test_boxes_are_the_receptive_fields(opened, page_file, report, tiny_run):
    """From the explanation to the pixels on the screen."""
    from pixpnet.explanation import explain_test
    from pixpnet.runs import load

    example = report.examples[0]
    run = load(tiny_run)
    index = [record.path.name for record in run.image_set.test].index(example.name)
    evidence = explain_test(run, index).evidence
    one = opened(page_file).page.locator(".example").first
    one.scroll_into_view_if_needed()
    for number, expected in enumerate(evidence[:3]):
        one.locator(".row").nth(number).hover()
        for kind, box in (("here", expected.box), ("there", expected.source.box)):
            assert shown_shares(one, kind) == pytest.approx([side / 64 for side in box], abs=0.01)


def test_keys_move_through_the_rows(opened, page_file):
    page = opened(page_file).page
    page.locator("button[data-group]").last.focus()
    page.keyboard.press("Tab")
    rows = page.locator(".example").first.locator(".row")
    states = "(row) => [row === document.activeElement, row.getAttribute('aria-current')]"
    assert rows.nth(0).evaluate(states) == [True, "true"]
    page.keyboard.press("ArrowDown")
    page.keyboard.press("Tab")
    page.keyboard.press("ArrowUp")
    assert rows.nth(1).evaluate(states) == [True, "true"]
    assert rows.nth(0).evaluate(states) == [False, None]
    assert rows.nth(1).evaluate("(row) => getComputedStyle(row).outline").endswith("solid 3px")


def test_groups_of_images_are_chosen(opened, page_file, report):
    page = opened(page_file).page
    for group in ("wrong", "unsure", "each"):
        page.locator(f"button[data-group={group}]").click()
        wanted = sum(example.group == group for example in report.examples)
        assert page.locator(".example:visible").count() == wanted
        assert page.locator("[data-count=images]").inner_text().split()[0] == str(wanted)
        assert (
            page.locator("button[aria-pressed=true]").inner_text()
            == page.locator(f"[data-images={group}] h3").inner_text()
        )
    page.locator("button[data-group='']").click()
    assert page.locator(".example:visible").count() == len(report.examples)


def test_the_atlas_is_filtered(opened, page_file, report):
    page = opened(page_file).page
    cards = [card for chapter in report.atlas for card in chapter.cards]
    names = [chapter.class_name for chapter in report.atlas]
    visible = page.locator(".card:visible")
    assert visible.count() == len(cards)
    find = page.get_by_label("Find")
    find.fill(names[1].upper())
    of_class = [card for card in cards if names[1].lower() in f"{card.class_name} {card.source}".lower()]
    assert visible.count() == len(of_class) < len(cards)
    assert page.locator(".chapter:visible").count() == 1
    assert (
        page.locator("[data-count=prototypes]").inner_text() == f"{len(of_class)} of {len(cards)} prototypes"
    )
    find.fill("3")
    assert visible.evaluate_all("(cards) => cards.map((card) => card.id)") == ["prototype-3"]
    find.fill("nothing of that name")
    assert visible.count() == 0
    find.fill("")
    page.get_by_label("Class", exact=True).select_option(names[2])
    assert visible.count() == len(report.atlas[2].cards)


def test_the_atlas_is_sorted(opened, page_file, report):
    page = opened(page_file).page
    cards = [card for chapter in report.atlas for card in chapter.cards]
    sort = page.get_by_label("Sort by")
    numbers = "(cards) => cards.map((card) => Number(card.dataset.number))"
    for name, key in (
        ("used", lambda card: -card.used),
        ("weight", lambda card: -round(card.weight, 4)),
        ("object", lambda card: round(card.on_object, 4)),
        ("number", lambda card: card.prototype),
    ):
        sort.select_option(name)
        shown = page.locator(".card:visible").evaluate_all(numbers)
        assert shown == [card.prototype for card in sorted(cards, key=key)], name
        assert page.locator(".chapter:visible").count() == 0
    assert page.locator(".card .of").first.is_visible(), "out of its chapter, a card says its class"
    sort.select_option("")
    assert page.locator(".chapter:visible").count() == len(report.atlas)
    assert page.locator(".chapter .card:visible").count() == len(cards)


def test_a_link_shows_a_prototype_that_the_filter_hides(opened, page_file):
    page = opened(page_file).page
    page.get_by_label("Find").fill("5")
    page.evaluate("location.hash = '#prototype-0'")
    page.locator("#prototype-0").wait_for(state="visible")
    assert page.get_by_label("Find").input_value() == ""


def test_pictures_out_of_sight_are_not_drawn(opened, page_file):
    page = opened(page_file).page
    last = page.locator(".example .picture").last
    is_drawn = "(one) => one.checkVisibility({contentVisibilityAuto: true})"
    assert not last.evaluate(is_drawn)
    last.scroll_into_view_if_needed()
    page.wait_for_function(is_drawn, arg=last.element_handle())


def test_it_says_everything_without_scripts(opened, page_file, report):
    page = opened(page_file, scripts=False).page
    article = page.locator(".example").first
    row = report.examples[0].rows[0]
    assert shown_shares(article, "here") == pytest.approx(wanted_shares(row.here.frame), abs=0.01)
    assert page.locator(".card").count() == page.locator(".card:visible").count() == 6
    assert page.locator(".controls:visible").count() == 0


def test_names_of_classes_stay_text(opened, nasty_file):
    window = opened(nasty_file)
    window.page.wait_for_load_state("networkidle")
    assert window.said == []
    assert window.page.locator("script").count() == 1
    assert window.page.locator("main b, main img").count() == 0
    assert "<script>alert(1)</script>" in window.page.locator("#prototypes").inner_text()
    window.page.get_by_label("Find").fill("<script>")
    assert window.page.locator(".card:visible").count() == 2
    window.page.get_by_label("Find").fill("")
    for row in window.page.locator(".example").first.locator(".row").all():
        row.hover()
    assert window.said == []
