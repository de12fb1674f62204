"""Runs side by side: cells as texts, the best of each row, and what to know before comparing."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from markupsafe import Markup

import pixpnet
from pixpnet.evaluation import METRICS, Key, Quantity
from pixpnet.metrics import Estimate
from pixpnet.pixel_space import MAPPINGS, mapping_title
from pixpnet.report.page import asset, templates
from pixpnet.report.results import RunResults, read_runs  # noqa: F401 - all of a comparison from here
from pixpnet.report.tables import MISSING, Cell, TableRow, metric_title
from pixpnet.words import in_markdown, number_in_words, spaced, unbroken, visible

LEGEND = (
    "**Bold**: the best of the row, where one way is better (↑ more, ↓ less) and the runs were measured "
    "alike. In brackets: the 95 % bootstrap interval. –: not measured."
)
WHOLE_IMAGE = 99.5
"""Mean receptive field, percent, from which a patch is taken to see all of the image."""


@dataclass(frozen=True)
class RunNumber:
    """A row with a number from a run's own files."""

    title: str
    unit: str
    better: str
    """high, low, or nothing where neither is."""
    value: Callable[[RunResults], float | None]
    of_data: bool = False
    """Whether it means nothing without the data that it was measured on."""


def _accuracy(run: RunResults) -> float | None:
    share = run.scores.get("test_accuracy")
    return None if share is None else 100 * share


def _prototypes(run: RunResults) -> float | None:
    """Those that were not pruned; runs of older versions, which prune none, say it in their options only."""
    return run.info.get("prototypes", run.config.model.num_prototypes)


def _network(run: RunResults) -> str:
    return run.config.model.network


DESCRIPTIONS: dict[str, Callable[[RunResults], str]] = {
    "Data": lambda run: run.data,
    "Network": _network,
    "Distance, head": lambda run: f"{run.config.model.distance}, {run.config.model.readout_type}",
    "Seed": lambda run: str(run.config.seed),
}
"""Title of a row -> what it says of a run."""

RUN_NUMBERS = (
    RunNumber("Test accuracy", "%", "high", _accuracy, of_data=True),
    RunNumber("Mean receptive field", "%", "low", lambda run: run.field.mean_percent if run.field else None),
    RunNumber(
        "Largest receptive field", "%", "low", lambda run: run.field.max_percent if run.field else None
    ),
    RunNumber("Prototypes", "prototypes", "", _prototypes),
    RunNumber("Parameters", "parameters", "low", lambda run: run.info.get("total_parameters")),
    RunNumber("Multiply-adds for one image", "multiply-adds", "low", lambda run: run.info.get("macs")),
    RunNumber("Training time", "s", "", lambda run: run.info.get("train_time_total")),
)


@dataclass(frozen=True)
class RowGroup:
    """Rows that belong together."""

    title: str
    rows: tuple[TableRow, ...]


@dataclass(frozen=True)
class Comparison:
    """What is shown of two runs or more."""

    labels: tuple[str, ...]
    paths: tuple[str, ...]
    warnings: tuple[str, ...]
    """Why values should not be compared as they stand."""
    groups: tuple[RowGroup, ...]
    notes: tuple[str, ...]
    """Settings that differ, and how to measure what is missing."""


def compare(runs: Sequence[RunResults]) -> Comparison:
    """Put runs side by side."""
    same_data = len({run.data for run in runs}) == 1
    described = [
        TableRow(title, tuple(Cell(describe(run)) for run in runs))
        for title, describe in DESCRIPTIONS.items()
    ]
    facts = [
        TableRow(
            one.title,
            _cells(
                [one.value(run) for run in runs],
                unit=one.unit,
                better=one.better if same_data or not one.of_data else "",
            ),
            one.better,
        )
        for one in RUN_NUMBERS
    ]
    metrics = dict.fromkeys([*METRICS, *(metric for run in runs for metric, _, _ in run.measurements)])
    measured = [
        RowGroup(metric_title(one), tuple(_metric_rows(one, runs, same_data=same_data))) for one in metrics
    ]
    return Comparison(
        labels=tuple(run.label for run in runs),
        paths=tuple(str(run.path) for run in runs),
        warnings=warnings(runs),
        groups=(RowGroup("Run", tuple(described)), RowGroup("Accuracy and size", tuple(facts)), *measured),
        notes=notes(runs),
    )


