"""Everything that a report shows, as numbers, words and pictures."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Float32

from pixpnet.errors import ConfigError
from pixpnet.files import read_if_there
from pixpnet.report.atlas import Chapter, atlas
from pixpnet.report.confusion import Confusion, confusion
from pixpnet.report.curves import Chart, read_charts
from pixpnet.report.evidence import Example, Gallery, Versus, shown_images
from pixpnet.report.findings import Checked, Finding, check
from pixpnet.report.grounding import Grounding, grounding
from pixpnet.report.metrics import MetricTable, read_metrics
from pixpnet.report.objects import object_shares
from pixpnet.report.overview import Fact, Section, facts, settings
from pixpnet.report.pictures import Album
from pixpnet.report.predictions import Predictions, predict
from pixpnet.runs import Run, RunDirectory, load
from pixpnet.types import Progress, no_progress
from pixpnet.words import percent, readable_names

PAIRS = 10
"""Confused pairs of classes that are listed."""
CONTRASTS = 3
"""Of these, pairs that are explained."""

STEPS = 4
"""How often progress is told."""


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
    findings: tuple[Finding, ...]
    examples: tuple[Example, ...]
    confusion: Confusion
    contrasts: tuple[Versus, ...]
    atlas: tuple[Chapter, ...]
    grounding: Grounding
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

    Args:
        run_dir: A finished run's directory.
        images: Test images shown at most in each group.
        dataset_root: Where the run's data lies now, if it has moved.
        progress: Told what is being done.

    Raises:
        CheckpointError: There is no such run, or its prototypes are not training patches.
        ConfigError: images is not positive.
        DataError: The run's data set is gone or has changed.
    """
    if images < 1:
        raise ConfigError(f"images={images}: a report shows at least one image of each group.")
    directory = RunDirectory.open(run_dir)
    run = load(run_dir, dataset_root=dataset_root)
    run.require_sources()
    names, album = readable_names(run.class_names), Album()
    gallery, field = Gallery(run, album, names), run.receptive_field()
    progress(0, STEPS, "looking at the test images")
    predictions = predict(run.network, run.test_images)
    weights = run.network.class_weights().cpu().numpy()
    confused = confusion(predictions, names, pairs=PAIRS)
    progress(1, STEPS, "looking at the prototypes")
    on_object = object_shares(run, run.image_set)
    chapters = atlas(
        run,
        predictions,
        weights=weights,
        on_object=on_object,
        class_names=names,
        patch_of=gallery.prototype,
    )
    progress(2, STEPS, "explaining images")
    chosen = shown_images(predictions, images)
    examples = [gallery.example(index, group) for group in chosen for index in chosen[group]]
    contrasts = [gallery.versus(pair.example) for pair in confused.pairs[:CONTRASTS]]
    progress(3, STEPS, "trying the receptive fields")
    certificate = grounding(run)
    model = run.config.model
    return Report(
        dataset=run.config.dataset.name,
        network="/".join(filter(None, (model.feature_extractor, model.feature_layer))),
        lead=_lead(run, predictions, field.mean_percent),
        run=directory.path.resolve().name,
        image_size=run.image_size,
        facts=facts(run, predictions, field=field, info=read_if_there(directory.model_info_file)),
        findings=check(_subject(run, weights, on_object, names, mean_percent=field.mean_percent)),
        examples=tuple(examples),
        confusion=confused,
        contrasts=tuple(contrasts),
        atlas=chapters,
        grounding=certificate,
        metrics=read_metrics(directory.results, checkpoint=run.checkpoint.name),
        charts=read_charts(directory.metrics_file, run.config),
        settings=settings(run.config),
        album=album,
    )


def _subject(
    run: Run,
    weights: Float32[np.ndarray, "p c"],
    on_object: tuple[float | None, ...],
    class_names: tuple[str, ...],
    *,
    mean_percent: float,
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
    )


def _lead(run: Run, predictions: Predictions, mean_percent: float) -> str:
    return (
        f"This network is right on {percent(predictions.accuracy)} of {len(predictions.labels):,} test "
        f"images. It compares patches of an image with {run.network.num_prototypes:,} patches of training "
        f"images, and adds up how much they are alike. A patch is on average {mean_percent:.1f} % of the "
        "image: exactly the pixels that the comparison depends on."
    )
