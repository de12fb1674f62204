"""Explaining an image: what one network, or a run, says of it."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from pixpnet.data import PictureSource
from pixpnet.explanation.evidence import Witnesses
from pixpnet.explanation.explanation import Explanation, SourceImage
from pixpnet.explanation.maps import PixelMaps, colour_columns
from pixpnet.explanation.photograph import Photograph, read_input, read_test_input
from pixpnet.prototypes import PrototypeNetwork
from pixpnet.receptive_fields import ReceptiveField
from pixpnet.runs import Run, load
from pixpnet.types import Normalization, PrototypeSource


def explain(run: Run | str | Path, image: PictureSource | Tensor) -> Explanation:
    """Explain what a trained network, or that of a run directory, says about an image.

    Args:
        run: A run loaded once serves many images.
        image: A picture (`pixpnet.data.PictureSource`: a file or its bytes, an opened file or Pillow image,
            an array of RGB or grey; or a tensor [3 H W] of whole numbers or of floats in [0, 1]), which is
            resized and cropped as test images are (it is taken as cropped to its object already, where the
            run's data set does that). Or a tensor of floats beyond [0, 1]: the network's input, normalised.

    >>> explanation = pixpnet.explain(RUN_DIR, PHOTO)
    >>> abs(sum(one.contribution for one in explanation.evidence) - explanation.logit) < 1e-4
    True
    >>> best = explanation.evidence[0]  # the pixels in best.box look like those in best.source.box
    >>> best.source.path.endswith(".png")
    True

    Raises:
        CheckpointError: There is no such run.
        DataError: The image can't be read, or the tensor is no normalised image of the network's size.
    """
    run = run if isinstance(run, Run) else load(run)
    name = Path(image).stem if isinstance(image, (str, os.PathLike)) else "image"
    seen, photograph = read_input(run, image)
    return _explain(run, seen, name=name, photograph=photograph)


def explain_test(run: Run, index: int) -> Explanation:
    """Explain the test image of that index in the run's data set.

    Raises:
        DataError: The data set is gone, or it is no longer the one that the network was trained on.
    """
    record = run.test_images.records[index]
    seen, photograph = read_test_input(run, record)
    return _explain(run, seen, name=record.path.stem, truth=record.label, photograph=photograph)


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
    photograph: Photograph | None = None,
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
        photograph: The picture that the image was made of, if it is known.
    """
    features = network.features(image[None])
    output = network.from_features(features)
    logits = output.logits[0]
    predicted = int(logits.argmax())
    witnesses = Witnesses.of(
        network, class_names=class_names, receptive_field=receptive_field, sources=sources
    )
    place = None if photograph is None else photograph.box
    return Explanation(
        image=_pixels(image, normalization),
        predicted=predicted,
        logits=tuple(logits.tolist()),
        probabilities=tuple(logits.softmax(dim=0).tolist()),
        class_names=class_names,
        evidence=witnesses.evidence(
            output.similarities[0].cpu(), output.cells[0].cpu(), predicted, placed=place
        ),
        weights=witnesses.weights,
        maps=PixelMaps(network, image, normalization, features, receptive_field),
        source_image=source_image,
        name=name,
        truth=truth,
        photograph=photograph,
    )


def _explain(
    run: Run,
    image: Float[Tensor, "3 H W"],
    *,
    name: str,
    truth: int | None = None,
    photograph: Photograph | None = None,
) -> Explanation:
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
        photograph=photograph,
    )


def _pixels(image: Float[Tensor, "3 H W"], normalization: Normalization) -> UInt8[np.ndarray, "H W 3"]:
    """The 8-bit image that was normalised."""
    mean, std = colour_columns(normalization, like=image)
    levels = (image * std + mean).mul(255).round().clamp(0, 255)
    return levels.byte().permute(1, 2, 0).contiguous().cpu().numpy()
