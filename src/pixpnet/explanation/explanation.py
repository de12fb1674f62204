"""An explanation: a prediction and the evidence for every class, its maps, figures and files."""

from __future__ import annotations

import base64
import html
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, SupportsIndex

import numpy as np
from jaxtyping import Float, Float32, UInt8
from matplotlib.figure import Figure
from torch import Tensor

from pixpnet.choices import choose
from pixpnet.errors import ConfigError
from pixpnet.explanation.evidence import Contrast, Evidence, Share, find_class, largest_first
from pixpnet.explanation.maps import PixelMaps
from pixpnet.explanation.photograph import Photograph
from pixpnet.figures import (
    FIGURE_FORMATS,
    ContrastColumn,
    EvidenceRow,
    Picture,
    contrast_figure,
    evidence_figure,
    png_bytes,
    save_figure,
)
from pixpnet.files import write_json
from pixpnet.pixel_space import MAPPINGS
from pixpnet.types import PrototypeSource
from pixpnet.words import decimal, probability, visible

FORMATS = (*FIGURE_FORMATS, "json")

DPIS = range(20, 601)
"""Dots an inch that figures can have."""

RANKINGS: dict[str, Callable[[Evidence], float]] = {
    "contribution": lambda evidence: evidence.contribution,
    "similarity": lambda evidence: evidence.similarity,
}
"""What the prototypes in a figure are the largest by."""

GROUNDS = ("input", "original")
"""What boxes and maps of the image are drawn on: what the network saw, or the picture that it was made of."""

_ON_ORIGINAL = " Those of this image are larger by the few pixels that resizing mixes in."

SourceImage = Callable[[PrototypeSource], UInt8[np.ndarray, "H W 3"]]
"""The pixels of the training image that a prototype comes from."""


