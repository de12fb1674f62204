"""What is to be measured: which pairs of metric and method, and what is left out and why."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from pixpnet.choices import choose
from pixpnet.errors import ConfigError, DataError
from pixpnet.evaluation.metric import Metric, Settings
from pixpnet.evaluation.record import Key, Measurement
from pixpnet.evaluation.subject import Subject
from pixpnet.evaluation.table import METRICS
from pixpnet.pixel_space import MAPPING_TITLES, MAPPINGS


@dataclass(frozen=True)
class Pair:
    """A metric, and the method whose maps it is measured for (none where it does not depend on it)."""

    metric: str
    method: str | None

    @property
    def words(self) -> str:
        """For a message."""
        name = self.metric.replace("_", " ")
        return name if self.method is None else f"{name}, {MAPPING_TITLES[self.method]}"

    def key(self, settings: Settings) -> Key:
        """That of its measurement."""
        protocol = settings.protocol if METRICS[self.metric].has_protocol else None
        return self.metric, self.method, protocol

    def settings(self, settings: Settings) -> Mapping[str, int | float | str | None]:
        """What the measurement depends on; the protocol is part of its key."""
        names = [name for name in METRICS[self.metric].settings if name != "protocol"]
        return {name: getattr(settings.resolved(), name) for name in names}

    def is_measured_by(self, measurement: Measurement, settings: Settings) -> bool:
        """Whether a measurement is what would be measured again."""
        return measurement.key == self.key(settings) and dict(measurement.settings) == self.settings(settings)


@dataclass(frozen=True)
class Plan:
    """What is measured, in this order, and in words what is not."""

    pairs: tuple[Pair, ...]
    left_out: tuple[str, ...]


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
        try:
            MAPPINGS[method].require()
        except ConfigError as error:
            if methods is not None:
                raise
            usable.remove(method)
            left_out.append(f"method {method}: {error}")
    pairs = []
    for name, metric in METRICS.items():
        if metrics is not None and name not in metrics:
            continue
        reason = _reason(metric, subject, settings)
        own = [method for method in metric.methods(settings) if method is None or method in usable]
        if reason is not None and metrics is not None:
            raise DataError(f"{name} can't be measured: {reason}.")
        if not own and metrics is not None:
            known = ", ".join(str(method) for method in metric.methods(settings))
            raise ConfigError(f"{name} is measured for {known} only; methods={','.join(usable)} has none.")
        if reason is not None:
            left_out.append(f"{name.replace('_', ' ')}: {reason}")
        else:
            pairs += [Pair(name, method) for method in own]
    return Plan(tuple(pairs), tuple(left_out))


def _reason(metric: Metric, subject: Subject, settings: Settings) -> str | None:
    reasons = (need(subject, settings) for need in metric.needs)
    return next((reason for reason in reasons if reason is not None), None)
