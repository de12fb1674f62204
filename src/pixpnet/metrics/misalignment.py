"""Spatial misalignment (Sacha et al. 2024, arXiv 2308.08162): can hidden pixels change a prototype?

Projected gradient descent changes only pixels outside of the region that an explanation displays. Of a map
that shows what the prototype saw, the similarity at the displayed cell cannot move.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from jaxtyping import Bool, Float, Float64, Int64
from torch import Tensor

from pixpnet.errors import ConfigError, DataError
from pixpnet.metrics.curves import SimilarityOf
from pixpnet.metrics.intervals import (
    RESAMPLES,
    Estimate,
    bootstrap_mean,
    estimate_per_prototype,
    sum_per_prototype,
)
from pixpnet.metrics.places import top_pixels


class Observation(NamedTuple):
    """What a network says of m (image, prototype) pairs, before or after the attack on each."""

    similarity: Float[Tensor, "m"]
    """The pair's prototype's: at the displayed cell, or the largest of all cells."""
    similarities: Float[Tensor, "m p"]
    """Each prototype's to the image."""
    displayed: Bool[Tensor, "m H W"]
    """The region that is displayed for the pair's prototype."""
    predicted: Int64[Tensor, "m"]
    """Class."""


class Misalignment(NamedTuple):
    """Percentages, but for `prc`; the changes over prototypes, the accuracies over pairs."""

    pac: Estimate
    """Prototype activation change: 100·(1 - after/before)."""
    plc: Estimate
    """Prototype location change: 100·(1 - IoU of the displayed regions before and after)."""
    prc: Estimate
    """Prototype ranking change: by how much the number of other classes' prototypes above it grows."""
    accuracy_before: Estimate
    accuracy_after: Estimate


def require_positive_similarity(largest: float) -> None:
    """Refuse similarities of which no percentage can be taken.

    Args:
        largest: What no similarity exceeds (``PrototypeNetwork.largest_similarity``).

    Raises:
        ConfigError: None is positive, as -d of the linear L2 similarity.
    """
    if not largest > 0:
        raise ConfigError(
            "misalignment compares similarities as percentages, but -d of the linear L2 similarity is never "
            "positive; measure a network with log similarity or cosine distance."
        )


def top_region(
    maps: Float[Tensor, "b H W"], *, share: float = 0.1, margin: int = 10
) -> Bool[Tensor, "b H W"]:
    """What a map displays: the box of its top pixels, grown by a margin in pixels, inside the image."""
    top = top_pixels(maps, share=share)
    rows, columns = (_grown_hull(top.any(dim=dim), margin) for dim in (2, 1))
    return rows[:, :, None] & columns[:, None, :]


def _grown_hull(hit: Bool[Tensor, "b n"], margin: int) -> Bool[Tensor, "b n"]:
    """From the first to the last hit of each row (there is one), grown on both sides."""
    first = hit.int().argmax(dim=1, keepdim=True)
    last = hit.shape[1] - 1 - hit.flip(1).int().argmax(dim=1, keepdim=True)
    place = torch.arange(hit.shape[1], device=hit.device)
    return (place >= first - margin) & (place <= last + margin)


def attack_outside(
    similarity_of: SimilarityOf,
    images: Float[Tensor, "b 3 H W"],
    *,
    displayed: Bool[Tensor, "b H W"],
    epsilon: float = 0.1,
    step: float = 0.01,
    iterations: int = 20,
) -> Float[Tensor, "b 3 H W"]:
    """Lower each image's similarity by projected gradient descent (L∞) on the pixels that are not displayed.

    Args:
        similarity_of: Images in [0, 1] to the similarity of each to its own prototype, with gradient.
        images: Images in [0, 1].
        displayed: Pixels that stay as they are.
        epsilon: Largest change of a value.
        step: Change of a value in each iteration.
        iterations: Number of steps.
    """
    free = ~displayed[:, None]
    low, high = (images - epsilon).clamp(min=0), (images + epsilon).clamp(max=1)
    attacked = images.detach().clone()
    for _ in range(iterations):
        with torch.enable_grad():
            point = attacked.requires_grad_()
            (gradient,) = torch.autograd.grad(similarity_of(point).sum(), point)
        moved = point.detach() - step * gradient.sign()
        reached = torch.where(free, torch.minimum(torch.maximum(moved, low), high), images)
        if reached.equal(attacked):
            break  # nothing moves: nor will it in the steps to come
        attacked = reached
    return attacked.detach()


def spatial_misalignment(
    before: Observation,
    after: Observation,
    *,
    prototypes: Int64[Tensor, "m"],
    prototype_classes: Int64[Tensor, "p"],
    labels: Int64[Tensor, "m"],
    seed: int = 0,
    resamples: int = RESAMPLES,
) -> Misalignment:
    """Compare what was seen before and after the attack.

    Args:
        before: Of the images as they are.
        after: Of the attacked images.
        prototypes: The prototype of each pair.
        prototype_classes: The class of every prototype; −1: it has none (pruned), and counts nowhere.
        labels: The class of each pair's image.

    Raises:
        DataError: There is no pair, or a similarity was not positive before the attack.
    """
    if not (before.similarity > 0).all():
        raise DataError(
            f"{int((~(before.similarity > 0)).sum())} of {len(before.similarity)} similarities are not "
            "positive before the attack, so their change in percent means nothing; "
            "measure a network with log similarity."
        )
    other = (prototype_classes[None] != prototype_classes[prototypes][:, None]) & (prototype_classes >= 0)
    above = [((seen.similarities > seen.similarity[:, None]) & other).sum(dim=1) for seen in (before, after)]
    changes = (
        100.0 * (1.0 - after.similarity.double() / before.similarity.double()),
        100.0 * (1.0 - _overlap(before.displayed, after.displayed)),
        (above[1] - above[0]).double(),
    )
    counts = torch.bincount(prototypes, minlength=len(prototype_classes)).cpu().numpy()
    estimates = [
        estimate_per_prototype(
            sum_per_prototype(values, prototypes, num_prototypes=len(counts)),
            counts,
            seed=seed,
            resamples=resamples,
        )
        for values in changes
    ]
    accuracies = [
        bootstrap_mean(
            100.0 * (seen.predicted == labels).double().cpu().numpy(), seed=seed, resamples=resamples
        )
        for seen in (before, after)
    ]
    return Misalignment(*estimates, *accuracies)


def _overlap(one: Bool[Tensor, "m H W"], other: Bool[Tensor, "m H W"]) -> Float64[Tensor, "m"]:
    """Intersection over union; two empty regions are the same."""
    union = (one | other).sum(dim=(1, 2))
    return torch.where(union > 0, (one & other).sum(dim=(1, 2)).double() / union.clamp(min=1), 1.0)
