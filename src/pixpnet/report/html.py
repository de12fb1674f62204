"""From what a report shows to one HTML file that needs nothing else."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from markupsafe import Markup

import pixpnet
from pixpnet.errors import ConfigError
from pixpnet.files import write_text
from pixpnet.report.atlas import TOP
from pixpnet.report.collect import Report, collect
from pixpnet.report.evidence import GROUPS, Example
from pixpnet.report.page import asset, templates
from pixpnet.runs import RunDirectory
from pixpnet.types import Progress, no_progress
from pixpnet.words import decimal, percent

MOST_LISTED = 30
"""Prototypes, groups of them, or classes that a warning names."""


@dataclass(frozen=True)
class Part:
    """A section of the page."""

    anchor: str
    title: str
    template: str


PARTS = (
    Part("summary", "Summary", "summary.html.j2"),
    Part("checks", "Checks", "findings.html.j2"),
    Part("evidence", "Evidence", "evidence.html.j2"),
    Part("confusion", "Confusions", "confusion.html.j2"),
    Part("prototypes", "Prototypes", "atlas.html.j2"),
    Part("certificate", "Certificate", "certificate.html.j2"),
    Part("metrics", "Metrics", "metrics.html.j2"),
    Part("training", "Training", "training.html.j2"),
    Part("settings", "Settings", "settings.html.j2"),
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

    Args:
        run_dir: A finished run's directory.
        out: The file; none: ``results/report.html`` of the run directory.
        images: Test images shown at most in each group.
        dataset_root: Where the run's data lies now, if it has moved.
        progress: Told what is being done.

    Raises:
        CheckpointError: There is no such run, its prototypes are not training patches, or the file can't be
            written.
        ConfigError: out is a folder, or images is not positive.
        DataError: The run's data set is gone or has changed.
    """
    path = RunDirectory.open(run_dir).results / "report.html" if out is None else Path(out)
    if path.is_dir():
        raise ConfigError(f"{path} is a folder; name a file for the report, such as {path / 'report.html'}.")
    report = collect(run_dir, images=images, dataset_root=dataset_root, progress=progress)
    write_text(path, render(report))
    return path


def render(report: Report) -> str:
    """The page; whatever comes from data or settings is escaped."""
    environment = templates()
    environment.filters |= {
        "percent": percent,
        "signed": partial(decimal, sign="+"),
        "plain": decimal,
        "small": _small,
    }
    script = asset("script.js")
    return environment.get_template("report.html.j2").render(
        report=report,
        parts=[part for part in PARTS if part.anchor != "metrics" or report.metrics],
        groups=GROUPS,
        hero=_hero(report.examples),
        top=TOP,
        most_listed=MOST_LISTED,
        has_objects=any(card.on_object is not None for chapter in report.atlas for card in chapter.cards),
        pictures={name: Markup(uri) for name, uri in report.album.data_uris().items()},
        style=Markup(asset("style.css")),
        script=Markup(script),
        script_hash=Markup(_script_hash(script)),
        version=pixpnet.__version__,
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
