"""Measuring a run: what has been measured stays, and what is measured is written at once."""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from pixpnet.choices import choose
from pixpnet.errors import ConfigError, DataError, UnsupportedOperationError
from pixpnet.evaluation.files import EvaluationFiles, write_curves
from pixpnet.evaluation.metric import Evaluation, Key, Measurement, Settings
from pixpnet.evaluation.subject import Subject
from pixpnet.evaluation.table import METRICS
from pixpnet.files import sha256_of
from pixpnet.metrics import PROTOCOLS
from pixpnet.pixel_space import MAPPINGS, mapping_title
from pixpnet.runs import Run, load, writing_to
from pixpnet.types import Progress, no_progress
from pixpnet.words import spaced

_logger = logging.getLogger(__name__)


def evaluate(
    run: Run | str | Path,
    *,
    metrics: Sequence[str] | None = None,
    methods: Sequence[str] | None = None,
    settings: Settings | None = None,
    out: str | Path | None = None,
    batch_size: int | None = None,
    progress: Progress = no_progress,
) -> Evaluation:
    """Measure how a trained network's explanations fare, and write the results after each measurement.

    What the files hold already, of the same checkpoint and settings, is not measured again. The checkpoint's
    file tells which it is: give another `out` for a network that was changed (pruned, say) after loading.

    Args:
        run: A trained network, or its run directory or checkpoint.
        metrics: Names of METRICS; None: all that the data set allows.
        methods: Names of ``pixpnet.pixel_space.MAPPINGS``; None: all that the network allows.
        settings: What the values depend on; None: the defaults of `Settings`.
        out: Folder of the files; None: the run's results, or beside a checkpoint that lies alone.
        batch_size: Images at a time; None: what the device is fast with.
        progress: Told what is being done.

    Returns:
        All measurements in the files.

    >>> found = pixpnet.evaluate(RUN_DIR, metrics=["sparsity"])
    >>> [one.metric for one in found.measurements]
    ['sparsity']

    Raises:
        CheckpointError: There is no such run.
        ConfigError: An unknown metric or method, or some that can't be used together.
        DataError: The data set is gone; a metric that was named can't be measured on it; a damaged file.
        FileError: The files can't be written, or another process writes there.
        UnsupportedOperationError: A method that was named has no rule for an operation of the network.
    """
    settings = (settings or Settings()).resolved()
    loaded = run if isinstance(run, Run) else load(run)
    subject = Subject(loaded, batch_size=batch_size)
    plan = make_plan(subject, settings, metrics=metrics, methods=methods)
    for words in plan.left_out:
        _logger.info("Left out: %s", words)
    files = EvaluationFiles.of_checkpoint(loaded.checkpoint, out=None if out is None else Path(out))
    evaluation = _known(files, loaded.checkpoint)
    if not (plan.pending(evaluation, settings) or files.undrawn(_alike(evaluation, settings))):
        return evaluation  # the folder may be read-only
    with writing_to(files.folder):
        evaluation = _known(files, loaded.checkpoint)
        pending = plan.pending(evaluation, settings)
        if pending:
            files.write(evaluation)  # a folder that can't be written to is better known before the work
            files.remove_figures([item.metric for item in pending] if evaluation.measurements else METRICS)
            if not evaluation.measurements:
                files.curves.unlink(missing_ok=True)
        for number, item in enumerate(pending, start=1):
            words = f"{number}/{len(pending)} {item.words}"
            subject.on_step = lambda done, total, words=words: progress(done, total, words)
            try:
                measurement = item.measure(subject, settings)
            except (DataError, UnsupportedOperationError) as error:
                named = methods if isinstance(error, UnsupportedOperationError) else metrics
                if named is not None:
                    raise
                _logger.info("Left out: %s: %s", item.words, error)
                continue
            evaluation = _in_order(evaluation.with_measurement(measurement))
            files.write(evaluation)
        write_curves(files, _alike(evaluation, settings), mean_percent=subject.receptive_field.mean_percent)
    return evaluation


def _alike(evaluation: Evaluation, settings: Settings) -> list[Measurement]:
    """What was measured with these settings: of all methods, not only those of this call."""
    return [
        one
        for one in evaluation.measurements
        if one.metric in METRICS and PlanItem(one.metric, one.method).is_measured_by(one, settings)
    ]


