"""What the network says about every test image, in one pass."""

from __future__ import annotations

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
