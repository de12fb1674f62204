"""The documentation hangs together: pages can be reached, links lead somewhere, what is quoted is there."""

from __future__ import annotations

import ast
import re
from collections import Counter
from collections.abc import Iterator
from fnmatch import fnmatch
from functools import cache
from pathlib import Path

import pytest
from markdown_it import MarkdownIt
from markdown_it.token import Token

from pixpnet.runs import RunDirectory

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
GENERATED = DOCS / "reference" / "api"
PAGES = sorted(path for path in DOCS.rglob("*.md") if GENERATED not in path.parents)
FILES = [*sorted(ROOT.glob("*.md")), *PAGES, ROOT / "tests" / "golden" / "README.md"]


@cache
def tokens(path: Path) -> list[Token]:
    return MarkdownIt("commonmark", {"html": False}).enable("table").parse(path.read_text(encoding="utf-8"))


def toctree(page: Path) -> list[Path]:
    """The pages that the toctrees of a page name."""
    blocks = [one.content for one in tokens(page) if one.type == "fence" and one.info == "{toctree}"]
    entries = [line for block in blocks for line in block.splitlines() if line and not line.startswith(":")]
    return [(page.parent / entry).with_suffix(".md") for entry in entries]


def links(path: Path) -> Iterator[str]:
    """Where its links and images lead, but for those into the web."""
    for token in tokens(path):
        for one in token.children or []:
            target = one.attrs.get("href") or one.attrs.get("src")
            if target and not re.match(r"[a-z]+:", str(target)):
                yield str(target)


@cache
def anchors(path: Path) -> set[str]:
    """Of its headings, as code hosts and MyST make them."""
    found: Counter[str] = Counter()
    names = set()
    for before, inline in zip(tokens(path), tokens(path)[1:], strict=False):
        if before.type == "heading_open":
            text = "".join(one.content for one in inline.children or [])
            slug = re.sub(r"[^\w\- ]", "", text.lower()).replace(" ", "-")
            names.add(f"{slug}-{found[slug]}" if found[slug] else slug)
            found[slug] += 1
    return names


def test_every_page_can_be_reached() -> None:
    seen, waiting = set(), [DOCS / "index.md"]
    while waiting:
        page = waiting.pop()
        assert page not in seen, f"{page} is in two toctrees"
        seen.add(page)
        waiting += [one for one in toctree(page) if GENERATED not in one.parents]
    assert sorted(seen) == PAGES


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_links_lead_somewhere(path: Path) -> None:
    for link in links(path):
        name, _, anchor = link.partition("#")
        target = (path.parent / name).resolve() if name else path
        assert target.exists(), f"{link}: there is no {target}"
        assert target.is_relative_to(ROOT.resolve()), f"{link} leads out of the repository"
        assert not anchor or anchor in anchors(target), f"{link}: there is no such heading"


@cache
def said() -> list[str]:
    """Every text in src, with `…` for what is put into it."""
    found = []
    for path in (ROOT / "src").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.JoinedStr):
                parts = (part.value if isinstance(part, ast.Constant) else "…" for part in node.values)
                found.append("".join(map(str, parts)))
            elif isinstance(node, ast.Constant) and isinstance(node.value, str):
                found.append(node.value)
    return found


def messages() -> list[str]:
    blocks = [one for one in tokens(DOCS / "howto" / "troubleshooting.md") if one.type == "fence"]
    return [line for block in blocks for line in block.content.splitlines()]


@pytest.mark.parametrize("message", messages())
def test_errors_are_quoted_as_they_are_said(message: str) -> None:
    """Each part of it, between names, numbers and semicolons, is somewhere in src."""
    pieces = [piece.strip(" .") for piece in re.split("…|; ", message)]
    assert any(len(piece) > 15 for piece in pieces)
    for piece in pieces:
        assert any(piece in text for text in said()), piece


def test_every_file_of_a_run_is_told(tiny_run: Path) -> None:
    table = (DOCS / "reference" / "run_directory.md").read_text(encoding="utf-8").partition("\n## ")[0]
    rows = [line.split("|")[1] for line in table.splitlines() if line.startswith("| `")]
    names = [
        re.sub(r"…|\bN\b|\bM\b|(?<=/)$", "*", name) for row in rows for name in re.findall(r"`(.+?)`", row)
    ]
    for file in tiny_run.rglob("*"):
        place = file.relative_to(tiny_run).as_posix()
        assert file.is_dir() or any(fnmatch(place, name) for name in names), place
    run = RunDirectory(tiny_run)
    for name, kind in vars(RunDirectory).items():
        if isinstance(kind, property) and name.endswith("_file"):
            place = getattr(run, name).relative_to(tiny_run).as_posix()
            assert any(fnmatch(place, wanted) for wanted in names), place
