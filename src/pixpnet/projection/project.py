"""Projection of a whole network, in anyone's training loop."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import torch

from pixpnet.modes import evaluating
from pixpnet.projection.assignment import Assignment
from pixpnet.projection.candidates import PatchCandidates
from pixpnet.prototypes import PrototypeNetwork


@torch.no_grad()
def project(
    network: PrototypeNetwork,
    loader: Iterable[Sequence[Any]],
    *,
    duplicate_filter: str = "sample",
    class_names: Sequence[str] | None = None,
    others: Callable[[PatchCandidates], Iterable[PatchCandidates]] = lambda own: (),
) -> Assignment:
    """Move every prototype onto a training patch, in place, and say which one it is.

    Each gets a patch of an image of its own class; of all ways to do so one to one, that of the least total
    distance. One pass over the images in eval mode; the result does not depend on batches or their order.

    Args:
        network: Trained so far.
        loader: Batches of training images, not augmented, normalised, in one order: (images, labels), or
            (images, labels, numbers) where each image's number is not its place in that order.
        duplicate_filter: What no two prototypes may share: their source image ("sample"), their patch
            ("patch") or nothing ("none").
        class_names: For warnings.
        others: Given what was found here, what other processes found in their own images.

    >>> model = pixpnet.load(RUN_DIR)
    >>> images = torch.utils.data.DataLoader(model.images(model.image_set.train), batch_size=4)
    >>> found = pixpnet.project(model.network, ((batch.image, batch.label) for batch in images))
    >>> len(set(found.image_index.tolist())) == model.network.num_prototypes
    True

    Raises:
        ConfigError: There is no such filter.
        DataError: A class has prototypes and no image, or features are not finite.
    """
    candidates = PatchCandidates(
        network.prototypes.detach(),
        network.own_class,
        distance=network.distance,
        duplicate_filter=duplicate_filter,
    )
    count, device = 0, network.prototypes.device
    with evaluating(network):
        for images, labels, *numbers in loader:
            indices = numbers[0] if numbers else torch.arange(count, count + len(labels))
            candidates.update(network.features(images.to(device)), labels, indices)
            count += len(labels)
    for other in others(candidates):
        candidates.merge(other)
    assignment = candidates.assign(class_names=class_names)
    network.prototypes.copy_(assignment.patches)
    return assignment
