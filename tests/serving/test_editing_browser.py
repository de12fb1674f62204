"""Editing in a real browser: nothing is kept unseen, all by keyboard, and names stay text."""

from __future__ import annotations

import re
import shutil
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import uvicorn
from playwright.sync_api import Browser, Page, expect

from page_checks import CONTRASTS, TOO_WIDE, Opened, open_page
from pixpnet import Change, edit, list_prototypes, load, suggest
from pixpnet.runs import Run, RunDirectory, find_calibration, read_history
from pixpnet.serving import create_app

expect.set_options(timeout=120_000)

NAMELESS = """() => [...document.querySelectorAll("input, select, button")]
  .filter((one) => !(one.labels?.length || one.textContent.trim()))
  .map((one) => one.outerHTML)"""


@contextmanager
def serving(run: Run, *, editable: bool = True) -> Iterator[str]:
    app = create_app(run, editable=editable)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        server = uvicorn.Server(uvicorn.Config(app, log_level="error", ws="none"))
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
        thread.start()
        try:
            yield f"http://127.0.0.1:{listener.getsockname()[1]}/"
        finally:
            server.should_exit = True
            thread.join()


@pytest.fixture
def run(tiny_run: Path, tmp_path: Path) -> Path:
    folder = Path(shutil.copytree(tiny_run, tmp_path / "run"))
    find_calibration(load(folder))
    return folder


@pytest.fixture
def window(chromium: Browser, run: Path) -> Iterator[Callable[..., Opened]]:
    """The page of the run, with its prototypes; it says nothing and asks nobody else."""
    windows: list[Opened] = []
    with serving(load(run)) as address:

        def open_(*, width: int = 1200, dark: bool = False) -> Opened:
            one = open_page(chromium, address, width=width, dark=dark, offline=False)
            windows.append(one)
            expect(one.page.locator("[data-standing]")).to_contain_text("prototypes are in")
            return one

        yield open_
        for one in windows:
            one.page.context.close()
    for one in windows:
        assert [words for words in one.said if "a status of 422" not in words] == []  # an edit refused
        assert all(url.startswith((address, "data:", "blob:")) for url in one.requests)


def done(run: Path) -> list[str]:
    return [str(one).partition(": ")[2] for one in read_history(RunDirectory(run)).lines]


def says(page: Page, words: str) -> None:
    expect(page.locator("[data-editing]")).to_contain_text(words)


@pytest.mark.parametrize(("width", "dark"), [(1200, False), (1200, True), (400, False), (400, True)])
def test_it_fits_and_stands_out(window, run, width, dark):
    edit(run, Change("disable", (1,)), by="anna", why="a rather long reason that must not widen the page" * 3)
    page = window(width=width, dark=dark).page
    page.locator("#every").check()
    page.locator("#by").fill("anna")
    page.locator("[data-suggest]").click()
    expect(page.locator("[data-suggestions]")).to_be_visible()
    page.locator("[data-step=undo]").click()
    expect(page.locator("[data-trial]")).to_be_visible()
    assert page.evaluate("document.documentElement.scrollWidth") == width
    assert page.evaluate(TOO_WIDE) == []
    assert [one for one in page.evaluate(CONTRASTS) if one[0] < 4.5] == []
    assert page.evaluate(NAMELESS) == []


def test_what_is_chosen_is_seen_before_it_is_kept_and_taken_back(window, run, birds):
    page = window().page
    page.locator("#file").set_input_files(min((birds / "images").rglob("*test*.png")))
    expect(page.locator("[data-evidence=predict] .row")).to_have_count(5)
    before = page.locator("[data-evidence=predict]").inner_text()
    page.locator("#every").check()
    cards = page.locator("[data-cards] .card")
    expect(cards).to_have_count(6)
    cards.nth(3).get_by_role("checkbox").check()
    cards.nth(1).get_by_role("checkbox").check()
    expect(page.locator("[data-chosen]")).to_have_text("Chosen: disable 3, 1")
    page.locator("[data-change] button").click()
    expect(page.locator("[data-trial]")).to_be_hidden()  # nobody says who
    page.locator("#by").fill("anna")
    page.locator("#why").fill("twigs")
    page.locator("[data-change] button").click()
    expect(page.locator("[data-trial]")).to_be_visible()
    assert page.locator("#trial").evaluate("(one) => one === document.activeElement")
    row = page.locator("[data-trial] tbody tr").first
    assert [row.locator(kind).all_inner_texts() for kind in ("th", "td")] == [["prototypes"], ["6", "4"]]
    assert "95 % interval" in page.locator("[data-trial] tbody tr").nth(1).inner_text()
    expect(page.locator("[data-changed]")).to_contain_text("of 12 predictions change")
    page.locator("[data-discard]").click()
    expect(page.locator("[data-trial]")).to_be_hidden()
    assert done(run) == []
    page.locator("[data-change] button").click()
    page.locator("[data-keep]").click()
    says(page, "Kept:")
    assert done(run) == ["disable 3, 1 (twigs)"]
    expect(page.locator(".edits li")).to_contain_text(["anna: disable 3, 1 (twigs)"])
    expect(page.locator("[data-standing]")).to_contain_text("4 of 6 prototypes are in")
    expect(cards.nth(1)).to_contain_text("disabled")
    expect(page.locator("[data-evidence=predict] .row")).to_have_count(4)  # the picture was asked again
    expect(page.locator("[data-chosen]")).to_have_text("No prototype is chosen.")
    page.locator("[data-step=undo]").click()
    expect(page.locator("[data-trial] tbody tr").first).to_contain_text("6")
    assert len(done(run)) == 1
    page.locator("[data-keep]").click()
    expect(page.locator("[data-step=redo]")).to_be_enabled()
    expect(page.locator("[data-step=undo]")).to_be_disabled()
    expect(page.locator("[data-evidence=predict]")).to_have_text(before, use_inner_text=True)
    assert done(run) == ["disable 3, 1 (twigs)", "undo"]