@dataclass(frozen=True, eq=False)
class Explanation:
    """A prediction and its evidence; the contributions to a class sum to that class's logit."""

    image: UInt8[np.ndarray, "H W 3"] = field(repr=False)
    """What the network saw, before normalisation."""
    predicted: int
    logits: tuple[float, ...]
    probabilities: tuple[float, ...]
    class_names: tuple[str, ...]
    evidence: tuple[Evidence, ...] = field(repr=False)
    """For the predicted class, largest contribution first."""
    weights: Float[Tensor, "p c"] = field(repr=False)
    """What one unit of a prototype's similarity adds to each class's logit."""
    maps: PixelMaps = field(repr=False)
    """Where `map` and the boxes of figures come from."""
    source_image: SourceImage | None = field(default=None, repr=False)
    """Where figures take the prototypes' training images from."""
    name: str = "image"
    """Names the image in files: the stem of its own file."""
    truth: int | None = None
    """The true class, where it is known."""
    photograph: Photograph | None = field(default=None, repr=False)
    """The picture that the image was made of; none where that is not known."""

    @property
    def class_name(self) -> str:
        """Of the predicted class."""
        return self.class_names[self.predicted]

    @property
    def probability(self) -> float:
        """Of the predicted class."""
        return self.probabilities[self.predicted]

    @property
    def logit(self) -> float:
        """Of the predicted class."""
        return self.logits[self.predicted]

    def evidence_for(self, target: SupportsIndex | str) -> tuple[Evidence, ...]:
        """What the prototypes say for a class, largest contribution first; sums to that class's logit.

        Raises:
            ConfigError: There is no such class.
        """
        weights = self.weights[:, find_class(self.class_names, target)].tolist()
        return largest_first(replace(one, weight=weights[one.prototype]) for one in self.evidence)

    def against(self, other: SupportsIndex | str) -> Contrast:
        """Why the predicted class and not another one.

        Raises:
            ConfigError: There is no such class, or it is the predicted one.
        """
        index = find_class(self.class_names, other)
        if index == self.predicted:
            raise ConfigError(
                f"{self.class_name} is the predicted class; name another one to set against it."
            )
        other_weights = self.weights[:, index].tolist()
        shares = [Share(one, other_weights[one.prototype]) for one in self.evidence]
        pair = (self.predicted, index)
        return Contrast(
            target=self.predicted,
            other=index,
            class_names=(self.class_name, self.class_names[index]),
            logits=(self.logits[pair[0]], self.logits[pair[1]]),
            probabilities=(self.probabilities[pair[0]], self.probabilities[pair[1]]),
            shares=tuple(sorted(shares, key=lambda share: -share.difference)),
        )

    @property
    def runner_up(self) -> int:
        """The class with the second largest logit.

        Raises:
            ConfigError: There is one class only.
        """
        others = [index for index in range(len(self.logits)) if index != self.predicted]
        if not others:
            raise ConfigError(f"{self.class_name} is the only class; there is none to set against it.")
        return max(others, key=lambda index: self.logits[index])

    def map(
        self, prototype: int, method: str = "receptive_field", *, reduction: str = "max", seed: int = 0
    ) -> Float32[np.ndarray, "H W"]:
        """A prototype's similarities in pixel space.

        Args:
            prototype: Its index.
            method: One of ``pixpnet.pixel_space.MAPPINGS``.
            reduction: max, mean or sum; of the method receptive_field.
            seed: Of the method random.
        """
        return self.maps.draw(prototype, method, reduction=reduction, seed=seed)

    def figure(
        self,
        *,
        top_k: int = 5,
        by: str = "contribution",
        method: str = "receptive_field",
        against: int | str | None = None,
        on: str = "input",
    ) -> Figure:
        """Draw the prediction and the prototypes that matter most for it.

        Args:
            top_k: Prototypes shown; of a contrast, for each class.
            by: They are those of the largest "contribution" or "similarity".
            method: Whose maps and boxes are shown; one of ``pixpnet.pixel_space.MAPPINGS``.
            against: Draw why the predicted class and not this one.
            on: Draw this image's boxes and maps on the network's "input" or on the "original" picture.

        Raises:
            ConfigError: There is no such method, order or class, the class is the predicted one, top_k is
                not positive, or the original is not known.
            DataError: A prototype's training image is gone or has changed.
        """
        if top_k < 1:
            raise ConfigError(f"top_k={top_k}: a figure shows at least one prototype.")
        choose(dict.fromkeys(GROUNDS), on, what="on")
        if on == "original" and self.photograph is None:
            raise ConfigError(
                "a tensor's original picture is not known; give the picture, or draw on the input."
            )
        if against is None:
            return _evidence_figure(self, top_k=top_k, by=by, method=method, on=on)
        return _contrast_figure(self, against, top_k=top_k, by=by, method=method, on=on)

    def save(
        self,
        path: str | Path,
        *,
        formats: Sequence[str] = ("png",),
        top_k: int = 5,
        by: str = "contribution",
        method: str = "receptive_field",
        against: int | str | None = None,
        on: str = "input",
        dpi: int | None = None,
    ) -> list[Path]:
        """Write figures (png, pdf) or all evidence (json); options as in `figure`.

        Args:
            path: A file whose suffix is the format, or a folder, for ``<name>_explanation.<format>``.
            formats: In a folder.
            top_k: Of figures.
            by: Of figures.
            method: Of figures.
            against: Draw, or add, why the predicted class and not this one.
            on: Of figures.
            dpi: Dots an inch of figures' pixels, one of `DPIS`; None: 110.

        Returns:
            The files written.

        Raises:
            ConfigError: An option is none.
            FileError: One can't be written.
        """
        target = Path(path)
        stem, suffix = target.with_suffix(""), target.suffix.removeprefix(".").lower()
        if suffix not in FORMATS:
            stem = target / f"{self.name}_explanation"
        else:
            formats = (suffix,)
        return self.write(stem, formats, top_k=top_k, by=by, method=method, against=against, on=on, dpi=dpi)

    def write(
        self,
        stem: Path,
        formats: Sequence[str],
        *,
        top_k: int,
        by: str,
        method: str,
        against: int | str | None,
        on: str,
        dpi: int | None,
    ) -> list[Path]:
        """Write ``<stem>.<format>`` for each format; as `save`."""
        check_formats(formats, dpi)
        figure = None
        if set(formats) != {"json"}:
            figure = self.figure(top_k=top_k, by=by, method=method, against=against, on=on)
        content = self.to_dict()
        if against is not None:
            content["contrast"] = self.against(against).to_dict()
        return write_formats(stem, formats, figure=figure, content=content, dpi=dpi)

    def to_dict(self) -> dict[str, Any]:
        """Plain values, ready for JSON: the prediction and its evidence, without pixels."""
        return {
            "name": self.name,
            "truth": self.truth,
            "predicted": self.predicted,
            "class_name": self.class_name,
            "probability": self.probability,
            "logit": self.logit,
            "probabilities": list(self.probabilities),
            "logits": list(self.logits),
            "class_names": list(self.class_names),
            "evidence": [one.to_dict() for one in self.evidence],
        }

    def _repr_html_(self) -> str:
        """Its figure, as notebooks show it, with the words of it for those who don't see it."""
        figure = self.figure()
        png = base64.b64encode(png_bytes(figure)).decode()
        return (
            f'<img style="max-width: 100%" alt="{html.escape(str(figure.get_label()))}" '
            f'src="data:image/png;base64,{png}">'
        )

    def to_json(self) -> str:
        """`to_dict` as text."""
        return json.dumps(self.to_dict(), indent=1, ensure_ascii=False, allow_nan=False)


TOLD = 3
"""Prototypes in the words that stand for a figure where nobody sees it."""


