"""How much of a prototype's box is the object: by the data set's masks, else by its bounding boxes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from jaxtyping import Bool
from PIL import Image
from torch import Tensor

from pixpnet.data import ClassificationImages, Geometry, ImageSet, Normalization, find_dataset
from pixpnet.data.transforms import evaluation_transform, first_transform, object_window
from pixpnet.errors import DataError
from pixpnet.training import LoadedRun
from pixpnet.types import Box, ImageRecord

__all__ = ["object_shares"]


def object_shares(run: LoadedRun, image_set: ImageSet) -> tuple[float | None, ...]:
    """Share of each prototype's box that is the object in its training image; none where nothing tells.

    A record without a mask of its own has the one that lies where CUB-200-2011 has them,
    ``segmentations/<class>/<image>.png``.

    Raises:
        DataError: A mask cannot be read.
    """
    config = run.config.dataset
    geometry = find_dataset(config.name).geometry(config.size, crop_to_box=config.crop_to_bbox)
    wanted = {source.image_id for source in run.sources}
    records = tuple(record for record in image_set.train if record.image_id in wanted)
    images = ClassificationImages(records, geometry=geometry, normalization=Normalization(run.mean, run.std))
    objects = {}
    for index, record in enumerate(records):
        mask = record.mask or _cub_mask(record, image_set.root)
        objects[record.image_id] = _masked(mask, record, geometry) if mask else _boxed(images, index)
    return tuple(_share(objects.get(source.image_id), source.box) for source in run.sources)


def _cub_mask(record: ImageRecord, root: Path) -> Path | None:
    if not record.path.is_relative_to(root / "images"):
        return None
    relative = record.path.relative_to(root / "images").with_suffix(".png")
    return path if (path := root / "segmentations" / relative).is_file() else None


def _masked(path: Path, record: ImageRecord, geometry: Geometry) -> Bool[np.ndarray, "H W"]:
    """Where the object is, in pixels of the network's input."""
    try:
        with Image.open(path) as file:
            values = np.asarray(file)
    except (OSError, SyntaxError, ValueError) as error:
        raise DataError(f"{path} is not a mask that can be read: {error}.") from error
    is_object = values[..., :3].any(axis=-1) if values.ndim == 3 else values != 0
    mask = Image.fromarray(is_object.astype(np.uint8) * 255)
    if geometry.to_box:
        mask = mask.crop(object_window(record, mask))
    return np.asarray(evaluation_transform(geometry)(first_transform(geometry)(mask))) >= 128


def _boxed(images: ClassificationImages, index: int) -> Bool[np.ndarray, "H W"] | None:
    """The pixels of the object's bounding box, if it has one."""
    image = images.annotated(index)
    if image.box is None:
        return None
    left, top, right, bottom = (round(side) for side in image.box.as_subclass(Tensor)[0].tolist())
    mask = np.zeros((image.image.height, image.image.width), dtype=bool)
    mask[max(top, 0) : max(bottom, 0), max(left, 0) : max(right, 0)] = True
    return mask


def _share(mask: Bool[np.ndarray, "H W"] | None, box: Box) -> float | None:
    if mask is None:
        return None
    left, top, right, bottom = (round(side) for side in box)
    inside = mask[top:bottom, left:right]
    return float(inside.mean()) if inside.size else None
