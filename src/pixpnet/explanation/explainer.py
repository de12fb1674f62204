"""Explaining many images with one trained network."""

from __future__ import annotations

from functools import cached_property
from pathlib import Path

import numpy as np
from jaxtyping import Float, UInt8
from PIL import Image
from torch import Tensor

from pixpnet.data import ClassificationImages, ImageSet, load_image
from pixpnet.data.transforms import evaluation_transform, first_transform, to_normalized
from pixpnet.errors import DataError
from pixpnet.explanation.explanation import Explanation
from pixpnet.explanation.one_image import explain_image
from pixpnet.runs import Run, load
from pixpnet.types import Normalization, PrototypeSource

Explainable = str | Path | Image.Image | Tensor
"""An image file, an image, or a normalised tensor [3 H W] of the network's input size."""


class Explainer:
    """A loaded run with what explanations need; the data set is read when an image of it is asked for."""

    def __init__(self, run: Run) -> None:
        self.run = run
        self.receptive_field = run.receptive_field()
        self.normalization = Normalization(run.mean, run.std)

    @cached_property
    def image_set(self) -> ImageSet:
        """The run's data set.

        Raises:
            DataError: It is gone or damaged, or is no longer the one that the network was trained on.
        """
        return self.run.read_dataset()

    def test_images(self) -> ClassificationImages:
        """The data set's test images, as the network is tested on them."""
        return self._test_images

    def explain(self, image: Explainable) -> Explanation:
        """Explain an image; a file or PIL image is resized and cropped as test images are.

        Files are taken as cropped to their object already, where the run's data set does that.

        Raises:
            DataError: The file can't be read, or the tensor is no normalised image of the network's size.
        """
        if isinstance(image, Tensor):
            return self._explain(self._sized(image), name="image")
        name = "image" if isinstance(image, Image.Image) else Path(image).stem
        whole = image.convert("RGB") if isinstance(image, Image.Image) else load_image(image)
        geometry = self.run.geometry
        seen = evaluation_transform(geometry)(first_transform(geometry)(whole))
        return self._explain(to_normalized(seen, self.normalization), name=name)

    def explain_test(self, index: int) -> Explanation:
        """Explain the test image of that index in `test_images`."""
        record = self._test_images.records[index]
        image = self._test_images[index].image
        return self._explain(image, name=record.path.stem, truth=record.label)

    def source_image(self, source: PrototypeSource) -> UInt8[np.ndarray, "H W 3"]:
        """The pixels of a prototype's training image, as the network saw them.

        Raises:
            DataError: The data set is gone, or it is no longer the one that the network was trained on.
        """
        return np.asarray(self._sources.pixels(self._source_index[source.image_id]))

    @cached_property
    def _test_images(self) -> ClassificationImages:
        return self.run.images(self.image_set.test)

    @cached_property
    def _sources(self) -> ClassificationImages:
        wanted = {source.image_id for source in self.run.sources}
        return self.run.images(record for record in self.image_set.train if record.image_id in wanted)

    @cached_property
    def _source_index(self) -> dict[str, int]:
        return {record.image_id: index for index, record in enumerate(self._sources.records)}

    def _explain(self, image: Float[Tensor, "3 H W"], *, name: str, truth: int | None = None) -> Explanation:
        return explain_image(
            self.run.network,
            image.to(self.run.network.prototypes.device),
            normalization=self.normalization,
            receptive_field=self.receptive_field,
            class_names=self.run.class_names,
            sources=self.run.sources,
            source_image=self.source_image,
            name=name,
            truth=truth,
        )

    def _sized(self, image: Tensor) -> Float[Tensor, "3 H W"]:
        wanted = (3, *self.run.image_size)
        if tuple(image.shape) != wanted:
            raise DataError(f"the image is a tensor of shape {tuple(image.shape)}; wanted {wanted}.")
        if not (image.is_floating_point() and image.isfinite().all()):
            found = "values that are not finite" if image.is_floating_point() else f"{image.dtype} values"
            raise DataError(f"the image is a tensor of {found}; wanted the normalised pixels, as floats.")
        return image.float()


def explain(run: Run | str | Path, image: Explainable) -> Explanation:
    """Explain what a trained network, or that of a run directory, says about an image.

    For more than one image make an `Explainer` once.

    Raises:
        CheckpointError: There is no such run.
        DataError: The image can't be read, or the tensor is no normalised image of the network's size.
    """
    return Explainer(run if isinstance(run, Run) else load(run)).explain(image)