def test_a_page_without_editing_has_the_numbers_that_edits_take(chromium, run, birds):
    edit(run, Change("disable", (0,)))  # so that all that are left have other places
    with serving(load(run), editable=False) as address:
        opened = open_page(chromium, address, width=1200, dark=False, offline=False)
        page = opened.page
        expect(page.locator("[data-cards] strong")).to_have_text(["Prototype 1"])
        expect(page.locator("[data-cards] [aria-label]").first).to_have_attribute(
            "aria-label", re.compile("^Prototype 1 in a training image of")
        )
        page.locator("#file").set_input_files(min((birds / "images").rglob("*test*.png")))
        rows = page.locator("[data-evidence=predict] .row")
        expect(rows).to_have_count(5)
        names = page.locator("[data-evidence=predict] .name").all_inner_texts()
        assert sorted(name.split()[1] for name in names) == list("12345")
        for row, name in zip(rows.all(), names, strict=True):
            row.click()
            number = name.split()[1]
            words = re.compile(f"^Training image of prototype {number}, ")
            expect(page.locator("[data-evidence=predict] figcaption").nth(1)).to_have_text(words)
        page.context.close()


def test_each_change_is_told_as_it_will_be(window, run):
    page = window().page
    page.locator("#every").check()
    names = load(run).class_names
    boxes = page.locator("[data-cards]").get_by_role("checkbox")
    for number in (4, 5):
        boxes.nth(number).check()
    for do, told in (
        ("merge", "merge 5 into 4"),
        ("enable", "enable 4, 5"),
        ("relabel", f"give 4 to {names[0]}; give 5 to {names[0]}"),
    ):
        page.locator("#do").select_option(do)
        expect(page.locator("[data-chosen]")).to_have_text(f"Chosen: {told}")
    page.locator("#by").fill("anna")
    page.locator("[data-change] button").click()
    says(page, "would lose the last prototype")
    assert page.locator("[data-editing]").evaluate("(one) => one.classList.contains('wrong')")
    boxes.nth(4).uncheck()
    page.locator("[data-change] button").click()
    page.locator("[data-keep]").click()
    says(page, "Kept:")
    assert done(run) == [f"give 5 to {names[0]}"]
    page.locator("#every").uncheck()
    page.locator("#of").select_option("0")
    expect(page.locator("[data-cards] .card")).to_contain_text(["Prototype 0", "Prototype 1", "Prototype 5"])


def test_all_of_it_by_keyboard(window, run):
    page = window().page
    page.locator("#of").focus()
    for _ in range(3):
        page.keyboard.press("Tab")
    page.keyboard.press("Space")
    expect(page.locator("[data-chosen]")).to_contain_text("disable 0")
    page.locator("#by").focus()
    page.keyboard.type("anna")
    page.keyboard.press("Enter")
    expect(page.locator("[data-trial]")).to_be_visible()
    page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    says(page, "Kept:")
    assert done(run) == ["disable 0"]
    assert page.evaluate("document.activeElement.id") == "do"


def test_suggestions_are_chosen_from(window, run):
    page = window().page
    page.locator("#by").fill("anna")
    page.locator("[data-suggest]").click()
    expect(page.locator("[data-suggestions]")).to_be_visible()
    boxes, chosen = page.locator(".choices input"), page.locator(".choices :checked")
    assert [box.is_checked() for box in boxes.all()] == [one.is_free for one in suggest(run)]
    assert chosen.count() > 0
    words = chosen.first.evaluate("(one) => one.parentElement.innerText")
    for box in reversed(chosen.all()[1:]):
        box.uncheck()
    page.locator("[data-try]").click()
    page.locator("[data-keep]").click()
    says(page, "Kept:")
    (told,) = done(run)
    assert words.strip().startswith(told.removesuffix(" (suggested)"))


def test_what_somebody_else_kept_meanwhile_is_told_and_shown(window, run):
    page = window().page
    page.locator("#by").fill("anna")
    page.locator("[data-cards]").get_by_role("checkbox").first.check()
    edit(run, Change("disable", (3,)), by="eve", why="<img src=x onerror=alert(1)>")
    page.locator("[data-change] button").click()
    says(page, "another edit was kept meanwhile")
    expect(page.locator(".edits li")).to_contain_text(["eve: disable 3 (<img src=x onerror=alert(1)>)"])
    page.locator("[data-change] button").click()
    expect(page.locator("[data-trial]")).to_be_visible()
    with RunDirectory(run).writing():
        page.locator("[data-keep]").click()
        says(page, "is being written to by process")
    assert len(done(run)) == 1
    assert [one.now for one in list_prototypes(run)] == [0, 1, 2, None, 3, 4]
