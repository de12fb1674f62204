"""What a reader should be wary of: checks of a network's prototypes."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float

from pixpnet.prototypes import DISTANCES
from pixpnet.types import PrototypeSource

BACKGROUND = 0.1
"""A prototype is on the background if a smaller share of its box is the object."""
COSINE = 0.99
"""Two prototypes are nearly equal from this cosine of their angle on ..."""
LENGTH = 0.1
"""... if their lengths differ by less than this share of the longer one (it matters to L2, not to cosine)."""
NOT_A_PART = 50.0
"""Mean receptive field, as percent of the image, from which a prototype can't be called a part."""


@dataclass(frozen=True, eq=False)
class Checked:
    """What the checks look at."""

    prototypes: Float[np.ndarray, "p D"]
    distance: str
    weights: Float[np.ndarray, "p c"]
    """Of each prototype for each class's logit."""
    own_class: Bool[np.ndarray, "p c"]
    sources: tuple[PrototypeSource, ...]
    on_object: tuple[float | None, ...]
    """Share of each prototype's box that is the object."""
    class_names: tuple[str, ...]
    mean_percent: float
    """Mean receptive field as percent of the image."""


@dataclass(frozen=True)
class Finding:
    """The outcome of one check."""

    is_fine: bool | None
    """None: it could not be made."""
    title: str
    text: str = ""
    prototypes: tuple[tuple[int, ...], ...] = ()
    """Those concerned, in groups that belong together."""
    classes: tuple[str, ...] = ()


def check(checked: Checked) -> tuple[Finding, ...]:
    """The outcome of every check, those that found something first."""
    findings = [one(checked) for one in CHECKS]
    return tuple(sorted(findings, key=lambda finding: (False, None, True).index(finding.is_fine)))


def _receptive_field(checked: Checked) -> Finding:
    percent = f"{checked.mean_percent:.1f} %"
    if checked.mean_percent < NOT_A_PART:
        return Finding(True, f"A patch is a part of the image: {percent} of it on average")
    return Finding(
        False,
        f"This is not a part: a patch is {percent} of the image on average",
        "A similarity that depends on half of the image or more cannot be pinned on anything in it. Cut the "
        "backbone at an earlier layer (model.feature-layer), or use larger images.",
    )


def _same_patch(checked: Checked) -> Finding:
    found = defaultdict(list)
    for source in checked.sources:
        found[source.image_id, source.cell].append(source.prototype)
    groups = tuple(tuple(group) for group in found.values() if len(group) > 1)
    if not groups:
        return Finding(True, "No two prototypes are the same training patch")
    count = sum(map(len, groups))
    return Finding(
        False,
        f"{count} prototypes share their training patch with another one",
        "They count the same evidence twice. train.push-duplicate-filter sample keeps them apart.",
        groups,
    )


def _nearly_equal(checked: Checked) -> Finding:
    use_length = not DISTANCES[checked.distance].ignores_length
    groups = _groups(_nearly_equal_pairs(checked.prototypes, use_length=use_length))
    title = f"prototypes are nearly equal (cosine of {COSINE:g} or more)"
    if not groups:
        return Finding(True, f"No two {title}")
    return Finding(
        False,
        f"{sum(map(len, groups))} {title} to another one",
        "They come from different patches but say the same of every image; fewer would do.",
        groups,
    )


def _background(checked: Checked) -> Finding:
    if all(share is None for share in checked.on_object):
        return Finding(
            None,
            "Whether prototypes lie on the background is not known",
            "The data set has neither masks nor bounding boxes of its objects.",
        )
    found = [
        number for number, share in enumerate(checked.on_object) if share is not None and share < BACKGROUND
    ]
    limit = f"{100 * BACKGROUND:.0f} %"
    if not found:
        return Finding(True, f"Every prototype's box is the object by {limit} or more")
    return Finding(
        False,
        f"{len(found)} prototypes lie on the background",
        f"Less than {limit} of their boxes is the object: they may know the scenery rather than the class.",
        tuple((number,) for number in found),
    )


def _no_evidence(checked: Checked) -> Finding:
    has_evidence = np.logical_and(checked.own_class.any(axis=0), (checked.weights > 0).any(axis=0))
    found = [checked.class_names[label] for label in np.flatnonzero(~has_evidence)]
    if not found:
        return Finding(True, "Every class has prototypes that speak for it")
    return Finding(
        False,
        f"{len(found)} classes without evidence",
        "They have no prototype of their own or no positive weight, so nothing can speak for them.",
        classes=tuple(found),
    )


CHECKS: tuple[Callable[[Checked], Finding], ...] = (
    _receptive_field,
    _same_patch,
    _nearly_equal,
    _background,
    _no_evidence,
)


def _nearly_equal_pairs(prototypes: Float[np.ndarray, "p D"], *, use_length: bool) -> list[tuple[int, int]]:
    lengths = np.linalg.norm(prototypes, axis=1)
    units = prototypes / np.maximum(lengths, 1e-12)[:, None]
    near = units @ units.T >= COSINE
    if use_length:
        longer = np.maximum(lengths[:, None], lengths)
        near &= np.abs(lengths[:, None] - lengths) <= LENGTH * longer
    first, second = np.nonzero(np.triu(near, k=1))
    return list(zip(first.tolist(), second.tolist(), strict=True))


def _groups(pairs: Sequence[tuple[int, int]]) -> tuple[tuple[int, ...], ...]:
    """The members of pairs, those that hang together in one group."""
    group_of: dict[int, set[int]] = {}
    for pair in pairs:
        merged = set(pair).union(*(group_of.get(member, set()) for member in pair))
        group_of |= dict.fromkeys(merged, merged)
    unique = {id(group): group for group in group_of.values()}
    return tuple(sorted(tuple(sorted(group)) for group in unique.values()))
