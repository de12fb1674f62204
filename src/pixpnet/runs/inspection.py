"""What speaks against a prototype: another says the same, no image uses it, or it shows the background."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Float32, Int64
from torch import Tensor

from pixpnet.data import ClassificationImages
from pixpnet.errors import CheckpointError
from pixpnet.files import is_there, read_mapping, write_json
from pixpnet.metrics import box_mask
from pixpnet.prototypes import Distance
from pixpnet.records import checked
from pixpnet.types import PrototypeSource

COSINE = 0.99
"""Two prototypes are nearly equal from this cosine of their angle on ..."""
LENGTH = 0.1
"""... if their lengths differ by less than this share of the longer one (it matters to L2, not to cosine)."""
TOP = 3
"""A prototype counts as used in an image if it is one of so many that speak most for the prediction."""
BACKGROUND = 0.1
"""A prototype is on the background if a smaller share of its box is the object."""


def nearly_equal_pairs(prototypes: Float[np.ndarray, "p D"], distance: Distance) -> list[tuple[int, int]]:
    """The pairs of prototypes that say nearly the same of every image, in order."""
    lengths = np.linalg.norm(prototypes, axis=1)
    units = prototypes / np.maximum(lengths, 1e-12)[:, None]
    near = units @ units.T >= COSINE
    if not distance.ignores_length:
        longer = np.maximum(lengths[:, None], lengths)
        near &= np.abs(lengths[:, None] - lengths) <= LENGTH * longer
    first, second = np.nonzero(np.triu(near, k=1))
    return list(zip(first.tolist(), second.tolist(), strict=True))


def times_on_top(
    similarities: Float32[np.ndarray, "n p"],
    predicted: Int64[np.ndarray, "n"],
    weights: Float32[np.ndarray, "p c"],
) -> Int64[np.ndarray, "p"]:
    """Images in which each prototype is among the TOP positive contributions to the predicted logit."""
    counts = np.zeros(len(weights), dtype=np.int64)
    for row, label in zip(similarities, predicted, strict=True):
        contributions = row * weights[:, label]
        top = np.argsort(-contributions, kind="stable")[:TOP]
        counts[top[contributions[top] > 0]] += 1
    return counts


def object_shares(
    images: ClassificationImages, sources: Sequence[PrototypeSource]
) -> tuple[float | None, ...]:
    """Share of each source's box that is the object in its image; None where nothing tells.

    images: as the network is tested on them, those of the sources among them.

    Raises:
        DataError: A mask cannot be read.
    """
    wanted = {source.image_id for source in sources}
    images = replace(images, records=tuple(one for one in images.records if one.image_id in wanted))
    objects = {one.image_id: images.pixels_of_object(index) for index, one in enumerate(images.records)}
    return tuple(
        _share(objects.get(one.image_id), box_mask(one.box, image_size=images.geometry.image_size))
        for one in sources
    )


def _share(pixels: Bool[Tensor, "H W"] | None, box: Bool[Tensor, "H W"]) -> float | None:
    return None if pixels is None or not box.any() else float(pixels[box].float().mean())


REASONS = {
    "nearly equal": "nearly equal to another one of their class",
    "background": "on the background",
    "unused": f"in no training or validation image among the {TOP} that speak most",
}
"""Why a prototype was pruned -> what is said of several."""


class PrunedPrototype(NamedTuple):
    """A prototype that was taken away; numbers are those before."""

    prototype: int
    class_name: str
    image: str
    """Path of its training image, as of its source."""
    reason: str
    """One of REASONS."""
    heir: int | None
    """The nearly equal one that speaks for it now."""


@dataclass(frozen=True)
class Pruning:
    """What `train.prune` took away of a run's network."""

    before: int
    """Prototypes."""
    images: int
    """Validation images that had a say."""
    right_before: int
    right: int
    """Of these images, with the prototypes that were kept."""
    pruned: tuple[PrunedPrototype, ...]

    def __str__(self) -> str:
        """One sentence."""
        counts = Counter(one.reason for one in self.pruned)
        why = ", ".join(f"{counts[reason]} {words}" for reason, words in REASONS.items() if counts[reason])
        return (
            f"{len(self.pruned)} of {self.before} prototypes were pruned{': ' if why else ''}{why}; "
            f"{self.right} of {self.images} validation images are right, before {self.right_before}"
        )

    @classmethod
    def read(cls, path: Path) -> Pruning | None:
        """What a run's file says; None: there is none.

        Raises:
            CheckpointError: It is damaged.
            FileError: It can't be read.
        """
        if not is_there(path):
            return None
        try:
            return checked(cls, read_mapping(path))
        except ValueError as error:
            raise CheckpointError(f"{path} is damaged: {error}.") from error

    def write(self, path: Path) -> None:
        """Write it as JSON."""
        values = asdict(self)
        write_json(path, {**values, "pruned": [one._asdict() for one in self.pruned]})
