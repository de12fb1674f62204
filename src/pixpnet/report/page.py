"""From what a report shows to one HTML file that needs nothing else; templates that all pages share."""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from functools import partial
from importlib.resources import files
from pathlib import Path

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup, escape

import pixpnet
from pixpnet.errors import ConfigError
from pixpnet.files import write_text
from pixpnet.pixel_space import region_title
from pixpnet.report.contents import Report, collect
from pixpnet.report.evidence import GROUPS, Album, Example
from pixpnet.runs import TOP, RunDirectory
from pixpnet.types import Progress, no_progress
from pixpnet.words import decimal, percent, visible

MOST_LISTED = 30
"""Prototypes, groups of them, or classes that a warning names."""


@dataclass(frozen=True)
class PagePart:
    """A section of the page."""

    anchor: str
    title: str
    template: str
    shows: Callable[[Report], object] = lambda report: True
    """Whether there is anything to show in it."""


PARTS = (
    PagePart("summary", "Summary", "summary.html.j2"),
    PagePart("checks", "Checks", "checks.html.j2"),
    PagePart("evidence", "Evidence", "evidence.html.j2", lambda report: not report.missing),
    PagePart("confusion", "Confusions", "confusion.html.j2", lambda report: report.confusion),
    PagePart("prototypes", "Prototypes", "atlas.html.j2"),
    PagePart("certificate", "Certificate", "certificate.html.j2", lambda report: report.grounding),
    PagePart("metrics", "Metrics", "metrics.html.j2", lambda report: report.metrics),
    PagePart("training", "Training", "training.html.j2"),
    PagePart("settings", "Settings", "settings.html.j2"),
)


def write_report(
    run_dir: str | Path,
    *,
    out: str | Path | None = None,
    images: int = 10,
    dataset_root: str | Path | None = None,
    progress: Progress = no_progress,
) -> Path:
    """Write a run's report as one self-contained HTML file, and return its path.

    Where the run's data set is gone, the page says what it leaves out for that.

    Args:
        run_dir: A finished run's directory.
        out: The file; None: ``results/report.html`` of the run directory.
        images: Test images shown at most in each group.
        dataset_root: Where the run's data lies now, if it has moved; it must be there, then.
        progress: Told what is being done.

    Raises:
        CheckpointError: There is no such run, or its prototypes are not training patches.
        ConfigError: out is a folder, or images is not positive.
        DataError: As of `collect`.
        FileError: The file can't be written, or another process writes to the run.
    """
    path = RunDirectory.open(run_dir).results / "report.html" if out is None else Path(out)
    if path.is_dir():
        raise ConfigError(f"{path} is a folder; name a file for the report, such as {path / 'report.html'}.")
    run = RunDirectory.around(path)
    with run.writing() if run else nullcontext():  # elsewhere it is one file, of whoever writes it last
        report = collect(run_dir, images=images, dataset_root=dataset_root, progress=progress)
        write_text(path, render(report))
    return path


def render(report: Report) -> str:
    """The page; whatever comes from data or settings is escaped."""
    return page(
        "report.html.j2",
        script=asset("evidence.js") + asset("script.js"),
        album=report.album,
        values={
            "report": report,
            "parts": [part for part in PARTS if part.shows(report)],
            "groups": GROUPS,
            "hero": _hero(report.examples),
            "top": TOP,
            "most_listed": MOST_LISTED,
            "has_objects": any(
                card.on_object is not None for chapter in report.atlas for card in chapter.cards
            ),
        },
    )


def page(template: str, *, script: str, album: Album, values: Mapping[str, object]) -> str:
    """A page of pictures with a script."""
    return (
        templates()
        .get_template(template)
        .render(
            values,
            pictures={name: Markup(uri) for name, uri in album.data_uris().items()},
            style=Markup(asset("style.css")),
            script=Markup(script),
            script_hash=Markup(_script_hash(script)),
            version=pixpnet.__version__,
        )
    )


def _hero(examples: Sequence[Example]) -> Example | None:
    """The rightly named image with the most similar patch of its class: the clearest example of the idea."""
    clear = [one for one in examples if one.is_right and one.rows[0].class_name == one.predicted]
    return max(clear, key=lambda one: one.rows[0].similarity, default=None)


def _script_hash(script: str) -> str:
    """What a content security policy calls a script: the page runs this one and no other."""
    return f"sha256-{base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()}"


def _small(value: float) -> str:
    """
    >>> _small(0.0), _small(0.25), _small(1.2e-7)
    ('0', '0.25', '1.2e-07')
    """
    return f"{value:.2g}"


def templates(package: str = "pixpnet.report") -> Environment:
    """A package's templates; whatever comes from data or settings is escaped, what is missing is an error."""
    environment = Environment(
        loader=PackageLoader(package),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        finalize=_shown,
    )
    environment.filters |= {
        "breakable": _breakable,
        "code": _code,
        "percent": percent,
        "plain": decimal,
        "region_title": region_title,
        "signed": partial(decimal, sign="+"),
        "small": _small,
    }
    return environment


def asset(name: str, package: str = "pixpnet.report") -> str:
    """The text of a style sheet or script of a package."""
    return (files(package) / "templates" / name).read_text(encoding="utf-8")


def _shown(value: object) -> object:
    """What comes from the world without control characters, which HTML has no form for."""
    return visible(value, keep="\n\t") if isinstance(value, str) and not isinstance(value, Markup) else value


def _breakable(text: str) -> Markup:
    """A name or path that may go on in the next line after each ``_`` and ``/``.

    >>> _breakable("<a>/b__c")
    Markup('&lt;a&gt;/<wbr>b__<wbr>c')
    """
    return Markup(re.sub("([_/]+)", r"\1<wbr>", str(escape(visible(text)))))


def _code(text: str) -> Markup:
    """What stands between backticks as code.

    >>> _code("run `a < b` now")
    Markup('run <code>a &lt; b</code> now')
    """
    parts = enumerate(str(escape(part)) for part in text.split("`"))
    return Markup("".join(f"<code>{part}</code>" if number % 2 else part for number, part in parts))
