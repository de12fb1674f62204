"""What an evaluation found, and its way to and from plain values."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from jaxtyping import Float64

from pixpnet.errors import DataError
from pixpnet.metrics import Estimate

VERSION = 1
"""Of the file."""

Key = tuple[str, str | None, str | None]
"""(metric, method, protocol): an evaluation holds one measurement of each."""


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


@dataclass(frozen=True)
class Measurement:
    """What one metric says about the maps of one method."""

    metric: str
    """A name of `pixpnet.evaluation.METRICS`."""
    method: str | None
    """A name of `pixpnet.pixel_space.MAPPINGS`; none where the metric does not depend on it."""
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

    @classmethod
    def from_dict(cls, values: Mapping[str, Any], curve: Curve | None = None) -> Measurement:
        """The measurement of `to_dict`, with its curve."""
        quantities = values["values"].items()
        return cls(
            metric=values["metric"],
            method=values["method"],
            protocol=values["protocol"],
            settings=dict(values["settings"]),
            values={name: _estimate(found) for name, found in quantities},
            units={name: found["unit"] for name, found in quantities},
            curve=curve,
            seconds=float(values["seconds"]),
        )


def _estimate(values: Mapping[str, Any]) -> Estimate:
    value, low, high = (float(values[name]) for name in ("value", "low", "high"))
    return Estimate(value, low, high, count=int(values["count"]), left_out=int(values["left_out"]))


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
        return Evaluation(self.checkpoint, self.checkpoint_sha256, (*others, measurement))

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
            measurements = []
            for one in values["measurements"]:
                key = (one["metric"], one["method"], one["protocol"])
                curve = (curves or {}).get(key)
                if one["curve"] is None or (curve is not None and curve.checksum == one["curve"]):
                    measurements.append(Measurement.from_dict(one, curve if one["curve"] else None))
            return cls(values["checkpoint"], values["checkpoint_sha256"], tuple(measurements))
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise DataError(f"the evaluation is damaged ({error!r}).") from error
