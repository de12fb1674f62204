"""An explanation: a prediction and the evidence for every class."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any, SupportsIndex

import numpy as np
import torch
from jaxtyping import Float, Float32, UInt8
from matplotlib.figure import Figure
from torch import Tensor

from pixpnet.errors import ConfigError
from pixpnet.explanation.class_names import find_class
from pixpnet.explanation.evidence import Contrast, Evidence, Share
from pixpnet.pixel_space import pixel_space_map
from pixpnet.prototypes import PrototypeNetwork
from pixpnet.receptive_fields import ReceptiveField
from pixpnet.types import Normalization, PrototypeSource

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
    network: PrototypeNetwork = field(repr=False)
    normalized: Float[Tensor, "3 H W"] = field(repr=False)
    """The network's input."""
    normalization: Normalization = field(repr=False)
    """How the input was made of the image."""
    features: Float[Tensor, "1 d h w"] = field(repr=False)
    weights: Float[Tensor, "p c"] = field(repr=False)
    """What one unit of a prototype's similarity adds to each class's logit."""
    receptive_field: ReceptiveField = field(repr=False)
    """Of the network's patches."""
    source_image: SourceImage | None = field(default=None, repr=False)
    """Where figures take the prototypes' training images from."""
    name: str = "image"
    """Names the image in files: the stem of its own file."""
    truth: int | None = None
    """The true class, where it is known."""

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

    @cached_property
    def similarity_maps(self) -> Float[Tensor, "1 p h w"]:
        """Similarity of every patch of the image to every prototype."""
        with torch.no_grad():
            return self.network.similarity_maps(self.features)

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
        mean, std = colour_columns(self.normalization, like=self.normalized)
        maps = pixel_space_map(
            method,
            self.similarity_maps,
            self.receptive_field,
            self.image.shape[:2],
            prototypes=(prototype,),
            reduction=reduction,
            generator=torch.Generator().manual_seed(seed),
            network=self.network,
            images=self.normalized[None],
            lowest=((0 - mean) / std).flatten(),
            highest=((1 - mean) / std).flatten(),
        )
        return maps[0, 0].detach().float().cpu().numpy()

    def figure(
        self,
        *,
        top_k: int = 5,
        by: str = "contribution",
        method: str = "receptive_field",
        against: int | str | None = None,
    ) -> Figure:
        """Draw the prediction and the prototypes that matter most for it.

        Args:
            top_k: Prototypes shown; of a contrast, for each class.
            by: They are those of the largest "contribution" or "similarity".
            method: Whose maps and boxes are shown; one of ``pixpnet.pixel_space.MAPPINGS``.
            against: Draw why the predicted class and not this one.

        Raises:
            ConfigError: There is no such method, order or class, the class is the predicted one, or top_k is
                not positive.
            DataError: A prototype's training image is gone or has changed.
        """
        from pixpnet.explanation.drawing import draw_contrast, draw_evidence

        if top_k < 1:
            raise ConfigError(f"top_k={top_k}: a figure shows at least one prototype.")
        if against is None:
            return draw_evidence(self, top_k=top_k, by=by, method=method)
        return draw_contrast(self, against, top_k=top_k, by=by, method=method)

    def save(
        self,
        path: str | Path,
        *,
        formats: Sequence[str] = ("png",),
        top_k: int = 5,
        by: str = "contribution",
        method: str = "receptive_field",
        against: int | str | None = None,
    ) -> list[Path]:
        """Write figures (png, pdf) or all evidence (json); options as in `figure`.

        Args:
            path: A file whose suffix is the format, or a folder, for ``<name>_explanation.<format>``.
            formats: In a folder.
            top_k: Of figures.
            by: Of figures.
            method: Of figures.
            against: Draw, or add, why the predicted class and not this one.

        Returns:
            The files written.
        """
        from pixpnet.explanation.files import FORMATS, write_explanation

        target = Path(path)
        stem, suffix = target.with_suffix(""), target.suffix.removeprefix(".").lower()
        if suffix not in FORMATS:
            stem = target / f"{self.name}_explanation"
        else:
            formats = (suffix,)
        return write_explanation(self, stem, formats, top_k=top_k, by=by, method=method, against=against)

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

    def to_json(self) -> str:
        """`to_dict` as text."""
        return json.dumps(self.to_dict(), indent=1, ensure_ascii=False, allow_nan=False)


def colour_columns(
    normalization: Normalization, *, like: Tensor
) -> tuple[Float[Tensor, "3 1 1"], Float[Tensor, "3 1 1"]]:
    """Mean and standard deviation, to be broadcast over an image."""
    mean, std = like.new_tensor(normalization.mean), like.new_tensor(normalization.std)
    return mean[:, None, None], std[:, None, None]


def largest_first(evidence: Iterable[Evidence]) -> tuple[Evidence, ...]:
    """Largest contribution first, then the lower prototype."""
    return tuple(sorted(evidence, key=lambda one: (-one.contribution, one.prototype)))
