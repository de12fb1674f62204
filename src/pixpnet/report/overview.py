"""The run in a few figures, and its settings."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import yaml

from pixpnet.config import Config, config_to_yaml
from pixpnet.receptive_fields import ReceptiveField
from pixpnet.report.predictions import Predictions
from pixpnet.runs import Run
from pixpnet.words import duration, percent


@dataclass(frozen=True)
class Fact:
    """A figure and what it means."""

    label: str
    value: str
    note: str = ""


@dataclass(frozen=True)
class Setting:
    name: str
    value: str
    is_default: bool


@dataclass(frozen=True)
class Section:
    """The options of one section of the configuration."""

    title: str
    settings: tuple[Setting, ...]


def facts(
    run: Run, predictions: Predictions, *, field: ReceptiveField, info: Mapping[str, Any]
) -> tuple[Fact, ...]:
    """What to know of a run first.

    Args:
        run: The run.
        predictions: Of its test images.
        field: Of the network's patches.
        info: What model_info.yaml holds; what it lacks is left out.
    """
    config, images = run.config, len(predictions.labels)
    right = round(predictions.accuracy * images)
    network = run.network
    height, width = run.image_size
    rows, columns = field.grid_size
    parameters = sum(parameter.numel() for parameter in network.parameters())
    layer = config.model.feature_layer or "its last layer"
    found = [
        Fact(
            "Test accuracy",
            percent(predictions.accuracy),
            f"{right:,} of {images:,} images; mean over classes {percent(predictions.class_accuracy)}",
        ),
        Fact(
            "Mean receptive field",
            f"{field.mean_percent:.1f} %",
            f"of the image is what one prototype sees; at most {field.max_percent:.1f} %",
        ),
        Fact(
            "Prototypes",
            f"{network.num_prototypes:,}",
            f"for {network.num_classes:,} classes, each the patch of a training image",
        ),
        Fact(
            "Backbone",
            f"{config.model.feature_extractor}",
            f"cut at {layer}: {rows}×{columns} patches, {parameters:,} parameters",
        ),
        Fact("Data", config.dataset.name, f"{height}×{width} pixels, {images:,} test images"),
    ]
    if isinstance(seconds := info.get("train_time_total"), int | float):
        found.append(Fact("Training", duration(seconds), f"{config.train.epochs} epochs"))
    return tuple(found)


def settings(config: Config) -> tuple[Section, ...]:
    """Every option, those of no section first."""
    values, defaults = (yaml.safe_load(config_to_yaml(one)) for one in (config, Config()))
    loose = {name: value for name, value in values.items() if not isinstance(value, dict)}
    sections = {"run": loose} | {name: value for name, value in values.items() if isinstance(value, dict)}
    return tuple(
        Section(
            title,
            tuple(
                Setting(name, _say(value), value == (defaults.get(title) or defaults).get(name))
                for name, value in section.items()
            ),
        )
        for title, section in sections.items()
    )


def _say(value: object) -> str:
    if value is None:
        return "–"
    if isinstance(value, bool):
        return "yes" if value else "no"
    return ", ".join(map(str, value)) if isinstance(value, list) else str(value)
