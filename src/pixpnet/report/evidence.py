"""The evidence for single images: which ones a report shows, and what stands beside them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Int64

from pixpnet.explanation import Evidence, Explanation, explain_test
from pixpnet.report.pictures import Album, Patch, patch
from pixpnet.report.predictions import Predictions
from pixpnet.runs import Run

ROWS = 5
"""Prototypes beside an image, or for each of two classes."""

GROUPS = {
    "each": "One of each class",
    "wrong": "Most wrong",
    "unsure": "Least sure",
}
"""Why an image is shown."""


@dataclass(frozen=True)
class Row:
    """One prototype's say."""

    prototype: int
    class_name: str
    similarity: float
    weight: float
    """For the class; of two classes, for the one rather than the other."""
    value: float
    """similarity × weight."""
    bar: float
    """Size of the value as a share of the largest one beside it."""
    here: Patch
    there: Patch


@dataclass(frozen=True)
class Example:
    """One test image, its prediction and the prototypes that speak most for it."""

    name: str
    group: str
    picture: str
    predicted: str
    probability: float
    truth: str
    is_right: bool
    second: str
    second_probability: float
    rows: tuple[Row, ...]
    rest: float
    """What all other prototypes add to the logit."""
    logit: float


@dataclass(frozen=True)
class Versus:
    """One misclassified test image: why the predicted class, and not the true one."""

    name: str
    picture: str
    predicted: str
    truth: str
    probabilities: tuple[float, float]
    """Of the predicted and of the true class."""
    logits: tuple[float, float]
    for_predicted: tuple[Row, ...]
    for_truth: tuple[Row, ...]
    totals: tuple[float, float]
    """What all prototypes together say for the predicted class rather than the true one, and the reverse."""


def shown_images(predictions: Predictions, count: int) -> dict[str, list[int]]:
    """Indices of the test images of each group, at most ``count`` each; none is in two groups.

    ``each``: the first image of each class; ``wrong``: wrong with the highest probability; ``unsure``: the
    lowest probability of the predicted class.
    """
    labels, predicted, confidence = predictions.labels, predictions.predicted, predictions.confidence
    _, first = np.unique(labels, return_index=True)
    wrong = _ordered(-confidence, keep=predicted != labels)
    unsure = _ordered(confidence, keep=np.full(len(labels), True))
    taken: set[int] = set()
    shown = {}
    for group, candidates in (("wrong", wrong), ("each", first), ("unsure", unsure)):
        shown[group] = [int(index) for index in candidates if int(index) not in taken][:count]
        taken |= set(shown[group])
    return {group: shown[group] for group in GROUPS}


def _ordered(values: np.ndarray, *, keep: np.ndarray) -> Int64[np.ndarray, "m"]:
    order = np.argsort(values, kind="stable")
    return order[keep[order]]


class Gallery:
    """Builds what a report shows of images and prototypes, and puts their pictures into its album."""

    def __init__(self, run: Run, album: Album, class_names: Sequence[str]) -> None:
        self._run = run
        self._album = album
        self._names = class_names
        self._size = run.image_size

    def prototype(self, prototype: int) -> Patch:
        """The training patch that a prototype is.

        Raises:
            DataError: Its training image is gone or has changed.
        """
        source = self._run.sources[prototype]
        key = f"train {source.image_id}"
        if key not in self._album:
            self._album.add(key, self._run.source_image(source))
        return patch(self._album[key], source.box, image_size=self._size)

    def example(self, index: int, group: str) -> Example:
        """A test image with its evidence."""
        explanation = explain_test(self._run, index)
        picture = self._album.add(f"test {index}", explanation.image)
        top = explanation.evidence[:ROWS]
        order = np.argsort([-probability for probability in explanation.probabilities], kind="stable")
        second = int(order[1]) if len(order) > 1 else explanation.predicted
        return Example(
            name=self._file_name(index),
            group=group,
            picture=picture,
            predicted=self._names[explanation.predicted],
            probability=explanation.probability,
            truth=self._names[self._truth(explanation)],
            is_right=explanation.truth == explanation.predicted,
            second=self._names[second],
            second_probability=explanation.probabilities[second],
            rows=self._rows(picture, ((one, one.weight) for one in top)),
            rest=sum(one.contribution for one in explanation.evidence[ROWS:]),
            logit=explanation.logit,
        )

    def versus(self, index: int) -> Versus:
        """A misclassified test image with the evidence for the predicted and for the true class."""
        explanation = explain_test(self._run, index)
        contrast = explanation.against(self._truth(explanation))
        picture = self._album.add(f"test {index}", explanation.image)
        for_target, for_other = contrast.for_target, contrast.for_other
        leads = [
            *((one.evidence, one.evidence.weight - one.other_weight) for one in for_target[:ROWS]),
            *((one.evidence, one.other_weight - one.evidence.weight) for one in for_other[:ROWS]),
        ]
        rows = self._rows(picture, leads)
        split = len(for_target[:ROWS])
        return Versus(
            name=self._file_name(index),
            picture=picture,
            predicted=self._names[contrast.target],
            truth=self._names[contrast.other],
            probabilities=contrast.probabilities,
            logits=contrast.logits,
            for_predicted=rows[:split],
            for_truth=rows[split:],
            totals=(sum(one.difference for one in for_target), -sum(one.difference for one in for_other)),
        )

    def _rows(self, picture: str, weighted: Iterable[tuple[Evidence, float]]) -> tuple[Row, ...]:
        evidence = [(one, weight, one.similarity * weight) for one, weight in weighted]
        largest = max((abs(value) for _, _, value in evidence), default=0.0) or 1.0
        return tuple(
            Row(
                prototype=one.prototype,
                class_name=one.class_name if one.class_index is None else self._names[one.class_index],
                similarity=one.similarity,
                weight=weight,
                value=value,
                bar=abs(value) / largest,
                here=patch(picture, one.box, image_size=self._size),
                there=self.prototype(one.prototype),
            )
            for one, weight, value in evidence
        )

    def _file_name(self, index: int) -> str:
        return self._run.image_set.test[index].path.name

    def _truth(self, explanation: Explanation) -> int:
        assert explanation.truth is not None, "test images have labels"
        return explanation.truth
