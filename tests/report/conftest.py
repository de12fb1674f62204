"""A report of the shared run, and windows that show files."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import fields, is_dataclass, replace
from pathlib import Path
from typing import Any

import pytest
from made_runs import copy_results
from playwright.sync_api import Browser

from page_checks import Opened, open_page
from pixpnet.report import Report, collect, render, write_report

NASTY = ("<script>alert(1)</script>", '"><img src=x onerror=alert(2)>', "</script></style><b>{{ 7*7 }}")
"""Names of the three classes in a report that must stay harmless."""


@pytest.fixture(scope="session")
def page_file(tiny_run: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The report of the shared run, as a file."""
    return write_report(tiny_run, out=tmp_path_factory.mktemp("report") / "page.html", images=2)


@pytest.fixture(scope="session")
def report(tiny_run: Path) -> Report:
    """What the report of the shared run is made of."""
    return collect(tiny_run, images=2)


@pytest.fixture(scope="session")
def nasty_file(report: Report, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The report of a run whose classes have names that try to become markup."""
    names = dict(zip((chapter.class_name for chapter in report.atlas), NASTY, strict=True))
    nasty = replace(_renamed(report, names), run=NASTY[0], dataset=NASTY[2])
    file = tmp_path_factory.mktemp("nasty") / "page.html"
    file.write_text(render(nasty), encoding="utf-8")
    return file


def _renamed(value: Any, names: dict[str, str]) -> Any:
    """The same with other names, wherever one stands."""
    if isinstance(value, str):
        return names.get(value, value)
    if type(value) is tuple:
        return tuple(_renamed(one, names) for one in value)
    if not is_dataclass(value) or isinstance(value, type):
        return value
    changed = {one.name: _renamed(getattr(value, one.name), names) for one in fields(value) if one.init}
    return replace(value, **changed)


@pytest.fixture
def opened(chromium: Browser) -> Iterator[Callable[..., Opened]]:
    """Open a file from disk, in a new window of a width and a colour scheme."""
    windows = []

    def open_file(file: Path, *, width: int = 1200, dark: bool = False, scripts: bool = True) -> Opened:
        windows.append(open_page(chromium, file.as_uri(), width=width, dark=dark, scripts=scripts))
        return windows[-1]

    yield open_file
    for window in windows:
        window.page.context.close()


@pytest.fixture
def run_copy(tiny_run: Path, tmp_path: Path) -> Callable[..., Path]:
    """Results of the shared run under another name (`copy_results`)."""
    return lambda name, *measurements, **changes: copy_results(
        tiny_run, tmp_path / name, *measurements, **changes
    )