def _metric_rows(metric: str, runs: Sequence[RunResults], *, same_data: bool) -> Iterator[TableRow]:
    """For each quantity, a row of each mapping and protocol."""
    keys = _keys(metric, runs)
    if not keys:
        yield TableRow("not measured", (Cell(),) * len(runs))
    found = [one for run in runs for key in keys if (one := run.measurements.get(key))]
    known = METRICS[metric].quantities if metric in METRICS else {}
    units = {quantity: unit for one in found for quantity, unit in one.units.items()}
    for quantity in dict.fromkeys([*known, *units]):
        shown = known.get(quantity, Quantity(spaced(quantity), ""))
        for key in keys:
            measured = [run.measurements.get(key) for run in runs]
            values = [one.values.get(quantity) if one else None for one in measured]
            if any(values):
                detail = ", ".join(filter(None, (mapping_title(key[1] or ""), key[2])))
                better = shown.better if same_data and _is_fair(key, runs) else ""
                cells = _cells(values, unit=units[quantity], better=better)
                yield TableRow(shown.title, cells, shown.better, detail)


def _is_fair(key: Key, runs: Sequence[RunResults]) -> bool:
    """Whether the runs were measured alike (seeds may differ), with maps that say something."""
    is_baseline = key[1] in MAPPINGS and MAPPINGS[key[1]].is_baseline
    return not is_baseline and not differing_settings(key, runs).keys() - {"seed"}


def _keys(metric: str, runs: Sequence[RunResults]) -> list[Key]:
    """What was measured of a metric in any run: by protocol, mappings in the order of the table."""
    found = {key for run in runs for key in run.measurements if key[0] == metric}
    order = {method: place for place, method in enumerate(MAPPINGS)}
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


def warnings(runs: Sequence[RunResults]) -> tuple[str, ...]:
    """Why values should not be compared as they stand, in sentences."""
    said = []
    if len({run.data for run in runs}) > 1:
        each = "; ".join(f"{run.label}: {run.data}" for run in runs)
        said.append(
            f"The runs were tested on different data, so accuracies and metrics don't compare. {each}."
        )
    protocols = {run.label: tuple(sorted({key[2] for key in run.measurements if key[2]})) for run in runs}
    known = {label: found for label, found in protocols.items() if found}
    if len(set(known.values())) > 1:
        each = "; ".join(f"{label}: {', '.join(found)}" for label, found in known.items())
        said.append(
            f"Consistency and stability were measured under different protocols, which don't compare. {each}."
        )
    return tuple(said)


def notes(runs: Sequence[RunResults]) -> tuple[str, ...]:
    """Settings that differ, what is odd, and how to measure what is missing, in sentences."""
    odd = [f"{run.label}: {remark}." for run in runs for remark in run.remarks]
    whole = [sentence for run in runs for sentence in _whole_images(run)]
    return (*_settings_in_words(runs), *odd, *whole, *(one for run in runs for one in _missing(run, runs)))


def differing_settings(key: Key, runs: Sequence[RunResults]) -> dict[str, tuple[object, ...]]:
    """The settings of a measurement that are not the same in all runs that have it: name -> value of each."""
    settings = [run.measurements[key].settings for run in runs if key in run.measurements]
    names = dict.fromkeys(name for one in settings for name in one)
    values = {name: tuple(one.get(name) for one in settings) for name in names}
    return {name: each for name, each in values.items() if len(set(each)) > 1}


def _settings_in_words(runs: Sequence[RunResults]) -> list[str]:
    """One sentence for all metrics with the same differences."""
    metrics = defaultdict[tuple[str, ...], dict[str, None]](dict)
    for key in dict.fromkeys(key for run in runs for key in run.measurements):
        having = [run.label for run in runs if key in run.measurements]
        different = tuple(
            f"{name} " + ", ".join(f"{value} ({label})" for value, label in zip(each, having, strict=True))
            for name, each in differing_settings(key, runs).items()
        )
        if different:
            metrics[different][metric_title(key[0])] = None
    return [
        f"Measured with different settings: {', '.join(titles).lower()}: {'; '.join(different)}."
        for different, titles in metrics.items()
    ]