def _evidence_figure(explanation: Explanation, *, top_k: int, by: str, method: str, on: str) -> Figure:
    """The prototypes that speak most for the prediction, or are most similar to the image."""
    mapping, rank = choose(MAPPINGS, method, what="method"), choose(RANKINGS, by, what="by")
    shown = sorted(explanation.evidence, key=rank, reverse=True)[:top_k]
    rows = [_row(explanation, one, method, on=on, weight=one.weight) for one in shown]
    total, part = explanation.logit, sum(one.contribution for one in shown)
    count = len(explanation.evidence)
    figure = evidence_figure(
        rows,
        title=_title(explanation),
        note=mapping.note + _ON_ORIGINAL * (on == "original"),
        map_title=mapping.map_title,
        footer=f"Shown: {len(shown)} of {count} prototypes, by {by}; they add {decimal(part)}, the others "
        f"{decimal(total - part)}; together {decimal(total)}, the logit.",
    )
    words = [f"{explanation.name}: {_title(explanation)}"]
    words += [
        f"prototype {one.number} of {one.class_name} {decimal(one.contribution, sign='+')}"
        for one in shown[:TOLD]
    ]
    figure.set_label(visible("; ".join(words)))
    return figure


def _contrast_figure(
    explanation: Explanation, other: int | str, *, top_k: int, by: str, method: str, on: str
) -> Figure:
    """The prototypes that speak most for the predicted class and not the other, and the other way round."""
    mapping, rank = choose(MAPPINGS, method, what="method"), choose(RANKINGS, by, what="by")
    contrast = explanation.against(other)

    def column(index: int, shares: Sequence[Share]) -> ContrastColumn:
        name = contrast.class_names[index]
        if by == "similarity":
            shares = sorted(shares, key=lambda share: rank(share.evidence), reverse=True)
        words = f"for {name} ({probability(contrast.probabilities[index])})"
        rows = []
        for share in shares[:top_k]:
            weights = share.evidence.weight, share.other_weight
            weight, other_weight = weights if index == 0 else reversed(weights)
            row = _row(explanation, share.evidence, method, on=on, weight=weight, other_weight=other_weight)
            rows.append(row)
        return ContrastColumn(words, rows)

    gains = sum(share.difference for share in contrast.for_target)
    losses = -sum(share.difference for share in contrast.for_other)
    return contrast_figure(
        column(0, contrast.for_target),
        column(1, contrast.for_other),
        title=f"Why {contrast.class_names[0]} and not {contrast.class_names[1]}?",
        note=f"{mapping.note}{_ON_ORIGINAL * (on == 'original')} Numbers: similarity × (weight for this "
        "class − weight for the other).",
        footer=f"All {len(contrast.for_target)} prototypes on the left: {decimal(gains, sign='+')}; "
        f"all {len(contrast.for_other)} on the right: {decimal(losses, sign='+')}; "
        f"the logits differ by {decimal(contrast.difference)}.",
    )


def _row(
    explanation: Explanation,
    one: Evidence,
    method: str,
    *,
    on: str,
    weight: float,
    other_weight: float | None = None,
) -> EvidenceRow:
    """Of a prototype; with the weight for another class, one of a contrast."""
    mapping, source = MAPPINGS[method], one.source
    field = explanation.maps.receptive_field
    seen = Picture(explanation.image, mapping.region(field, *one.cell))
    # In a contrast, a map that says little more than its box would only hide the image.
    has_map = other_weight is None or not mapping.shows_box
    map_ = explanation.map(one.prototype, method) if has_map else None
    if on == "original" and explanation.photograph is not None:
        photograph = explanation.photograph
        seen = Picture(photograph.shown, photograph.shown_box(seen.box))
        map_ = None if map_ is None else photograph.shown_map(map_)
    there = None
    if source is not None and explanation.source_image is not None:
        there = Picture(explanation.source_image(source), mapping.region(field, *source.cell))
    return EvidenceRow(
        seen=seen,
        source=there,
        map=map_,
        prototype=one.number,
        class_name=one.class_name,
        similarity=one.similarity,
        weight=weight,
        other_weight=other_weight or 0.0,
    )


def _title(explanation: Explanation) -> str:
    guess = f"{explanation.class_name}, {probability(explanation.probability)}"
    if explanation.truth is None:
        return guess
    return f"{guess} (it is: {explanation.class_names[explanation.truth]})"


def check_formats(formats: Sequence[str], dpi: int | None = None) -> None:
    """Check that these are formats, that there is one, and that figures can have so many dots an inch.

    Raises:
        ConfigError: It is not so.
    """
    for format_ in formats:
        choose(dict.fromkeys(FORMATS), format_, what="format")
    if not formats:
        raise ConfigError(f"no format was chosen; give one or more of {', '.join(FORMATS)}.")
    if dpi is not None and dpi not in DPIS:
        raise ConfigError(f"dpi={dpi} should be {DPIS[0]} to {DPIS[-1]}.")


def write_formats(
    stem: Path, formats: Sequence[str], *, figure: Figure | None, content: dict[str, Any], dpi: int | None
) -> list[Path]:
    """Write a figure, and what it shows as JSON: ``<stem>.<format>`` for each format."""
    written = []
    for format_ in formats:
        path = stem.with_name(f"{stem.name}.{format_}")
        if format_ == "json":
            write_json(path, content)
        elif figure is not None:
            save_figure(figure, path, dpi=dpi)
        written.append(path)
    return written
