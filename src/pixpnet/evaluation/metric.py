"""What a metric is, and what it finds: settings, quantities, measurements, and their way to plain values."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float64

from pixpnet.choices import choose
from pixpnet.errors import ConfigError, DataError
from pixpnet.evaluation.subject import Subject
from pixpnet.metrics import PROTOCOLS, Estimate
from pixpnet.pixel_space import MAPPINGS
from pixpnet.records import checked

VERSION = 1
"""Version of the file that an evaluation is kept in."""

CENTERS = {"mapping": True, "argmax": True, "image": False, "upsampled-argmax": False}
"""Where a prototype's region is centred -> whether that depends on the mapping."""
STARTS = ("zeros", "noise")
CURVES_OF = ("own", "all")


@dataclass(frozen=True)
class Settings:
    """What values depend on, beside the network and its data; each metric reads what it needs.

    Args:
        seed: Draws images, noise, random maps, and the resamples of the intervals.
        protocol: The published way of measuring consistency and stability.
        center: Where their regions are centred: mapping, argmax, upsampled-argmax or image; None: as the
            protocol says.
        half_size: Half the side of their regions; None: as the protocol says, 36.
        samples: Test images that the slow metrics look at.
        pairs: Of these images and prototypes, pairs that misalignment attacks at most.
        steps: Points of a curve, less one; None: every pixel.
        start: What pixels are before they are put in: zeros or noise.
        prototypes: Whose relevance curves: those of the image's class (own), or all.
    """

    seed: int = 0
    protocol: str = "pixpnet-2023"
    center: str | None = None
    half_size: float | None = None
    samples: int = 50
    pairs: int = 100
    steps: int | None = 256
    start: str = "zeros"
    prototypes: str = "own"

    def __post_init__(self) -> None:
        choose(PROTOCOLS, self.protocol, what="protocol")
        choose(dict.fromkeys(STARTS), self.start, what="start")
        choose(dict.fromkeys(CURVES_OF), self.prototypes, what="prototypes")
        if self.center is not None:
            choose(CENTERS, self.center, what="center")
        for name in ("samples", "pairs", "steps", "half_size"):
            value = getattr(self, name)
            if value is not None and not value > 0:
                raise ConfigError(f"{name}={value}: give a positive number.")

    def resolved(self) -> Settings:
        """With the protocol's own values in place of nothing."""
        protocol = PROTOCOLS[self.protocol]
        return replace(
            self,
            center=self.center or protocol.center,
            half_size=protocol.half_size if self.half_size is None else self.half_size,
        )


@dataclass(frozen=True, eq=False)
class Curve:
    """A similarity while pixels are put in, or taken away."""

    shares: Float64[np.ndarray, "n"]
    """Share of the pixels."""
    similarity: Float64[np.ndarray, "n"]
    """Mean over the prototypes that count."""
    normalised: Float64[np.ndarray, "n"]
    """The same of (s - s_empty)/(s_image - s_empty)."""

    @property
    def checksum(self) -> str:
        """Tells whether two curves are the same."""
        digest = hashlib.blake2b(digest_size=8)
        for values in (self.shares, self.similarity, self.normalised):
            digest.update(np.ascontiguousarray(values, dtype="<f8").tobytes())
        return digest.hexdigest()


class MetricResult(NamedTuple):
    """What one measure found."""

    values: dict[str, Estimate]
    """By quantity."""
    curve: Curve | None = None


@dataclass(frozen=True)
class Quantity:
    """One of the numbers that a metric gives."""

    title: str
    """For a heading."""
    unit: str
    """"%", "share", "prototypes" …; empty if it has none."""
    better: str = ""
    """high, low, or nothing where neither is."""


Need = Callable[[Subject, Settings], str | None]
"""Why a metric can't be measured; None if it can."""


def all_methods(settings: Settings) -> tuple[str | None, ...]:
    """For metrics of pixel-space maps."""
    return tuple(MAPPINGS)


def no_method(settings: Settings) -> tuple[str | None, ...]:
    """For metrics that no mapping matters to."""
    return (None,)


@dataclass(frozen=True)
class Metric:
    """One record of the table of metrics: all that is known of a metric."""

    title: str
    measure: Callable[[Subject, str | None, Settings], MetricResult]
    """Measures the maps of one method (one of `methods`)."""
    quantities: Mapping[str, Quantity]
    """What it gives, in the order in which it is shown."""
    settings: tuple[str, ...] = ("seed",)
    """The fields of `Settings` that its values depend on."""
    methods: Callable[[Settings], tuple[str | None, ...]] = all_methods
    """The mappings for which it differs; (None,) where it does not depend on the mapping."""
    needs: tuple[Need, ...] = ()
    curve_axis: str = ""
    """What stands under its curves; empty if it has none."""

    @property
    def has_protocol(self) -> bool:
        """Whether it is measured by one of several published protocols."""
        return "protocol" in self.settings


