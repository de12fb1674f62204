"""How much of a prototype's box is the object: by the data set's masks, else by its bounding boxes."""

from __future__ import annotations

import numpy as np
from jaxtyping import Bool
from torch import Tensor

from pixpnet.data import ClassificationImages, ImageSet
from pixpnet.metrics import box_mask
from pixpnet.runs import Run
from pixpnet.types import Box


def object_shares(run: Run, image_set: ImageSet) -> tuple[float | None, ...]:
    """Share of each prototype's box that is the object in its training image; none where nothing tells.

    Raises:
        DataError: A mask cannot be read.
    """
    wanted = {source.image_id for source in run.sources}
    records = tuple(record for record in image_set.train if record.image_id in wanted)
    images = run.images(records)
    objects = {record.image_id: _object(images, index) for index, record in enumerate(records)}
    return tuple(_share(objects.get(source.image_id), source.box) for source in run.sources)


def _object(images: ClassificationImages, index: int) -> Bool[np.ndarray, "H W"] | None:
    """The object's pixels, or those of its bounding box, in the network's input."""
    image = images.annotated(index)
    if image.mask is not None:
        return image.mask.as_subclass(Tensor)[0].bool().numpy()
    if image.box is None:
        return None
    box = Box(*image.box.as_subclass(Tensor)[0].tolist())
    return box_mask(box, image_size=(image.image.height, image.image.width)).numpy()


def _share(pixels: Bool[np.ndarray, "H W"] | None, box: Box) -> float | None:
    if pixels is None:
        return None
    height, width = pixels.shape
    inside = pixels[box_mask(box, image_size=(height, width)).numpy()]
    return float(inside.mean()) if inside.size else None
