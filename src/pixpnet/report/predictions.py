"""What the network says about every test image, in one pass; which classes it takes for which others."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from jaxtyping import Float32, Int64

from pixpnet.data import ClassificationImages, loader
from pixpnet.errors import DataError
from pixpnet.prototypes import PrototypeNetwork

BATCH = 64


@dataclass(frozen=True, eq=False)
class Predictions:
    """One row per test image, in the data set's order."""

    labels: Int64[np.ndarray, "n"]
    probabilities: Float32[np.ndarray, "n c"]
    similarities: Float32[np.ndarray, "n p"]

    @cached_property
    def predicted(self) -> Int64[np.ndarray, "n"]:
        return self.probabilities.argmax(axis=1)

    @cached_property
    def confidence(self) -> Float32[np.ndarray, "n"]:
        """Probability of the predicted class."""
        return self.probabilities.max(axis=1)

    @property
    def accuracy(self) -> float:
        return float((self.predicted == self.labels).mean())

    @property
    def class_accuracy(self) -> float:
        """Mean over the classes that have test images."""
        right = self.predicted == self.labels
        return float(np.mean([right[self.labels == label].mean() for label in np.unique(self.labels)]))

    @property
    def confusion(self) -> Int64[np.ndarray, "c c"]:
        """Number of images per (true, predicted) class."""
        classes = self.probabilities.shape[1]
        pairs = self.labels * classes + self.predicted
        return np.bincount(pairs, minlength=classes * classes).reshape(classes, classes)


@torch.inference_mode()
def predict(network: PrototypeNetwork, images: ClassificationImages) -> Predictions:
    """Run a network in eval mode over a data set.

    Raises:
        DataError: if the data set is empty.
    """
    if not len(images):
        raise DataError("there are no test images to report on.")
    device = network.prototypes.device
    labels, probabilities, similarities = [], [], []
    for sample in loader(images, batch_size=BATCH, shuffle=False, seed=0, epoch=0):
        output = network(sample.image.to(device))
        labels.append(sample.label)
        probabilities.append(output.logits.softmax(dim=1).cpu())
        similarities.append(output.similarities.cpu())
    return Predictions(
        torch.cat(labels).numpy(), torch.cat(probabilities).numpy(), torch.cat(similarities).numpy()
    )


LARGEST_TABLE = 40
"""Classes up to which the whole matrix is shown; of more the pairs alone say anything."""
LEVELS = 6
"""Shades of a cell, from 0 (none) on."""


@dataclass(frozen=True)
class ConfusedPair:
    """Images of one class that are taken for another."""

    truth: int
    predicted: int
    count: int
    images: int
    """Test images of the true class."""
    example: int
    """Index of the image that is most confidently wrong."""


@dataclass(frozen=True)
class Confusion:
    """The matrix of true against predicted classes."""

    class_names: tuple[str, ...]
    counts: tuple[tuple[int, ...], ...]
    """One row per true class; empty if there are too many classes for a table."""
    shades: tuple[tuple[int, ...], ...]
    """Share of the row's images, as a level from 0 to LEVELS − 1."""
    pairs: tuple[ConfusedPair, ...]
    wrong: int
    images: int


def confusion(predictions: Predictions, class_names: Sequence[str], *, pairs: int) -> Confusion:
    """The matrix and its largest entries off the diagonal."""
    counts = predictions.confusion
    is_small = len(class_names) <= LARGEST_TABLE
    return Confusion(
        class_names=tuple(class_names),
        counts=_plain(counts) if is_small else (),
        shades=_plain(_shades(counts)) if is_small else (),
        pairs=most_confused(predictions)[:pairs],
        wrong=int((predictions.predicted != predictions.labels).sum()),
        images=len(predictions.labels),
    )


def most_confused(predictions: Predictions) -> tuple[ConfusedPair, ...]:
    """All pairs of classes with an error, the most frequent first, then in order of the classes."""
    counts = predictions.confusion
    errors = counts * (1 - np.eye(len(counts), dtype=np.int64))
    pairs = []
    for truth, predicted in zip(*np.nonzero(errors), strict=True):
        of_pair = np.flatnonzero((predictions.labels == truth) & (predictions.predicted == predicted))
        example = of_pair[predictions.confidence[of_pair].argmax()]
        pairs.append(
            ConfusedPair(
                int(truth),
                int(predicted),
                len(of_pair),
                int(counts[truth].sum()),
                int(example),
            )
        )
    return tuple(sorted(pairs, key=lambda pair: -pair.count))


def _shades(counts: Int64[np.ndarray, "c c"]) -> Int64[np.ndarray, "c c"]:
    shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    return np.ceil(shares * (LEVELS - 1)).astype(np.int64)


def _plain(matrix: Int64[np.ndarray, "c c"]) -> tuple[tuple[int, ...], ...]:
    return tuple(tuple(row) for row in matrix.tolist())