Key = tuple[str, str | None, str | None]
"""(metric, method, protocol): an evaluation holds one measurement of each."""


@dataclass(frozen=True)
class Measurement:
    """What one metric says about the maps of one method."""

    metric: str
    """A name of `pixpnet.evaluation.METRICS`."""
    method: str | None
    """A name of `pixpnet.pixel_space.MAPPINGS`; None where the metric does not depend on it."""
    protocol: str | None
    """A name of `pixpnet.metrics.PROTOCOLS`, for metrics that have one."""
    settings: Mapping[str, int | float | str | None]
    """What the values depend on, beside the network and its data."""
    values: Mapping[str, Estimate]
    """By quantity."""
    units: Mapping[str, str]
    """By quantity."""
    curve: Curve | None = field(default=None, compare=False)
    seconds: float = 0.0

    @property
    def key(self) -> Key:
        """What it is a measurement of."""
        return self.metric, self.method, self.protocol

    def to_dict(self) -> dict[str, Any]:
        """Plain values; of the curve only its checksum."""
        return {
            "metric": self.metric,
            "method": self.method,
            "protocol": self.protocol,
            "settings": dict(self.settings),
            "seconds": round(self.seconds, 3),
            "values": {
                name: {**value._asdict(), "unit": self.units[name]} for name, value in self.values.items()
            },
            "curve": None if self.curve is None else self.curve.checksum,
        }


class _WrittenQuantity(NamedTuple):
    """An estimate with its unit, as `Measurement.to_dict` has it."""

    value: float
    low: float
    high: float
    count: int
    left_out: int
    unit: str


class _WrittenMeasurement(NamedTuple):
    """What `Measurement.to_dict` gives."""

    metric: str
    method: str | None
    protocol: str | None
    settings: Mapping[str, int | float | str | None]
    seconds: float
    values: Mapping[str, _WrittenQuantity]
    curve: str | None

    def read(self, curves: Mapping[Key, Curve]) -> Measurement | None:
        """The measurement; None where it has a curve that is not there."""
        curve = curves.get((self.metric, self.method, self.protocol)) if self.curve else None
        if self.curve and (curve is None or curve.checksum != self.curve):
            return None
        return Measurement(
            metric=self.metric,
            method=self.method,
            protocol=self.protocol,
            settings=self.settings,
            values={name: Estimate(*found[:-1]) for name, found in self.values.items()},
            units={name: found.unit for name, found in self.values.items()},
            curve=curve,
            seconds=self.seconds,
        )


class _WrittenEvaluation(NamedTuple):
    """What `Evaluation.to_dict` gives."""

    version: int
    checkpoint: str
    checkpoint_sha256: str
    measurements: tuple[_WrittenMeasurement, ...]


@dataclass(frozen=True)
class Evaluation:
    """All that has been measured of a network."""

    checkpoint: str
    """File name."""
    checkpoint_sha256: str
    measurements: tuple[Measurement, ...] = ()

    def find(self, metric: str, method: str | None = None, protocol: str | None = None) -> Measurement | None:
        """The measurement of these, if there is one."""
        return next((one for one in self.measurements if one.key == (metric, method, protocol)), None)

    def of(
        self, metric: str, *, methods: Sequence[str], protocol: str | None = None
    ) -> tuple[Measurement, ...]:
        """A metric's measurements of these methods, or of none where it does not depend on them."""
        return tuple(
            one
            for one in self.measurements
            if one.metric == metric and one.method in (None, *methods) and one.protocol in (None, protocol)
        )

    def with_measurement(self, measurement: Measurement) -> Evaluation:
        """With it in place of an earlier one of the same metric, method and protocol."""
        others = [one for one in self.measurements if one.key != measurement.key]
        return replace(self, measurements=(*others, measurement))

    def to_dict(self) -> dict[str, Any]:
        """Plain values, ready for YAML; curves are kept elsewhere."""
        return {
            "version": VERSION,
            "checkpoint": self.checkpoint,
            "checkpoint_sha256": self.checkpoint_sha256,
            "measurements": [one.to_dict() for one in self.measurements],
        }

    @classmethod
    def from_dict(cls, values: Mapping[str, Any], curves: Mapping[Key, Curve] | None = None) -> Evaluation:
        """The evaluation of `to_dict`; a measurement whose curve is not among the curves is left out.

        Raises:
            DataError: The values are of another version, or damaged.
        """
        version = values.get("version")
        if version != VERSION:
            raise DataError(f"this is no evaluation of version {VERSION}; its version is {version}.")
        try:
            written: _WrittenEvaluation = checked(_WrittenEvaluation, values)
        except ValueError as error:
            raise DataError(f"the evaluation is damaged ({error}).") from error
        found = (one.read(curves or {}) for one in written.measurements)
        measurements = tuple(one for one in found if one is not None)
        return cls(written.checkpoint, written.checkpoint_sha256, measurements)
