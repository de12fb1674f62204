"""What the trials of a grounding certificate found, and how that is written down."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from pixpnet.errors import DataError
from pixpnet.records import checked
from pixpnet.types import Box

FORMAT = "pixpnet-certificate"
VERSION = 1

DISPLAYED = "receptive_field"
"""The region that we display."""


@dataclass(frozen=True)
class Finding:
    """The trials of one kind of region and one kind of replacement."""

    region: str
    """A mapping, of which the regions were left as it is."""
    replacement: str
    """A key of `REPLACEMENTS`: what took the place of everything else; "all": any of them."""
    trials: int
    failures: int
    """Trials in which the feature patch moved by more than the tolerance."""
    unchanged: int
    """Trials in which not one pixel became another: the region is the whole image (or, with another image,
    the two are the same outside it)."""
    largest_feature_change: float
    """`max |Δz|`."""
    largest_similarity_change: float
    """Of the trial's prototype at the trial's cell."""

    def __post_init__(self) -> None:
        if not (self.trials > 0 and 0 <= self.failures <= self.trials and 0 <= self.unchanged <= self.trials):
            raise ValueError(
                f"of {self.trials} trials {self.failures} can't fail and {self.unchanged} change nothing"
            )

    @property
    def share_failing(self) -> float:
        return self.failures / self.trials


@dataclass(frozen=True)
class FailedTrial:
    """A trial in which pixels outside the displayed box changed the features behind it."""

    image: int
    """Position among the test images."""
    image_id: str
    prototype: int
    """Its number (`PrototypeSource.number`)."""
    cell: tuple[int, int]
    """(row, column) in the grid of patches."""
    box: Box
    """The displayed one."""
    replacement: str
    feature_change: float
    allowed: float


@dataclass(frozen=True)
class Certificate:
    """What was tried, and what came of it; ``passed`` says less than ``verdict``."""

    findings: tuple[Finding, ...]
    """One of each region and replacement that was tried."""
    seed: int
    tolerance: float
    """A patch may move by `this · max(1, max |z|)`."""
    mean_percent: float
    """Mean receptive field of a patch, as percent of the image: the larger it is, the less is certified."""
    worst_failure: FailedTrial | None = None
    """That of the largest change, among the displayed boxes."""
    checkpoint: str = ""
    """Name of the file that holds the network."""
    checkpoint_sha256: str = ""

    @property
    def regions(self) -> tuple[str, ...]:
        """What was left as it is: the displayed boxes, and the regions of other mappings."""
        return tuple(dict.fromkeys(one.region for one in self.findings))

    def overall(self, region: str) -> Finding:
        """The findings of a region over all replacements."""
        found = [one for one in self.findings if one.region == region]
        return Finding(
            region=region,
            replacement="all",
            trials=sum(one.trials for one in found),
            failures=sum(one.failures for one in found),
            unchanged=sum(one.unchanged for one in found),
            largest_feature_change=max(one.largest_feature_change for one in found),
            largest_similarity_change=max(one.largest_similarity_change for one in found),
        )

    @property
    def ours(self) -> Finding:
        """Of the displayed boxes: receptive fields."""
        return self.overall(DISPLAYED)

    @property
    def trials(self) -> int:
        return self.ours.trials

    @property
    def failures(self) -> int:
        return self.ours.failures

    @property
    def passed(self) -> bool:
        """Whether no trial of a displayed box failed; trials that replaced nothing cannot (`is_empty`)."""
        return self.failures == 0

    @property
    def is_empty(self) -> bool:
        """Whether no trial replaced anything, so that passing means nothing."""
        return self.ours.unchanged == self.trials

    @property
    def verdict(self) -> str:
        """What the certificate says, in a sentence."""
        ours = self.ours
        if not self.passed:
            return (
                f"Failed: in {ours.failures} of {_trials(ours.trials)} pixels outside the displayed box "
                f"changed the features behind it, by up to {ours.largest_feature_change:.2g}."
            )
        if self.is_empty:
            return (
                "Empty: every displayed box is the whole image, so there was nothing to replace and nothing "
                "is certified. An earlier feature layer has smaller boxes."
            )
        counted = _trials(ours.trials)
        if ours.unchanged:
            counted += f" ({ours.unchanged} of them empty: the box is the whole image)"
        return (
            f"Passed: in {counted} nothing outside the displayed box, on average {self.mean_percent:.3g} % "
            "of the image, changed the features behind it "
            f"(largest change {ours.largest_feature_change:.2g})."
        )

    def to_dict(self) -> dict[str, Any]:
        """Plain values, ready for JSON; what follows from others is there for readers."""
        values = asdict(self)
        if self.worst_failure is not None:
            values["worst_failure"] |= {
                "cell": list(self.worst_failure.cell),
                "box": list(self.worst_failure.box),
            }
        values["findings"] = list(values["findings"])
        summary = {
            "passed": self.passed,
            "verdict": self.verdict,
            "trials": self.trials,
            "overall": {region: asdict(self.overall(region)) for region in self.regions},
        }
        return {"format": FORMAT, "version": VERSION, **summary, **values}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Certificate:
        """The certificate that `to_dict` was made of.

        Raises:
            DataError: It is none, or of another version.
        """
        if values.get("format") != FORMAT or values.get("version") != VERSION:
            raise DataError(
                f"This is no grounding certificate of version {VERSION} (format {values.get('format')!r}, "
                f"version {values.get('version')!r}); `pixpnet verify RUN_DIR` writes a new one."
            )
        try:
            found: Certificate = checked(cls, {name: values[name] for name in cls.__dataclass_fields__})
            if not any(one.region == DISPLAYED for one in found.findings):
                raise ValueError("it has no finding of the displayed boxes")
            return found
        except (KeyError, ValueError) as error:
            raise DataError(
                f"The grounding certificate is damaged ({error}); `pixpnet verify RUN_DIR` writes a new one."
            ) from error


def _trials(number: int) -> str:
    return f"{number} trial{'' if number == 1 else 's'}"
