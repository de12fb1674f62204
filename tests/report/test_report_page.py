"""The page as text, and the command that writes it."""

from __future__ import annotations

import itertools
import json
import re
import shutil
from collections import Counter
from dataclasses import replace
from html.parser import HTMLParser
from importlib.resources import files
from pathlib import Path

import pytest

from pixpnet.certificate import certificate_file, verify
from pixpnet.cli import main
from pixpnet.errors import CheckpointError, ConfigError
from pixpnet.report import Cell, MetricTable, TableRow, collect, render, write_report
from pixpnet.runs import load, load_checkpoint, save_checkpoint

VOID = {"meta", "link", "img", "input", "br", "wbr", "hr"}


class Outline(HTMLParser):
    """Elements with their attributes, in order; complains of what is not closed."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.open: list[str] = []
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def all(self, attribute: str) -> list[str]:
        return [attributes[attribute] or "" for _, attributes in self.elements if attribute in attributes]


@pytest.fixture(scope="module")
def text(page_file: Path) -> str:
    return page_file.read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def outline(text: str) -> Outline:
    return Outline(text)


def test_it_needs_nothing_else(text, outline):
    assert not re.search(r"https?:|src=|@import|//[a-z]", text.partition("<body>")[2])
    assert Counter(tag for tag, _ in outline.elements)["script"] == 1
    assert not [tag for tag, _ in outline.elements if tag in {"link", "img", "iframe", "object"}]
    policy = next(a["content"] for _, a in outline.elements if a.get("http-equiv"))
    assert "default-src 'none'" in policy
    assert "img-src data:" in policy
    assert len(text) < 500_000


def test_every_picture_is_in_it_once(text, report):
    uris = re.findall(r"url\((data:[^)]+)\)", text)
    sources = {card.source for chapter in report.atlas for card in chapter.cards}
    tests = {one.name for one in (*report.examples, *report.contrasts)}
    assert len(uris) == len(set(uris)) == len(sources | tests)
    assert text.count("data:image") == len(uris)


def test_it_can_be_read_aloud(outline):
    tags = [tag for tag, _ in outline.elements]
    assert dict(outline.elements)["html"]["lang"] == "en"
    assert [tags.count(tag) for tag in ("main", "h1", "nav", "header", "footer")][:3] == [1, 1, 1]
    levels = [int(tag[1]) for tag in tags if re.fullmatch(r"h[1-6]", tag)]
    assert levels[0] == 1
    assert all(after <= before + 1 for before, after in itertools.pairwise(levels))
    for tag, attributes in outline.elements:
        if attributes.get("role") in {"img", "region"}:
            assert attributes.get("aria-label") or attributes.get("aria-labelledby"), (tag, attributes)
        if "tabindex" in attributes:
            assert attributes["tabindex"] == "0"


def test_names_within_it_are_right(outline):
    ids = outline.all("id")
    assert len(ids) == len(set(ids))
    wanted = {link[1:] for link in outline.all("href")}
    wanted |= {name for names in outline.all("aria-labelledby") for name in names.split()}
    assert wanted <= set(ids)


def test_the_sums_are_whole(report):
    for example in report.examples:
        assert sum(row.value for row in example.rows) + example.rest == pytest.approx(example.logit, abs=1e-4)
        assert [row.value for row in example.rows] == sorted(
            (row.value for row in example.rows), reverse=True
        )
        assert all(row.value == pytest.approx(row.similarity * row.weight) for row in example.rows)
        assert max(row.bar for row in example.rows) == 1
    assert report.contrasts
    for versus in report.contrasts:
        gap = versus.logits[0] - versus.logits[1]
        assert gap > 0
        assert versus.totals[0] - versus.totals[1] == pytest.approx(gap, abs=1e-4)
        assert all(row.value > 0 for row in versus.for_predicted + versus.for_truth)


def test_a_zero_has_no_sign(report):
    examples = tuple(replace(one, rest=-0.001, logit=0.004) for one in report.examples)
    page = render(replace(report, examples=examples))
    assert page.count('<span class="value">0.00</span>') >= 2 * len(examples)
    assert not re.search(r"[+−-]0\.00\b", page)


def test_the_groups_are_what_they_say(report):
    groups = {group: [one for one in report.examples if one.group == group] for group in ("each", "wrong")}
    assert all(not one.is_right and one.truth != one.predicted for one in groups["wrong"])
    assert len({one.truth for one in groups["each"]}) == len(groups["each"]) == 2


def test_names_are_escaped(nasty_file):
    text = nasty_file.read_text(encoding="utf-8")
    page = Outline(text)
    assert Counter(tag for tag, _ in page.elements)["script"] == 1
    assert Counter(tag for tag, _ in page.elements)["b"] == 0
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in text
    assert "<script>alert" not in text
    assert "49" not in re.findall(r"<option>([^<]*)", text)


def test_metrics_appear_where_there_are_some(report, text):
    assert 'id="metrics"' not in text
    row = TableRow("same part", (Cell("61.2 %", "50.0 to 70.1"), Cell()), "high")
    table = MetricTable("Consistency", ("receptive field", "prp"), (row,), "Means of 6 values.")
    page = render(replace(report, metrics=(table,)))
    assert 'id="metrics"' in page
    section = page[page.index('id="metrics"') :]
    for words in ("<h3>Consistency</h3>", ">prp</th>", "61.2 %", "50.0 to 70.1", "↑", "Means of 6 values."):
        assert words in section


def test_a_run_without_logs_has_a_report(report):
    assert "no metrics.csv" in render(replace(report, charts=()))


def test_its_own_trials_are_said(report, text):
    assert "This report made the trials itself" in text
    assert (report.grounding.is_short, report.grounding.certificate.ours.trials) == (True, 90)


@pytest.fixture(scope="module")
def certificate(tiny_run):
    return verify(load(tiny_run), trials=7)


def test_the_runs_certificate_is_shown(certificate, tiny_run, tmp_path):
    run = load(shutil.copytree(tiny_run, tmp_path / "run"))
    certificate_file(run.checkpoint).write_text(json.dumps(certificate.to_dict()))
    shown = collect(tmp_path / "run", images=1).grounding
    assert not shown.is_short
    assert (shown.certificate.ours.trials, shown.certificate.verdict) == (7, certificate.verdict)
    assert shown.is_fine
    ours, upsampling = (shown.certificate.overall(region) for region in shown.certificate.regions)
    assert upsampling.largest_feature_change > ours.largest_feature_change


@pytest.mark.parametrize("other", ["of another network", "{", "[]"])
def test_another_networks_certificate_or_none_says_nothing(certificate, other, tiny_run, tmp_path):
    run = load(shutil.copytree(tiny_run, tmp_path / "run"))
    if other == "of another network":
        other = json.dumps(replace(certificate, checkpoint_sha256="0").to_dict())
    certificate_file(run.checkpoint).write_text(other)
    assert collect(tmp_path / "run", images=1).grounding.is_short


def test_unprojected_prototypes_are_refused(tiny_run, tmp_path):
    run = load(shutil.copytree(tiny_run, tmp_path / "run"))
    save_checkpoint(replace(load_checkpoint(run.checkpoint), sources=()), run.checkpoint)
    with pytest.raises(CheckpointError, match="not training patches"):
        write_report(tmp_path / "run")


def test_templates_are_part_of_the_package():
    names = {entry.name for entry in (files("pixpnet.report") / "templates").iterdir()}
    assert {"report.html.j2", "style.css", "script.js"} <= names


def test_command(tiny_run, tmp_path, capsys, monkeypatch):
    shown: list[str] = []
    monkeypatch.setattr("webbrowser.open", shown.append)
    copy = shutil.copytree(tiny_run, tmp_path / "run")
    assert main(["report", str(copy), "--images", "1", "--open", "yes"]) == 0
    path = Path(capsys.readouterr().out.strip())
    assert path == copy / "results" / "report.html"
    assert path.read_text().count('<article class="example"') == 3
    assert shown == [path.as_uri()]


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["{run}", "--images", "0"], 2, "'0' is not a whole number"),
        (["{run}", "--out", "{folder}"], 2, "is a folder"),
        (["{run}", "--output", "x"], 2, "unknown argument '--output'; did you mean --out?"),
        (["{folder}"], 1, "is not a run directory"),
        ([], 2, "RUN_DIR"),
    ],
)
def test_command_refuses(tiny_run, tmp_path, capsys, arguments, code, words):
    filled = [part.format(run=tiny_run, folder=tmp_path) for part in arguments]
    assert main(["report", *filled]) == code
    error = capsys.readouterr().err
    assert words in error
    assert error.count("\n") == 1


def test_no_images_are_refused(tiny_run, tmp_path):
    with pytest.raises(ConfigError, match="at least one"):
        write_report(tiny_run, out=tmp_path / "x.html", images=0)
    assert not (tmp_path / "x.html").exists()
