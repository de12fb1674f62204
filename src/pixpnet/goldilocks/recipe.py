"""A configuration for the layer that was found: ready for ``pixpnet train -c``."""

from __future__ import annotations

import textwrap
from dataclasses import replace
from importlib.resources import files
from typing import Any

import yaml

from pixpnet.config import Config, DatasetConfig, config_from_yaml, config_to_yaml
from pixpnet.data import find_dataset, read_dataset
from pixpnet.goldilocks.table import Row

RECIPES = {"pretrained": "paper.yaml", "trained": "demo.yaml", "random": "demo.yaml"}
"""Weights that were looked at -> packaged configuration: the paper's, or training on the data alone."""

EPOCHS_FROM_TRAINED = 40
"""Of the prototypes, with a projection at their end, where the backbone has learned the data already."""

PROTOTYPES_PER_CLASS = 10
"""In all of the packaged configurations."""


def recipe(
    row: Row,
    *,
    dataset: DatasetConfig | None = None,
    num_classes: int | None = None,
    weights: str | None = None,
) -> Config:
    """The configuration of a PixPNet that is cut at the row's layer, ten prototypes a class.

    Args:
        row: The layer, and which weights it was measured with.
        dataset: The data set to train on; none: the row's, where it lies by default.
        num_classes: Of that data set; none: looked up.
        weights: File of the weights that the row was measured with. None: the published ones, or for a
            backbone that was trained on the data, training it anew.
    """
    if dataset is None:
        is_free = find_dataset(row.dataset).fixed_geometry is None
        dataset = DatasetConfig(name=row.dataset, size=row.height if is_free else None)
    file = RECIPES[row.weights]
    packaged = config_from_yaml((files("pixpnet") / "configs" / file).read_text("utf-8"), source=file)
    train = packaged.train
    if row.weights == "trained" and weights is not None:
        train = replace(train, backbone_epochs=0, epochs=EPOCHS_FROM_TRAINED, push_every=EPOCHS_FROM_TRAINED)
    return replace(
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
            feature_layer=row.stage,
            weights=None if row.weights == "random" else weights,
            num_prototypes=PROTOTYPES_PER_CLASS * (num_classes or _count_classes(dataset)),
        ),
    )


def recipe_yaml(
    row: Row,
    reason: str,
    *,
    dataset: DatasetConfig | None = None,
    num_classes: int | None = None,
    weights: str | None = None,
) -> str:
    """`recipe` as YAML: the reason as a comment, then the options that are not at their defaults."""
    config = recipe(row, dataset=dataset, num_classes=num_classes, weights=weights)
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