@dataclass(frozen=True)
class PlanItem:
    """A metric, and the method whose maps it is measured for (None where it does not depend on it)."""

    metric: str
    method: str | None

    @property
    def words(self) -> str:
        """For a message."""
        name = spaced(self.metric)
        return name if self.method is None else f"{name}, {mapping_title(self.method)}"

    def key(self, settings: Settings) -> Key:
        """What its measurement is found by."""
        protocol = settings.protocol if METRICS[self.metric].has_protocol else None
        return self.metric, self.method, protocol

    def settings(self, settings: Settings) -> Mapping[str, int | float | str | None]:
        """What the measurement depends on; the protocol is part of its key."""
        names = [name for name in METRICS[self.metric].settings if name != "protocol"]
        return {name: getattr(settings.resolved(), name) for name in names}

    def is_measured_by(self, measurement: Measurement, settings: Settings) -> bool:
        """Whether a measurement is what would be measured again."""
        return measurement.key == self.key(settings) and dict(measurement.settings) == self.settings(settings)

    def measure(self, subject: Subject, settings: Settings) -> Measurement:
        metric, start = METRICS[self.metric], time.perf_counter()
        found = metric.measure(subject, self.method, settings)
        return Measurement(
            *self.key(settings),
            settings=self.settings(settings),
            values=found.values,
            units={name: metric.quantities[name].unit for name in found.values},
            curve=found.curve,
            seconds=time.perf_counter() - start,
        )


@dataclass(frozen=True)
class Plan:
    """What is measured, in this order, and in words what is not."""

    items: tuple[PlanItem, ...]
    left_out: tuple[str, ...]

    def pending(self, evaluation: Evaluation, settings: Settings) -> list[PlanItem]:
        """What has not been measured yet."""
        known = evaluation.measurements
        return [item for item in self.items if not any(item.is_measured_by(one, settings) for one in known)]


def make_plan(
    subject: Subject, settings: Settings, *, metrics: Sequence[str] | None, methods: Sequence[str] | None
) -> Plan:
    """The pairs of these metrics and methods; of all that can be measured where none are named.

    Raises:
        ConfigError: A metric or method that is not known, or that was named and can't be used together.
        DataError: A metric that was named can't be measured on this data set.
    """
    left_out = []
    for name in metrics or ():
        choose(METRICS, name, what="metric")
    for name in methods or ():
        choose(MAPPINGS, name, what="method")
    usable = [method for method in MAPPINGS if methods is None or method in methods]
    for method in tuple(usable):
        require = MAPPINGS[method].require
        try:
            if require is not None:
                require()
        except ConfigError as error:
            if methods is not None:
                raise
            usable.remove(method)
            left_out.append(f"method {method}: {error}")
    items = []
    for name, metric in METRICS.items():
        if metrics is not None and name not in metrics:
            continue
        reasons = (need(subject, settings) for need in metric.needs)
        reason = next((reason for reason in reasons if reason is not None), None)
        own = [method for method in metric.methods(settings) if method is None or method in usable]
        if reason is not None and metrics is not None:
            raise DataError(f"{name} can't be measured: {reason}.")
        if not own and metrics is not None:
            known = ", ".join(str(method) for method in metric.methods(settings))
            raise ConfigError(f"{name} is measured for {known} only; methods={','.join(usable)} has none.")
        if reason is not None:
            left_out.append(f"{spaced(name)}: {reason}")
        else:
            items += [PlanItem(name, method) for method in own]
    return Plan(tuple(items), tuple(left_out))


def _known(files: EvaluationFiles, checkpoint: Path) -> Evaluation:
    """What the files say of this checkpoint."""
    sha256 = sha256_of(checkpoint)
    known = files.read()
    if known is not None and known.checkpoint_sha256 == sha256:
        return known
    if known is not None and known.measurements:
        _logger.info("%s is of another checkpoint, %s: measuring anew.", files.yaml, known.checkpoint)
    return Evaluation(checkpoint.name, sha256)


def _in_order(evaluation: Evaluation) -> Evaluation:
    """As the tables of metrics, methods and protocols have it; what is not in them last."""
    tables = [list(METRICS), [None, *MAPPINGS], [None, *PROTOCOLS]]

    def place(one: Measurement) -> list[int]:
        return [
            names.index(name) if name in names else len(names)
            for names, name in zip(tables, one.key, strict=True)
        ]

    return replace(evaluation, measurements=tuple(sorted(evaluation.measurements, key=place)))
