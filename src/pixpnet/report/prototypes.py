"""All prototypes, class by class, and what a reader should be wary of: checks of a network's prototypes."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Bool, Float, Float32

from pixpnet.prototypes import DISTANCES, is_class_specific
from pixpnet.report.evidence import Cutout
from pixpnet.report.predictions import Predictions
from pixpnet.runs import BACKGROUND, COSINE, TOP, Run, nearly_equal_pairs
from pixpnet.types import PrototypeSource


@dataclass(frozen=True)
class Card:
    """One prototype."""

    prototype: int
    class_name: str
    patch: Cutout
    source: str
    """File name of its training image."""
    weight: float
    """Largest of its weights for a class of its own (or for any class, if it has none)."""
    used: int | None
    """Test images in which it is among the TOP that speak most for the prediction; None: nobody knows."""
    on_object: float | None
    """Share of its box that is the object."""


@dataclass(frozen=True)
class Chapter:
    """One class and the prototypes from its training images."""

    class_name: str
    images: int
    """Test images of the class; 0 also where there are none to look at."""
    right: int
    cards: tuple[Card, ...]


def atlas(
    run: Run,
    predictions: Predictions | None,
    *,
    weights: Float32[np.ndarray, "p c"],
    used: Sequence[int] | None,
    on_object: Sequence[float | None],
    class_names: Sequence[str],
    patch_of: Callable[[int], Cutout],
) -> tuple[Chapter, ...]:
    """A chapter for each class, in order; a prototype stands under the class that its patch shows.

    Without the data set there are no predictions, and on_object is empty.
    """
    images, right = (0,) * len(class_names), (0,) * len(class_names)
    if predictions is not None:
        counts = predictions.confusion
        images, right = counts.sum(axis=1).tolist(), counts.diagonal().tolist()
    own_class = run.network.own_class
    own = _own_weights(weights, own_class.cpu().numpy(), is_specific=is_class_specific(own_class))
    chapters = []
    for label, name in enumerate(class_names):
        cards = tuple(
            Card(
                prototype=source.number,
                class_name=name,
                patch=patch_of(source.prototype),
                source=source.path.rpartition("/")[2],
                weight=float(own[source.prototype]),
                used=None if used is None else used[source.prototype],
                on_object=on_object[source.prototype] if on_object else None,
            )
            for source in run.sources
            if source.label == label
        )
        chapters.append(Chapter(name, images[label], right[label], cards))
    return tuple(chapters)


def _own_weights(
    weights: Float32[np.ndarray, "p c"], own_class: Bool[np.ndarray, "p c"], *, is_specific: bool
) -> Float32[np.ndarray, "p"]:
    own = np.where(own_class, weights, -np.inf).max(axis=1) if is_specific else weights.max(axis=1)
    return np.where(np.isfinite(own), own, weights.max(axis=1)).astype(np.float32)


NOT_A_PART = 50.0
"""Mean receptive field, as percent of the image, from which a prototype can't be called a part."""


@dataclass(frozen=True, eq=False)
class Checked:
    """What the checks look at."""

    prototypes: Float[np.ndarray, "p D"]
    distance: str
    weights: Float[np.ndarray, "p c"]
    """What each prototype counts for each class's logit."""
    own_class: Bool[np.ndarray, "p c"]
    sources: tuple[PrototypeSource, ...]
    on_object: tuple[float | None, ...]
    """Share of each prototype's box that is the object; empty without the data set."""
    class_names: tuple[str, ...]
    mean_percent: float
    """Mean receptive field as percent of the image."""
    used: Sequence[int] | None
    """Test images in whose evidence each prototype is; None without the data set."""


@dataclass(frozen=True)
class Remark:
    """The outcome of one check."""

    is_fine: bool | None
    """None: it could not be made."""
    title: str
    text: str = ""
    prototypes: tuple[tuple[int, ...], ...] = ()
    """Numbers of those concerned, in groups that belong together."""
    classes: tuple[str, ...] = ()


def check(checked: Checked) -> tuple[Remark, ...]:
    """The outcome of every check, those that found something first."""
    remarks = [_numbered(one(checked), checked.sources) for one in CHECKS]
    return tuple(sorted(remarks, key=lambda remark: (False, None, True).index(remark.is_fine)))


