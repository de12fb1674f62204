"""Explaining an image: what one network, or a run, says of it."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from pixpnet.data import PictureSource
from pixpnet.explanation.evidence import Evidence, largest_first
from pixpnet.explanation.explanation import Explanation, PixelMaps, SourceImage, colour_columns
from pixpnet.prototypes import PrototypeNetwork, describe_classes, is_class_specific
from pixpnet.receptive_fields import ReceptiveField
from pixpnet.runs import Run, load
from pixpnet.types import Normalization, PrototypeSource


def explain(run: Run | str | Path, image: PictureSource | Tensor) -> Explanation:
    """Explain what a trained network, or that of a run directory, says about an image.

    Args:
        run: A run loaded once serves many images.
        image: A picture (`pixpnet.data.PictureSource`: a file or its bytes, an opened file or Pillow image,
            an array of RGB or grey), which is resized and cropped as test images are (it is taken as cropped
            to its object already, where the run's data set does that); or a normalised tensor [3 H W] of the
            network's input size.

    Raises:
        CheckpointError: There is no such run.
        DataError: The image can't be read, or the tensor is no normalised image of the network's size.
    """
    run = run if isinstance(run, Run) else load(run)
    name = Path(image).stem if isinstance(image, (str, os.PathLike)) else "image"
    return _explain(run, run.input_of(image), name=name)


def explain_test(run: Run, index: int) -> Explanation:
    """Explain the test image of that index in the run's data set.

    Raises:
        DataError: The data set is gone, or it is no longer the one that the network was trained on.
    """
    record = run.test_images.records[index]
    return _explain(run, run.test_images[index].image, name=record.path.stem, truth=record.label)


class Explainer:
    """`explain` and `explain_test` of one run: an older name of them."""

    def __init__(self, run: Run) -> None:
        self.run = run

    def explain(self, image: PictureSource | Tensor) -> Explanation:
        return explain(self.run, image)

    def explain_test(self, index: int) -> Explanation:
        return explain_test(self.run, index)


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
        weights=weights,
        maps=PixelMaps(network, image, normalization, features, receptive_field),
        source_image=source_image,
        name=name,
        truth=truth,
    )


def _explain(run: Run, image: Float[Tensor, "3 H W"], *, name: str, truth: int | None = None) -> Explanation:
    return explain_image(
        run.network,
        image.to(run.device),
        normalization=run.normalization,
        receptive_field=run.receptive_field(),
        class_names=run.class_names,
        sources=run.sources,
        source_image=run.source_image,
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
