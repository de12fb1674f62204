"""Runs side by side: cells as texts, the best of each row, and what to know before comparing."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from pixpnet.evaluation import METRICS, Key, Quantity
from pixpnet.metrics import Estimate
from pixpnet.pixel_space import MAPPING_TITLES
from pixpnet.report.comparison.notes import differing_settings, metric_title, notes, warnings
from pixpnet.report.comparison.rows import BASELINES, DESCRIPTIONS, FACTS
from pixpnet.report.comparison.runs import RunResults
from pixpnet.words import number_in_words, spaced, unbroken

MISSING = "–"


@dataclass(frozen=True)
class Cell:
    """What a row says of one run."""

    text: str
    interval: str = ""
    """The 95 % interval, where there is one."""
    is_best: bool = False

    @property
    def is_missing(self) -> bool:
        """Whether it is not known."""
        return self.text == MISSING


@dataclass(frozen=True)
class Line:
    """One row."""

    title: str
    detail: str
    """Mapping and protocol."""
    better: str
    """high, low, or nothing where neither is."""
    cells: tuple[Cell, ...]


@dataclass(frozen=True)
class Group:
    """Rows that belong together."""

    title: str
    lines: tuple[Line, ...]


@dataclass(frozen=True)
class Comparison:
    """What is shown of two runs or more."""

    labels: tuple[str, ...]
    paths: tuple[str, ...]
    warnings: tuple[str, ...]
    """Why values should not be compared as they stand."""
    groups: tuple[Group, ...]
    notes: tuple[str, ...]
    """Settings that differ, and how to measure what is missing."""


def compare(runs: Sequence[RunResults]) -> Comparison:
    """Put runs side by side."""
    same_data = len({run.data for run in runs}) == 1
    described = [
        Line(title, "", "", tuple(Cell(describe(run)) for run in runs))
        for title, describe in DESCRIPTIONS.items()
    ]
    facts = [
        Line(
            fact.title,
            "",
            fact.better,
            _cells(
                [fact.value(run) for run in runs],
                unit=fact.unit,
                better=fact.better if same_data or not fact.of_data else "",
            ),
        )
        for fact in FACTS
    ]
    metrics = dict.fromkeys([*METRICS, *(metric for run in runs for metric, _, _ in run.measurements)])
    measured = [
        Group(metric_title(one), tuple(_metric_lines(one, runs, same_data=same_data))) for one in metrics
    ]
    return Comparison(
        labels=tuple(run.label for run in runs),
        paths=tuple(str(run.path) for run in runs),
        warnings=warnings(runs),
        groups=(Group("Run", tuple(described)), Group("Accuracy and size", tuple(facts)), *measured),
        notes=notes(runs),
    )


def _metric_lines(metric: str, runs: Sequence[RunResults], *, same_data: bool) -> Iterator[Line]:
    """For each quantity, a row of each mapping and protocol."""
    keys = _keys(metric, runs)
    if not keys:
        yield Line("not measured", "", "", (Cell(MISSING),) * len(runs))
    found = [one for run in runs for key in keys if (one := run.measurements.get(key))]
    known = METRICS[metric].quantities if metric in METRICS else {}
    units = {quantity: unit for one in found for quantity, unit in one.units.items()}
    for quantity in dict.fromkeys([*known, *units]):
        shown = known.get(quantity, Quantity(spaced(quantity), ""))
        for key in keys:
            measured = [run.measurements.get(key) for run in runs]
            values = [one.values.get(quantity) if one else None for one in measured]
            if any(values):
                detail = ", ".join(filter(None, (MAPPING_TITLES.get(key[1] or "", key[1]), key[2])))
                better = shown.better if same_data and _is_fair(key, runs) else ""
                cells = _cells(values, unit=units[quantity], better=better)
                yield Line(shown.title, detail, shown.better, cells)


def _is_fair(key: Key, runs: Sequence[RunResults]) -> bool:
    """Whether the runs were measured alike (seeds may differ), with maps that say something."""
    return key[1] not in BASELINES and not differing_settings(key, runs).keys() - {"seed"}


def _keys(metric: str, runs: Sequence[RunResults]) -> list[Key]:
    """What was measured of a metric in any run: by protocol, mappings in the order of the table."""
    found = {key for run in runs for key in run.measurements if key[0] == metric}
    order = {method: place for place, method in enumerate(MAPPING_TITLES)}
    return sorted(found, key=lambda key: (key[2] or "", order.get(key[1] or "", len(order)), key[1] or ""))


def _cells(values: Sequence[float | Estimate | None], *, unit: str, better: str) -> tuple[Cell, ...]:
    """The best are marked, unless all are the same as far as they are shown."""
    numbers = [value.value if isinstance(value, Estimate) else value for value in values]
    texts = [MISSING if number is None else unbroken(number_in_words(number, unit)) for number in numbers]
    there = [number for number in numbers if number is not None]
    best = ""
    if better and len({text for text in texts if text != MISSING}) > 1:
        best = unbroken(number_in_words(max(there) if better == "high" else min(there), unit))
    return tuple(
        Cell(text, value.in_words(unit)[1] if isinstance(value, Estimate) else "", is_best=text == best)
        for text, value in zip(texts, values, strict=True)
    )
