"""What speaks against a prototype: another says the same, no image uses it, or it shows the background."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from jaxtyping import Bool, Float, Float32, Int64
from torch import Tensor

from pixpnet.data import ClassificationImages
from pixpnet.metrics import box_mask
from pixpnet.prototypes import Distance
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
