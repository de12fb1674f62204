"""What to know before comparing: data, protocols and settings that differ, and what is missing."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence

from pixpnet.evaluation import METRICS, Key
from pixpnet.pixel_space import MAPPING_TITLES
from pixpnet.report.comparison.runs import RunResults
from pixpnet.words import spaced

WHOLE_IMAGE = 99.5
"""Mean receptive field, percent, from which a patch is taken to see all of the image."""


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
        ordered = [*(name for name in MAPPING_TITLES if name in maps), *sorted(maps - MAPPING_TITLES.keys())]
        said.append(
            f"{run.label} lacks maps of {', '.join(MAPPING_TITLES.get(name, name) for name in ordered)}: "
            f"`pixpnet evaluate {run.path} --methods {','.join(ordered)}` measures them."
        )
    return said


def metric_title(metric: str) -> str:
    """As the table of metrics has it; one that is not there is called by its own name."""
    return METRICS[metric].title if metric in METRICS else spaced(metric).capitalize()
