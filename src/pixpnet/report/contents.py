"""Everything that a report shows, as numbers, words and pictures."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import yaml
from jaxtyping import Float32

from pixpnet.certificate import Certificate, find_certificate, verify
from pixpnet.config import Config, config_to_yaml
from pixpnet.data import dataset_title
from pixpnet.errors import ConfigError, MissingDataError
from pixpnet.files import read_numbers, real_path
from pixpnet.receptive_fields import ReceptiveField
from pixpnet.report.charts import Chart, read_charts
from pixpnet.report.evidence import Album, Example, Gallery, Versus, shown_images
from pixpnet.report.predictions import Confusion, Predictions, confusion, predict
from pixpnet.report.prototypes import Chapter, Checked, Remark, atlas, check
from pixpnet.report.tables import MetricTable, read_metrics
from pixpnet.runs import Edit, Pruning, Run, RunDirectory, Tested, load, object_shares, times_on_top
from pixpnet.types import Progress, no_progress
from pixpnet.words import accuracy_in_words, counted, duration, percent, readable_names

PAIRS = 10
"""Confused pairs of classes that are listed."""
CONTRASTS = 3
"""Of these, pairs that are explained."""

STEPS = 4
"""How often progress is told."""
TRIALS = 90
"""Of the certificate that a report makes itself."""

_logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Fact:
    """A figure and what it means."""

    label: str
    value: str
    note: str = ""


@dataclass(frozen=True)
class ShownOption:
    name: str
    value: str
    is_default: bool


@dataclass(frozen=True)
class Section:
    """The options of one section of the configuration."""

    title: str
    settings: tuple[ShownOption, ...]


@dataclass(frozen=True)
class Grounding:
    """A certificate as a report shows it."""

    certificate: Certificate
    is_short: bool
    """Whether the report made it itself, with fewer trials."""

    @property
    def is_fine(self) -> bool | None:
        """None: passed, but nothing was replaced."""
        return None if self.certificate.passed and self.certificate.is_empty else self.certificate.passed

    @property
    def replacements(self) -> tuple[str, ...]:
        """What was put in the place of everything outside."""
        return tuple(dict.fromkeys(one.replacement for one in self.certificate.findings))


@dataclass(frozen=True, eq=False)
class Report:
    """What a report shows, in its order."""

    dataset: str
    network: str
    """Backbone and layer."""
    lead: str
    run: str
    """Name of the run directory."""
    image_size: tuple[int, int]
    facts: tuple[Fact, ...]
    edits: tuple[Edit, ...]
    """What was done to the prototypes by hand."""
    remarks: tuple[Remark, ...]
    missing: str | None
    """Why the run's data set can't be looked at, and with it what needs images of it; None: it can."""
    examples: tuple[Example, ...]
    confusion: Confusion | None
    """None: without the data set."""
    contrasts: tuple[Versus, ...]
    atlas: tuple[Chapter, ...]
    grounding: Grounding | None
    """None: there is no certificate, and without the data set none can be made."""
    metrics: tuple[MetricTable, ...]
    charts: tuple[Chart, ...]
    settings: tuple[Section, ...]
    album: Album


def collect(
    run_dir: str | Path,
    *,
    images: int,
    dataset_root: str | Path | None = None,
    progress: Progress = no_progress,
) -> Report:
    """Look at a run and at what its network makes of the test images.

    Where the data set is gone, what needs its images is left out, and a warning says so.

    Args:
        run_dir: A finished run's directory.
        images: Test images shown at most in each group.
        dataset_root: Where the run's data lies now, if it has moved; it must be there, then.
        progress: Told what is being done.

    Raises:
        CheckpointError: There is no such run, or its prototypes are not training patches.
        ConfigError: images is not positive.
        DataError: The run's data set has changed; or it is gone, and the run has no copies of its
            prototypes' images.
    """
    if images < 1:
        raise ConfigError(f"images={images}: a report shows at least one image of each group.")
    directory = RunDirectory.open(run_dir)
    run = load(run_dir, dataset_root=dataset_root)
    run.require_sources()
    # What is wrong is better known before the work.
    info = read_numbers(directory.model_info_file)
    metrics = read_metrics(directory.results, checkpoint=run.checkpoint.name)
    charts = read_charts(directory.metrics_file, run.config)
    names, album = readable_names(run.class_names), Album()
    gallery, field = Gallery(run, album, names), run.receptive_field()
    missing = _missing(run, is_told_where=dataset_root is not None)
    progress(0, STEPS, "looking at the test images")
    predictions = None if missing else predict(run.network, run.test_images)
    tested = run.tested() if predictions is None else _tested(predictions)
    weights = run.network.class_weights().cpu().numpy()
    used = None
    if predictions is not None:
        used = times_on_top(predictions.similarities, predictions.predicted, weights).tolist()
    confused = None if predictions is None else confusion(predictions, names, pairs=PAIRS)
    progress(1, STEPS, "looking at the prototypes")
    on_object = () if missing else object_shares(run.images(run.image_set.train), run.sources)
    chapters = atlas(
        run,
        predictions,
        weights=weights,
        used=used,
        on_object=on_object,
        class_names=names,
        patch_of=gallery.prototype,
    )
    progress(2, STEPS, "explaining images")
    chosen = {} if predictions is None else shown_images(predictions, images)
    examples = [gallery.example(index, group) for group in chosen for index in chosen[group]]
    pairs = () if confused is None else confused.pairs[:CONTRASTS]
    contrasts = [gallery.versus(pair.example) for pair in pairs]
    progress(3, STEPS, "trying the receptive fields")
    certificate = grounding(run, is_missing=missing is not None)
    if missing:
        _logger.warning("the report leaves out what needs the data set: %s", missing)
    return Report(
        dataset=dataset_title(run.config.dataset),
        network=run.config.model.network,
        lead=_lead(run, tested, field.mean_percent),
        run=real_path(directory.path).name,
        image_size=run.image_size,
        facts=facts(run, tested, field=field, info=info, pruning=Pruning.read(directory.pruned_file)),
        edits=run.edits,
        remarks=check(_subject(run, weights, on_object, names, mean_percent=field.mean_percent, used=used)),
        missing=missing,
        examples=tuple(examples),
        confusion=confused,
        contrasts=tuple(contrasts),
        atlas=chapters,
        grounding=certificate,
        metrics=metrics,
        charts=charts,
        settings=settings(run.config),
        album=album,
    )


def _missing(run: Run, *, is_told_where: bool) -> str | None:
    """Why the run's data set can't be looked at; None: it can.

    Raises:
        DataError: It has changed; or someone told where it is, and it isn't there.
    """
    try:
        _ = run.image_set
    except MissingDataError as error:
        if is_told_where:
            raise
        return str(error)
    return None


def _tested(predictions: Predictions) -> Tested:
    return Tested(predictions.accuracy, predictions.class_accuracy, len(predictions.labels))


def _subject(
    run: Run,
    weights: Float32[np.ndarray, "p c"],
    on_object: tuple[float | None, ...],
    class_names: tuple[str, ...],
    *,
    mean_percent: float,
    used: Sequence[int] | None,
) -> Checked:
    return Checked(
        prototypes=run.network.prototypes.detach().cpu().flatten(1).numpy(),
        distance=run.config.model.distance,
        weights=weights,
        own_class=run.network.own_class.cpu().numpy(),
        sources=run.sources,
        on_object=on_object,
        class_names=class_names,
        mean_percent=mean_percent,
        used=used,
    )


def _lead(run: Run, tested: Tested | None, mean_percent: float) -> str:
    right = ""
    if tested is not None:
        verb = f"was, {tested.when}," if tested.when else "is"
        right = f"This network {verb} right on {percent(tested.accuracy)} of {tested.images:,} test images. "
    return (
        f"{right}{'It' if right else 'This network'} compares patches of an image with "
        f"{run.network.num_prototypes:,} patches of training images, and adds up how much they are alike. A "
        f"patch is on average {mean_percent:.1f} % of the image: exactly the pixels that the comparison "
        "depends on."
    )


def facts(
    run: Run,
    tested: Tested | None,
    *,
    field: ReceptiveField,
    info: Mapping[str, float],
    pruning: Pruning | None,
) -> tuple[Fact, ...]:
    """What to know of a run first.

    Args:
        run: The run.
        tested: How it does on its test images; None: nobody knows.
        field: The receptive field of the network's patches.
        info: What model_info.yaml holds; what it lacks is left out.
        pruning: What train.prune took away; None: it was not asked to.
    """
    config, network = run.config, run.network
    height, width = run.image_size
    rows, columns = field.grid_size
    parameters = sum(parameter.numel() for parameter in network.parameters())
    model = config.model
    layer = model.feature_layer or (None if model.tile else "its last layer")
    where = f"cut at {layer}" if layer else "whole"
    if model.tile:
        where += f", on tiles of {model.tile_side}"
    found, images = [], ""
    if tested is not None:
        images, whole = f", {tested.images:,} test images", accuracy_in_words(tested.accuracy, tested.images)
        figure, _, interval = whole.partition(" of ")
        of_classes = f"mean over classes {percent(tested.class_accuracy)}"
        note = "; ".join(filter(None, (f"of {interval}", of_classes, tested.when)))
        found.append(Fact("Test accuracy", figure, note))
    found += [
        Fact(
            "Mean receptive field",
            f"{field.mean_percent:.1f} %",
            f"of the image is what one prototype sees; at most {field.max_percent:.1f} %",
        ),
        Fact(
            "Prototypes",
            f"{network.num_prototypes:,}",
            f"for {network.num_classes:,} classes, each the patch of a training image"
            + ("" if pruning is None else f"; {pruning}")
            + (f"; edited by hand ({counted(len(run.edits), 'edit')})" if run.edits else ""),
        ),
        Fact(
            "Backbone",
            f"{config.model.feature_extractor}",
            f"{where}: {rows}×{columns} patches, {parameters:,} parameters",
        ),
        Fact("Data", dataset_title(config.dataset), f"{height}×{width} pixels{images}"),
    ]
    if (seconds := info.get("train_time_total")) is not None:
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
                ShownOption(name, _say(value), value == (defaults.get(title) or defaults).get(name))
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


def grounding(run: Run, *, is_missing: bool = False, trials: int = TRIALS) -> Grounding | None:
    """The certificate of a run's network: the one in its file, else one of fewer trials.

    is_missing: the data set is gone, so that none can be made; None then, where there is none.

    Raises:
        DataError: There are fewer than two test images.
    """
    kept = find_certificate(run)
    if kept is not None:
        return Grounding(kept, is_short=False)
    return None if is_missing else Grounding(verify(run, trials=trials), is_short=True)
