"""The grounding certificate as a report shows it: the run's own, or a shorter one made for the report."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

from pixpnet.certificate import Certificate, certificate_file, verify
from pixpnet.errors import DataError
from pixpnet.files import sha256_of
from pixpnet.pixel_space import region_title
from pixpnet.runs import Run

TRIALS = 90
"""Of the certificate that a report makes itself."""


@dataclass(frozen=True)
class Line:
    """What happened when everything outside a kind of region was replaced."""

    region: str
    trials: int
    failures: int
    features: float
    """Largest change of the patch's features."""
    similarity: float
    """Largest change of the prototype's similarity there."""


@dataclass(frozen=True)
class Grounding:
    """What the certificate says."""

    verdict: str
    is_fine: bool | None
    """None: passed, but nothing was replaced."""
    lines: tuple[Line, ...]
    replacements: tuple[str, ...]
    tolerance: float
    is_short: bool
    """Whether the report made it itself."""


def grounding(run: Run, *, trials: int = TRIALS) -> Grounding:
    """The certificate of a run's network: the one in its file, else one of fewer trials.

    Raises:
        DataError: There are fewer than two test images.
    """
    certificate = _read(certificate_file(run.checkpoint), run.checkpoint)
    is_short = certificate is None
    if certificate is None:
        certificate = verify(run, trials=trials)
    lines = []
    for region in certificate.regions:
        found = certificate.overall(region)
        lines.append(
            Line(
                region=region_title(region),
                trials=found.trials,
                failures=found.failures,
                features=found.largest_feature_change,
                similarity=found.largest_similarity_change,
            )
        )
    return Grounding(
        verdict=certificate.verdict,
        is_fine=None if certificate.passed and certificate.is_empty else certificate.passed,
        lines=tuple(lines),
        replacements=tuple(dict.fromkeys(one.replacement for one in certificate.findings)),
        tolerance=certificate.tolerance,
        is_short=is_short,
    )


def _read(path: Path, checkpoint: Path) -> Certificate | None:
    """The certificate in a file; none if it is missing, can't be read, or is another network's."""
    try:
        values = json.loads(path.read_text())
        certificate = Certificate.from_dict(values) if isinstance(values, dict) else None
    except (OSError, ValueError, DataError):
        certificate = None
    if certificate is None:
        return None
    digest = sha256_of(checkpoint)
    return certificate if certificate.checkpoint_sha256 == digest else None
