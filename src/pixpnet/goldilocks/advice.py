"""Which layer is just right: advice from a table of results, and a configuration for `pixpnet train -c`."""

from __future__ import annotations

import textwrap
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import yaml

from pixpnet.backbones import usual_tile_input
from pixpnet.config import Config, DatasetConfig, config_from_yaml, config_to_yaml, shipped_configurations
from pixpnet.data import find_dataset, read_dataset
from pixpnet.errors import ConfigError
from pixpnet.goldilocks.ranking import average_seeds, group_of
from pixpnet.goldilocks.stages import tile_of
from pixpnet.goldilocks.table import READOUT_TITLES, Row, Weights
from pixpnet.prototypes import PROTOTYPES_PER_CLASS

RUNNERS_UP = 3

EPOCHS_FROM_TRAINED = 40
"""What prototypes get, with a projection at their end, where the backbone has learned the data already."""


class Source(NamedTuple):
    """What is known of weights by where they are from."""

    in_words: str
    """What a probe read."""
    recipe: str
    """Shipped configuration: the paper's, or training on the data alone."""


SOURCES: dict[Weights, Source] = {
    "pretrained": Source("pretrained weights", "proto-cub200224"),
    "trained": Source("weights trained on this data", "proto-synthbirds"),
    "random": Source(
        "random weights: this says little of the network once it is trained", "proto-synthbirds"
    ),
}


@dataclass(frozen=True)
class Advice:
    """Where to cut, and the configuration that does it."""

    line: str
    """One line for people."""
    best: Row | None
    """None: no layer sees so little."""
    runners_up: tuple[Row, ...]
    config_yaml: str | None
    """Text of a file for ``pixpnet train -c``."""


def advise(
    rows: Sequence[Row],
    max_rf: float = 30.0,
    *,
    dataset: DatasetConfig | None = None,
    num_classes: int | None = None,
    weights: Callable[[Row], str | None] = lambda row: None,
    tile_input: int | None = None,
) -> Advice:
    """The most accurate layer whose mean receptive field is at most max_rf percent of the image.

    Of equals, the one that sees less, then the earlier one. Looked at are the rows that can be compared with
    the last one (same data set, size and mode), with the prototypes' readout where it was measured, since
    that is what a PixPNet reads. Seeds are averaged.

    Args:
        rows: Of a results table.
        max_rf: In percent of the image's area.
        dataset: The data set that the configuration shall name; None: the rows', where it lies by default.
        num_classes: Of that data set; None: looked up.
        weights: File of the weights that a row was measured with, if it is to be named.
        tile_input: Side that tiles were resized to; None: `usual_tile_input`.

    Raises:
        ConfigError: There are no rows.
    """
    if not rows:
        raise ConfigError("there are no results to take advice from.")
    alike = [row for row in rows if group_of(row) == group_of(rows[-1])]
    has_prototypes = any(row.readout == "prototypes" for row in alike)
    readout = "prototypes" if has_prototypes else rows[-1].readout
    layers = average_seeds([row for row in alike if row.readout == readout])
    fitting = sorted((row for row in layers if row.mean_rf <= max_rf), key=_preference)
    if not fitting:
        least = min(layers, key=lambda row: (row.mean_rf, *_preference(row)))
        line = f"no layer has a mean RF ≤ {max_rf:g} %; the smallest: {_described(least)}"
        return Advice(line, None, (), None)
    best, *others = fitting
    runners_up = tuple(others[:RUNNERS_UP])
    line = f"best layer with mean RF ≤ {max_rf:g} %: {_described(best)}"
    if runners_up:
        line += f"; next: {', '.join(f'{_place(row)} {_figures(row)}' for row in runners_up)}"
    config = _recipe(
        best, line, dataset=dataset, num_classes=num_classes, weights=weights(best), tile_input=tile_input
    )
    return Advice(line, best, runners_up, config)


def _preference(row: Row) -> tuple[float, float, int, str]:
    """Sorts better layers first."""
    return -row.test_accuracy, row.mean_rf, row.stage_number, row.model


def _described(row: Row) -> str:
    readout = READOUT_TITLES[row.readout]
    weights = SOURCES[row.weights].in_words if row.mode == "probe" else f"from {row.weights} weights"
    return f"{_place(row)}, accuracy {_figures(row)} ({row.mode} with {readout}; {weights})"


def _place(row: Row) -> str:
    return f"{row.model}/{row.stage}"


def _figures(row: Row) -> str:
    return f"{row.test_accuracy:.3f} at {row.mean_rf:.3g} %"


def _recipe(
    row: Row,
    reason: str,
    *,
    dataset: DatasetConfig | None,
    num_classes: int | None,
    weights: str | None,
    tile_input: int | None,
) -> str:
    """The configuration of a PixPNet that is cut at the row's layer, ten prototypes a class.

    In YAML: the reason as a comment, then the options that are not at their defaults. Without a file of the
    weights that the row was measured with, those are the published ones, or, for a backbone that was trained
    on the data, it is trained anew.
    """
    if dataset is None:
        is_free = find_dataset(row.dataset).fixed_geometry is None
        dataset = DatasetConfig(name=row.dataset, size=row.height if is_free else None)
    tile = tile_of(row.stage)
    file = SOURCES[row.weights].recipe if tile is None else "tiles80"
    packaged = config_from_yaml(shipped_configurations()[file], source=file)
    train = packaged.train
    if row.weights == "trained" and weights is not None:
        train = replace(train, backbone_epochs=0, epochs=EPOCHS_FROM_TRAINED, push_every=EPOCHS_FROM_TRAINED)
    config = replace(
        packaged,
        train=train,
        dataset=replace(
            dataset,
            val_size=packaged.dataset.val_size,
            augment_factor=packaged.dataset.augment_factor,
        ),
        model=replace(
            packaged.model,
            feature_extractor=row.model,
            feature_layer=row.stage if tile is None else None,
            pretrained=packaged.model.pretrained and row.weights != "random",
            tile=tile,
            tile_input=None if tile is None else tile_input or usual_tile_input(tile),
            weights=None if row.weights == "random" else weights,
            num_prototypes=PROTOTYPES_PER_CLASS * (num_classes or _count_classes(dataset)),
        ),
    )
    default = Config(dataset=DatasetConfig(name=""))  # so that the data set is always named
    changed = _changes(*(yaml.safe_load(config_to_yaml(one)) for one in (config, default)))
    comment = textwrap.fill(reason, 100, initial_indent="# ", subsequent_indent="# ")
    return f"{comment}\n{yaml.safe_dump(changed, sort_keys=False, allow_unicode=True)}"


def _changes(values: dict[str, Any], defaults: dict[str, Any]) -> dict[str, Any]:
    """The values that are not the defaults, also of the sections within."""
    sections = {
        key: _changes(value, defaults[key]) for key, value in values.items() if isinstance(value, dict)
    }
    return {key: sections.get(key, value) for key, value in values.items() if value != defaults[key]}


def _count_classes(dataset: DatasetConfig) -> int:
    spec = find_dataset(dataset.name)
    if spec.name == "SYNTHBIRDS":
        return dataset.classes
    return spec.num_classes or read_dataset(dataset).num_classes
