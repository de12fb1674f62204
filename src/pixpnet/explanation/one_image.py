"""Explaining one image."""

from __future__ import annotations

import numpy as np
import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from pixpnet.explanation.evidence import Evidence
from pixpnet.explanation.explanation import Explanation, SourceImage, colour_columns, largest_first
from pixpnet.prototypes import PrototypeNetwork, describe_classes, is_class_specific
from pixpnet.receptive_fields import ReceptiveField
from pixpnet.types import Normalization, PrototypeSource


@torch.no_grad()
def explain_image(
    network: PrototypeNetwork,
    image: Float[Tensor, "3 H W"],
    *,
    normalization: Normalization,
    receptive_field: ReceptiveField,
    class_names: tuple[str, ...],
    sources: tuple[PrototypeSource, ...] = (),
    source_image: SourceImage | None = None,
    name: str = "image",
    truth: int | None = None,
) -> Explanation:
    """Explain the network's prediction for a normalised image.

    Args:
        network: A network in eval mode.
        image: The normalised image, on the network's device.
        normalization: How it was normalised.
        receptive_field: Of the network's patches (``ReceptiveField.for_kernel``).
        class_names: One a class.
        sources: The prototypes' training patches, or nothing.
        source_image: Where figures take these patches' images from.
        name: Names the image in files.
        truth: The image's true class, if it is known.
    """
    features = network.features(image[None])
    output = network.from_features(features)
    logits = output.logits[0]
    predicted = int(logits.argmax())
    weights = network.class_weights()
    of_predicted = weights[:, predicted].tolist()
    owners = _owners(network, class_names)
    evidence = []
    for prototype, (similarity, cell) in enumerate(
        zip(output.similarities[0].tolist(), output.cells[0].tolist(), strict=True)
    ):
        row, column = divmod(cell, receptive_field.grid_size[1])
        class_index, class_name = owners[prototype]
        evidence.append(
            Evidence(
                prototype=prototype,
                class_index=class_index,
                class_name=class_name,
                similarity=similarity,
                weight=of_predicted[prototype],
                cell=(row, column),
                box=receptive_field.box(row, column),
                source=sources[prototype] if sources else None,
            )
        )
    return Explanation(
        image=_pixels(image, normalization),
        predicted=predicted,
        logits=tuple(logits.tolist()),
        probabilities=tuple(logits.softmax(dim=0).tolist()),
        class_names=class_names,
        evidence=largest_first(evidence),
        network=network,
        normalized=image,
        normalization=normalization,
        features=features,
        weights=weights,
        receptive_field=receptive_field,
        source_image=source_image,
        name=name,
        truth=truth,
    )


def _pixels(image: Float[Tensor, "3 H W"], normalization: Normalization) -> UInt8[np.ndarray, "H W 3"]:
    """The 8-bit image that was normalised."""
    mean, std = colour_columns(normalization, like=image)
    levels = (image * std + mean).mul(255).round().clamp(0, 255)
    return levels.byte().permute(1, 2, 0).contiguous().cpu().numpy()


def _owners(network: PrototypeNetwork, class_names: tuple[str, ...]) -> list[tuple[int | None, str]]:
    """Each prototype's class and its name; without a class of its own, None and words for what it has."""
    if not is_class_specific(network.own_class):
        return [(None, "every class")] * network.num_prototypes
    owned = [row.nonzero().flatten().tolist() for row in network.own_class.cpu()]
    return [
        (classes[0], class_names[classes[0]])
        if len(classes) == 1
        else (None, describe_classes(classes, class_names))
        for classes in owned
    ]
