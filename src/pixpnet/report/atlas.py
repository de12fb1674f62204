"""All prototypes, class by class."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float32, Int64

from pixpnet.prototypes import is_class_specific
from pixpnet.report.pictures import Patch
from pixpnet.report.predictions import Predictions
from pixpnet.runs import Run

TOP = 3
"""A prototype counts as used in an image if it is one of so many that speak most for the prediction."""


@dataclass(frozen=True)
class Card:
    """One prototype."""

    prototype: int
    class_name: str
    patch: Patch
    source: str
    """File name of its training image."""
    weight: float
    """Largest of its weights for a class of its own (or for any class, if it has none)."""
    used: int
    """Test images in which it is among the TOP that speak most for the prediction."""
    on_object: float | None
    """Share of its box that is the object."""


@dataclass(frozen=True)
class Chapter:
    """One class and the prototypes from its training images."""

    class_name: str
    images: int
    """Test images of the class."""
    right: int
    cards: tuple[Card, ...]


def atlas(
    run: Run,
    predictions: Predictions,
    *,
    weights: Float32[np.ndarray, "p c"],
    on_object: Sequence[float | None],
    class_names: Sequence[str],
    patch_of: Callable[[int], Patch],
) -> tuple[Chapter, ...]:
    """A chapter for each class, in order; a prototype stands under the class that its patch shows."""
    used = times_on_top(predictions, weights)
    own_class = run.network.own_class
    own = _own_weights(weights, own_class.cpu().numpy(), is_specific=is_class_specific(own_class))
    right = predictions.predicted == predictions.labels
    chapters = []
    for label, name in enumerate(class_names):
        of_class = predictions.labels == label
        cards = tuple(
            Card(
                prototype=source.prototype,
                class_name=name,
                patch=patch_of(source.prototype),
                source=source.path.rpartition("/")[2],
                weight=float(own[source.prototype]),
                used=int(used[source.prototype]),
                on_object=on_object[source.prototype],
            )
            for source in run.sources
            if source.label == label
        )
        chapters.append(Chapter(name, int(of_class.sum()), int(right[of_class].sum()), cards))
    return tuple(chapters)


def times_on_top(predictions: Predictions, weights: Float32[np.ndarray, "p c"]) -> Int64[np.ndarray, "p"]:
    """Images in which each prototype is among the TOP positive contributions to the predicted logit."""
    counts = np.zeros(len(weights), dtype=np.int64)
    for similarities, predicted in zip(predictions.similarities, predictions.predicted, strict=True):
        contributions = similarities * weights[:, predicted]
        top = np.argsort(-contributions, kind="stable")[:TOP]
        counts[top[contributions[top] > 0]] += 1
    return counts


def _own_weights(
    weights: Float32[np.ndarray, "p c"], own_class: Bool[np.ndarray, "p c"], *, is_specific: bool
) -> Float32[np.ndarray, "p"]:
    own = np.where(own_class, weights, -np.inf).max(axis=1) if is_specific else weights.max(axis=1)
    return np.where(np.isfinite(own), own, weights.max(axis=1)).astype(np.float32)
