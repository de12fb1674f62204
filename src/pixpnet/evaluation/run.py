"""Measuring a run: what has been measured stays, and what is measured is written at once."""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from pixpnet.errors import DataError, UnsupportedOperationError
from pixpnet.evaluation.drawing import write_curves
from pixpnet.evaluation.files import EvaluationFiles
from pixpnet.evaluation.metric import Settings
from pixpnet.evaluation.plan import Pair, make_plan
from pixpnet.evaluation.record import Evaluation, Measurement
from pixpnet.evaluation.subject import Subject
from pixpnet.evaluation.table import METRICS
from pixpnet.files import sha256_of
from pixpnet.metrics import PROTOCOLS
from pixpnet.pixel_space import MAPPINGS
from pixpnet.runs import Run, load
from pixpnet.types import Progress, no_progress

"""Told (what is measured, steps done, steps in all)."""

_logger = logging.getLogger(__name__)


def evaluate(
    run: Run | str | Path,
    *,
    metrics: Sequence[str] | None = None,
    methods: Sequence[str] | None = None,
    protocol: str = Settings.protocol,
    center: str | None = Settings.center,
    half_size: float | None = Settings.half_size,
    steps: int | None = Settings.steps,
    samples: int = Settings.samples,
    pairs: int = Settings.pairs,
    start: str = Settings.start,
    prototypes: str = Settings.prototypes,
    seed: int = Settings.seed,
    batch_size: int | None = None,
    out: str | Path | None = None,
    progress: Progress = no_progress,
) -> Evaluation:
    """Measure how a trained network's explanations fare, and write the results after each measurement.

    What the files hold already, of the same checkpoint and settings, is not measured again. The checkpoint's
    file tells which it is: give another `out` for a network that was changed (pruned, say) after loading.

    Args:
        run: A trained network, or its run directory or checkpoint.
        metrics: Names of METRICS; none: all that the data set allows.
        methods: Names of ``pixpnet.pixel_space.MAPPINGS``; none: all that the network allows.
        protocol: Of consistency and stability: a name of ``pixpnet.metrics.PROTOCOLS``.
        center: Of these, where regions are centred: mapping, argmax, image or upsampled-argmax; none: as the
            protocol has it.
        half_size: Of these, half the side of a region in pixels; none: the protocol's.
        steps: Points of a curve, less one; none: every pixel.
        samples: Test images that are looked at, of metrics that take long.
        pairs: Most pairs of such an image and a prototype that are attacked (misalignment).
        start: Of curves, what pixels are before they are put in: zeros or noise.
        prototypes: Whose curves: those of the image's class (own), or all.
        seed: Draws images, noise, random maps, and the resamples of the intervals.
        batch_size: Images at a time; none: what the device is fast with.
        out: Folder of the files; none: the run's results, or beside a checkpoint that lies alone.
        progress: Told what is being done.

    Returns:
        All measurements in the files.

    Raises:
        CheckpointError: There is no such run, or the files can't be written.
        ConfigError: An unknown metric or method, or settings that can't be.
        DataError: The data set is gone; a metric that was named can't be measured on it; a damaged file.
        UnsupportedOperationError: A method that was named has no rule for an operation of the network.
    """
    settings = Settings(
        seed=seed,
        protocol=protocol,
        center=center,
        half_size=half_size,
        samples=samples,
        pairs=pairs,
        steps=steps,
        start=start,
        prototypes=prototypes,
    ).resolved()
    loaded = run if isinstance(run, Run) else load(run)
    subject = Subject(loaded, batch_size=batch_size)
    plan = make_plan(subject, settings, metrics=metrics, methods=methods)
    for words in plan.left_out:
        _logger.info("Left out: %s", words)
    files = EvaluationFiles.of_checkpoint(loaded.checkpoint, out=None if out is None else Path(out))
    evaluation = _known(files, loaded.checkpoint)
    pending = [
        pair
        for pair in plan.pairs
        if not any(pair.is_measured_by(one, settings) for one in evaluation.measurements)
    ]
    if pending:
        files.write(evaluation)  # a folder that can't be written to is better known before the work
        if not evaluation.measurements:
            files.remove_curves()
    for number, pair in enumerate(pending, start=1):
        words = f"{number}/{len(pending)} {pair.words}"
        subject.on_step = lambda done, total, words=words: progress(done, total, words)
        try:
            measurement = _measure(subject, pair, settings)
        except (DataError, UnsupportedOperationError) as error:
            named = methods if isinstance(error, UnsupportedOperationError) else metrics
            if named is not None:
                raise
            _logger.info("Left out: %s: %s", pair.words, error)
            continue
        evaluation = _in_order(evaluation.with_measurement(measurement))
        files.write(evaluation)
    if pending:  # else they are there, and the folder may be read-only
        # All methods that were measured alike, not only those of this call.
        alike = [
            one
            for one in evaluation.measurements
            if one.metric in METRICS and Pair(one.metric, one.method).is_measured_by(one, settings)
        ]
        write_curves(files, alike, mean_percent=subject.receptive_field.mean_percent)
    return evaluation


def _known(files: EvaluationFiles, checkpoint: Path) -> Evaluation:
    """What the files say of this checkpoint."""
    sha256 = sha256_of(checkpoint)
    known = files.read()
    if known is not None and known.checkpoint_sha256 == sha256:
        return known
    if known is not None and known.measurements:
        _logger.info("%s is of another checkpoint, %s: measuring anew.", files.yaml, known.checkpoint)
    return Evaluation(checkpoint.name, sha256)


def _measure(subject: Subject, pair: Pair, settings: Settings) -> Measurement:
    metric = METRICS[pair.metric]
    start = time.perf_counter()
    outcome = metric.measure(subject, pair.method, settings)
    return Measurement(
        *pair.key(settings),
        settings=pair.settings(settings),
        values=outcome.values,
        units={name: metric.quantities[name].unit for name in outcome.values},
        curve=outcome.curve,
        seconds=time.perf_counter() - start,
    )


def _in_order(evaluation: Evaluation) -> Evaluation:
    """As the tables of metrics, methods and protocols have it; what is not in them last."""
    tables = [list(METRICS), [None, *MAPPINGS], [None, *PROTOCOLS]]

    def place(one: Measurement) -> list[int]:
        return [
            names.index(name) if name in names else len(names)
            for names, name in zip(tables, one.key, strict=True)
        ]

    return replace(evaluation, measurements=tuple(sorted(evaluation.measurements, key=place)))
