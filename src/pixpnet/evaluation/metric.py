"""What an entry of the table of metrics is made of."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import NamedTuple

from pixpnet.choices import choose
from pixpnet.errors import ConfigError
from pixpnet.evaluation.record import Curve
from pixpnet.evaluation.subject import Subject
from pixpnet.metrics import PROTOCOLS, Estimate
from pixpnet.pixel_space import MAPPINGS

CENTERS = ("mapping", "argmax", "image", "upsampled-argmax")
"""Where a prototype's region is centred; see `pixpnet.evaluation.centers`."""
STARTS = ("zeros", "noise")
CURVES_OF = ("own", "all")


@dataclass(frozen=True)
class Settings:
    """What values depend on, beside the network and its data; each metric reads what it needs."""

    seed: int = 0
    """Draws images, noise, random maps, and the bootstrap's resamples."""
    protocol: str = "pixpnet-2023"
    """A name of `pixpnet.metrics.PROTOCOLS`."""
    center: str | None = None
    """One of CENTERS; none: the protocol's."""
    half_size: float | None = None
    """Half the side of a prototype's region, in pixels; none: the protocol's."""
    samples: int = 50
    """Test images that are looked at, of metrics that take long."""
    pairs: int = 100
    """Most pairs of such an image and a prototype that are attacked (misalignment)."""
    steps: int | None = 256
    """Points of a curve, less one; none: every pixel."""
    start: str = "zeros"
    """What pixels are before they are put in: zeros or noise."""
    prototypes: str = "own"
    """Whose curves: those of the image's class (own), or all."""

    def __post_init__(self) -> None:
        choose(PROTOCOLS, self.protocol, what="protocol")
        choose(dict.fromkeys(STARTS), self.start, what="start")
        choose(dict.fromkeys(CURVES_OF), self.prototypes, what="prototypes")
        if self.center is not None:
            choose(dict.fromkeys(CENTERS), self.center, what="center")
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


class Outcome(NamedTuple):
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
    """"%", "share", "prototypes" …; empty: none."""
    better: str = ""
    """high, low, or nothing where neither is."""


Need = Callable[[Subject, Settings], str | None]
"""Why a metric can't be measured; none if it can."""


@dataclass(frozen=True)
class Metric:
    """One entry of the table of metrics."""

    title: str
    measure: Callable[[Subject, str | None, Settings], Outcome]
    """Of one method (one of `methods`)."""
    quantities: Mapping[str, Quantity]
    """What it gives, in the order in which it is shown."""
    settings: tuple[str, ...]
    """The fields of `Settings` that its values depend on."""
    methods: Callable[[Settings], tuple[str | None, ...]]
    """The mappings for which it differs; (None,) where it does not depend on the mapping."""
    needs: tuple[Need, ...] = ()

    @property
    def has_protocol(self) -> bool:
        """Whether it is measured by one of several published protocols."""
        return "protocol" in self.settings


def all_methods(settings: Settings) -> tuple[str | None, ...]:
    """For metrics of pixel-space maps."""
    return tuple(MAPPINGS)


def no_method(settings: Settings) -> tuple[str | None, ...]:
    """For metrics that no mapping matters to."""
    return (None,)


def needs_parts(subject: Subject, settings: Settings) -> str | None:
    """Points of parts."""
    if subject.image_set.part_names and any(one.part_points is not None for one in subject.records):
        return None
    return f"{subject.image_set.name} has no part points"


def needs_objects(subject: Subject, settings: Settings) -> str | None:
    """Masks or boxes."""
    if any(one.mask is not None or one.box is not None for one in subject.records):
        return None
    return f"{subject.image_set.name} has neither masks nor bounding boxes"