def _numbered(remark: Remark, sources: Sequence[PrototypeSource]) -> Remark:
    groups = tuple(tuple(sources[place].number for place in group) for group in remark.prototypes)
    return replace(remark, prototypes=groups)


def _receptive_field(checked: Checked) -> Remark:
    percent = f"{checked.mean_percent:.1f} %"
    if checked.mean_percent < NOT_A_PART:
        return Remark(True, f"A patch is a part of the image: {percent} of it on average")
    return Remark(
        False,
        f"This is not a part: a patch is {percent} of the image on average",
        "A similarity that depends on half of the image or more cannot be pinned on anything in it. Cut the "
        "backbone at an earlier layer (model.feature-layer), or use larger images.",
    )


def _same_patch(checked: Checked) -> Remark:
    found = defaultdict(list)
    for source in checked.sources:
        found[source.image_id, source.cell].append(source.prototype)
    groups = tuple(tuple(group) for group in found.values() if len(group) > 1)
    if not groups:
        return Remark(True, "No two prototypes are the same training patch")
    count = sum(map(len, groups))
    return Remark(
        False,
        f"{count} prototypes share their training patch with another one",
        "They count the same evidence twice. train.push-duplicate-filter sample keeps them apart.",
        groups,
    )


def _nearly_equal(checked: Checked) -> Remark:
    groups = _groups(nearly_equal_pairs(checked.prototypes, DISTANCES[checked.distance]))
    title = f"prototypes are nearly equal (cosine of {COSINE:g} or more)"
    if not groups:
        return Remark(True, f"No two {title}")
    return Remark(
        False,
        f"{sum(map(len, groups))} {title} to another one",
        "They come from different patches but say the same of every image; fewer would do.",
        groups,
    )


def _background(checked: Checked) -> Remark:
    if all(share is None for share in checked.on_object):
        return Remark(
            None,
            "Whether prototypes lie on the background is not known",
            "The data set has neither masks of its objects nor bounding boxes smaller than what the network "
            "sees."
            if checked.on_object
            else "Only the data set's masks or bounding boxes can tell, and the data set is not there.",
        )
    found = [
        number for number, share in enumerate(checked.on_object) if share is not None and share < BACKGROUND
    ]
    limit = f"{100 * BACKGROUND:.0f} %"
    if not found:
        return Remark(True, f"Every prototype's box is the object by {limit} or more")
    return Remark(
        False,
        f"{len(found)} prototypes lie on the background",
        f"Less than {limit} of their boxes is the object: they may know the scenery rather than the class.",
        tuple((number,) for number in found),
    )


def _unused(checked: Checked) -> Remark:
    if checked.used is None:
        return Remark(
            None,
            "Whether every prototype is evidence for some image is not known",
            "Only the test images can tell, and the data set is not there.",
        )
    found = [number for number, times in enumerate(checked.used) if not times]
    if not found:
        return Remark(True, f"Every prototype is among the {TOP} that speak most for some test image")
    return Remark(
        False,
        f"{len(found)} prototypes are never among the {TOP} that speak most for a test image",
        "They may add little; `pixpnet prototypes RUN_DIR suggest` measures what it costs to do without.",
        tuple((number,) for number in found),
    )


def _no_evidence(checked: Checked) -> Remark:
    has_evidence = np.logical_and(checked.own_class.any(axis=0), (checked.weights > 0).any(axis=0))
    found = [checked.class_names[label] for label in np.flatnonzero(~has_evidence)]
    if not found:
        return Remark(True, "Every class has prototypes that speak for it")
    return Remark(
        False,
        f"{len(found)} classes without evidence",
        "They have no prototype of their own or no positive weight, so nothing can speak for them.",
        classes=tuple(found),
    )


CHECKS: tuple[Callable[[Checked], Remark], ...] = (
    _receptive_field,
    _same_patch,
    _nearly_equal,
    _background,
    _unused,
    _no_evidence,
)


def _groups(pairs: Sequence[tuple[int, int]]) -> tuple[tuple[int, ...], ...]:
    """The members of pairs, those that hang together in one group."""
    group_of: dict[int, set[int]] = {}
    for pair in pairs:
        merged = set(pair).union(*(group_of.get(member, set()) for member in pair))
        group_of |= dict.fromkeys(merged, merged)
    unique = {id(group): group for group in group_of.values()}
    return tuple(sorted(tuple(sorted(group)) for group in unique.values()))
