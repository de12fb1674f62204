"""The evidence for single images: which ones a report shows, what stands beside them, and their pictures.

Each picture is in the file once, and shown whole, framed or cropped by CSS.
"""

from __future__ import annotations

import base64
import io
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Int64, UInt8
from PIL import Image

from pixpnet.data import load_image
from pixpnet.explanation import Evidence, Explanation, explain_test
from pixpnet.report.predictions import Predictions
from pixpnet.runs import Run
from pixpnet.types import Box

ENCODINGS = ((None, 92), (160, 86), (112, 82), (80, 76))
"""(longer side in pixels, None: as it is; JPEG quality), from the best to the smallest."""

BUDGET = 8_000_000
"""Bytes of JPEG files that a report may hold; base64 adds a third."""


@dataclass(frozen=True)
class Cutout:
    """A box of a picture of the album, as values of CSS."""

    picture: str
    """Class name of the picture."""
    frame: str
    """Position and size of the box over the whole picture."""
    crop: str
    """Scale and position of the picture so that the box alone shows."""


def cut_out(picture: str, box: Box, *, image_size: tuple[int, int]) -> Cutout:
    """A box, in pixels of a picture of that (height, width).

    >>> cut_out("i0", Box(0, 32, 64, 64), image_size=(64, 128)).frame
    'left:0%;top:50%;width:50%;height:50%'
    """
    height, width = image_size
    wide, high = max(box.right - box.left, 1.0), max(box.bottom - box.top, 1.0)
    frame = (
        f"left:{_css_share(box.left, width)};top:{_css_share(box.top, height)};"
        f"width:{_css_share(wide, width)};height:{_css_share(high, height)}"
    )
    crop = (
        f"width:{_css_share(min(wide, high), high)};aspect-ratio:{wide:g}/{high:g};"
        f"background-size:{_css_share(width, wide)} {_css_share(height, high)};"
        f"background-position:{_css_share(box.left, width - wide)} {_css_share(box.top, height - high)}"
    )
    return Cutout(picture, frame, crop)


def _css_share(part: float, whole: float) -> str:
    return f"{100 * part / whole:.4g}%" if whole > 0 else "0%"


class Album:
    """The pictures of one report, by the names of their CSS classes."""

    def __init__(self, *, budget: int = BUDGET) -> None:
        self._budget = budget
        self._names: dict[str, str] = {}
        self._files: dict[str, bytes] = {}

    def __contains__(self, key: str) -> bool:
        return key in self._names

    def __getitem__(self, key: str) -> str:
        return self._names[key]

    def add(self, key: str, pixels: UInt8[np.ndarray, "H W 3"]) -> str:
        """Keep a picture under a key, unless it is there, and return its class name."""
        if key not in self._names:
            name = f"i{len(self._names)}"
            self._names[key] = name
            self._files[name] = _jpeg(Image.fromarray(pixels), *ENCODINGS[0])
        return self._names[key]

    def data_uris(self) -> dict[str, str]:
        """The pictures by class name, in the best encoding that keeps all of them within the budget."""
        files = self._files
        for side, quality in ENCODINGS[1:]:
            if sum(map(len, files.values())) <= self._budget:
                break
            files = {name: _jpeg(load_image(file), side, quality) for name, file in self._files.items()}
        return {
            name: f"data:image/jpeg;base64,{base64.b64encode(file).decode()}" for name, file in files.items()
        }


def _jpeg(image: Image.Image, side: int | None, quality: int) -> bytes:
    if side is not None and max(image.size) > side:
        image = image.copy()
        image.thumbnail((side, side), Image.Resampling.LANCZOS)
    file = io.BytesIO()
    image.save(file, "JPEG", quality=quality, subsampling=0)
    return file.getvalue()


ROWS = 5
"""Prototypes beside an image, or for each of two classes."""

GROUPS = {
    "each": "One of each class",
    "wrong": "Most wrong",
    "unsure": "Least sure",
}
"""Why an image is shown."""


@dataclass(frozen=True)
class EvidenceLine:
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
    here: Cutout
    there: Cutout


@dataclass(frozen=True)
class Example:
    """One image, its prediction and the prototypes that speak most for it."""

    name: str
    group: str
    """Of the test images: why it is shown."""
    picture: str
    predicted: str
    probability: float
    truth: str | None
    """None: it is not known."""
    is_right: bool
    second: str
    second_probability: float
    rows: tuple[EvidenceLine, ...]
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
    """The predicted and the true class's."""
    logits: tuple[float, float]
    for_predicted: tuple[EvidenceLine, ...]
    for_truth: tuple[EvidenceLine, ...]
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

    def prototype(self, prototype: int) -> Cutout:
        """The training patch that a prototype is.

        Raises:
            DataError: Its training image is gone or has changed.
        """
        source = self._run.sources[prototype]
        key = f"train {source.image_id}"
        if key not in self._album:
            self._album.add(key, self._run.source_image(source))
        return cut_out(self._album[key], source.box, image_size=self._size)

    def example(self, index: int, group: str) -> Example:
        """A test image with its evidence."""
        explanation = explain_test(self._run, index)
        return self.explained(explanation, key=f"test {index}", name=self._file_name(index), group=group)

    def explained(self, explanation: Explanation, *, key: str, name: str, group: str = "") -> Example:
        """An image with its evidence, as `Example` has it; the album keeps its picture under the key."""
        picture, truth = self._album.add(key, explanation.image), explanation.truth
        top = explanation.evidence[:ROWS]
        order = np.argsort([-probability for probability in explanation.probabilities], kind="stable")
        second = int(order[1]) if len(order) > 1 else explanation.predicted
        return Example(
            name=name,
            group=group,
            picture=picture,
            predicted=self._names[explanation.predicted],
            probability=explanation.probability,
            truth=None if truth is None else self._names[truth],
            is_right=truth == explanation.predicted,
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

    def _rows(self, picture: str, weighted: Iterable[tuple[Evidence, float]]) -> tuple[EvidenceLine, ...]:
        evidence = [(one, weight, one.similarity * weight) for one, weight in weighted]
        largest = max((abs(value) for _, _, value in evidence), default=0.0) or 1.0
        return tuple(
            EvidenceLine(
                prototype=one.number,
                class_name=one.class_name if one.class_index is None else self._names[one.class_index],
                similarity=one.similarity,
                weight=weight,
                value=value,
                bar=abs(value) / largest,
                here=cut_out(picture, one.box, image_size=self._size),
                there=self.prototype(one.prototype),
            )
            for one, weight, value in evidence
        )

    def _file_name(self, index: int) -> str:
        return self._run.image_set.test[index].path.name

    def _truth(self, explanation: Explanation) -> int:
        assert explanation.truth is not None, "test images have labels"
        return explanation.truth