def _whole_images(run: RunResults) -> list[str]:
    """What it means for the metrics of the receptive field that this is the image."""
    if run.field is None or run.field.mean_percent < WHOLE_IMAGE:
        return []
    return [
        f"{run.label}: every patch sees the whole image. By receptive field its prototypes always lie in the "
        "image's middle, and all of the image is displayed: consistency, stability, purity and misalignment "
        "of that mapping are as good as they can be, or as bad, whatever the network has learned."
    ]


def _missing(run: RunResults, runs: Sequence[RunResults]) -> list[str]:
    said = []
    if not (run.scores and run.info):
        said.append(f"{run.label} did not finish: `pixpnet train --resume {run.path}` trains on and tests.")
    having = {metric for metric, _, _ in run.measurements}
    lacking = [name for name in METRICS if name not in having]
    if lacking:
        said.append(
            f"{run.label} lacks {', '.join(metric_title(name).lower() for name in lacking)}: "
            f"`pixpnet evaluate {run.path}` measures what its data allow."
        )
    elsewhere = {key for other in runs for key in other.measurements if key[0] in having}
    maps = {key[1] for key in elsewhere - run.measurements.keys() if key[1]}
    maps -= {method for _, method, _ in run.measurements}
    if maps:
        ordered = [*(name for name in MAPPINGS if name in maps), *sorted(maps - MAPPINGS.keys())]
        said.append(
            f"{run.label} lacks maps of {', '.join(mapping_title(name) for name in ordered)}: "
            f"`pixpnet evaluate {run.path} --methods {','.join(ordered)}` measures them."
        )
    return said


def to_html(comparison: Comparison) -> str:
    """A comparison as one HTML file that needs nothing else; whatever comes from runs is escaped."""
    style = "\n".join(map(asset, ("style.css", "comparison.css")))
    return (
        templates()
        .get_template("comparison.html.j2")
        .render(comparison=comparison, style=Markup(style), version=pixpnet.__version__)
    )


def to_markdown(comparison: Comparison) -> str:
    """One table, with warnings before it and notes after it."""
    lines = [f"# Comparison of {len(comparison.labels)} runs", ""]
    for warning in comparison.warnings:
        lines += [f"> **Warning:** {in_markdown(warning)}", ""]
    lines += _markdown_table([("", *map(in_markdown, comparison.labels)), *_markdown_rows(comparison)])
    lines += ["", LEGEND, ""]
    lines += [f"- {in_markdown(note)}" for note in comparison.notes]
    lines += [
        f"- {in_markdown(label)}: `{visible(path)}`"
        for label, path in zip(comparison.labels, comparison.paths, strict=True)
    ]
    return "\n".join(lines) + "\n"


def _markdown_rows(comparison: Comparison) -> Iterator[tuple[str, ...]]:
    for group in comparison.groups:
        yield (f"*{in_markdown(group.title)}*", *("" for _ in comparison.labels))
        for row in group.rows:
            yield (in_markdown(_row_title(row)), *map(_cell, row.cells))


def _row_title(row: TableRow) -> str:
    arrow = {"high": " ↑", "low": " ↓"}.get(row.better, "")
    return f"{row.title}{arrow}" + (f": {row.detail}" if row.detail else "")


def _cell(cell: Cell) -> str:
    text = f"**{in_markdown(cell.text)}**" if cell.is_best else in_markdown(cell.text)
    return f"{text} [{cell.interval}]" if cell.interval else text


def _markdown_table(rows: list[tuple[str, ...]]) -> list[str]:
    """Columns as wide as their longest cell."""
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    rule = tuple("-" * max(3, width) for width in widths)
    padded = [
        [cell.ljust(max(3, width)) for cell, width in zip(row, widths, strict=True)]
        for row in (rows[0], rule, *rows[1:])
    ]
    return [f"| {' | '.join(row)} |" for row in padded]
