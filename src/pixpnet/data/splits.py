"""The images of a run: training, validation, projection and test."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import partial
from typing import TypeVar

from PIL import Image, ImageStat

from pixpnet.config import DatasetConfig
from pixpnet.data.cache import CACHES, ImageCache
from pixpnet.data.datasets import find_dataset, read_dataset
from pixpnet.data.decode import load_image
from pixpnet.data.images import ClassificationImages
from pixpnet.data.shares import check_share, evenly_over_classes, hold_out
from pixpnet.data.spec import Geometry, ImageSet
from pixpnet.errors import ConfigError, DataError
from pixpnet.types import ImageRecord, Normalization, Progress, no_progress

_logger = logging.getLogger(__name__)

_Item = TypeVar("_Item")

_DEBUG_BATCHES = 3
_LISTED = 20
"""Images that cannot be read that are told one by one."""
_THREADS = 4


@dataclass(frozen=True)
class Splits:
    """One data set as a run uses it; no image stands in two of training, validation and test."""

    image_set: ImageSet
    geometry: Geometry
    normalization: Normalization
    train: ClassificationImages
    """Augmented."""
    validation: ClassificationImages | None
    projection: ClassificationImages
    """The training images, not augmented (in debug mode, more of them where classes would be left out)."""
    test: ClassificationImages

    @property
    def image_size(self) -> tuple[int, int]:
        """(height, width) of the network's input."""
        return self.geometry.image_size

    @property
    def mean(self) -> tuple[float, float, float]:
        return self.normalization.mean

    @property
    def std(self) -> tuple[float, float, float]:
        return self.normalization.std

    @property
    def class_names(self) -> tuple[str, ...]:
        return self.image_set.class_names


def open_splits(
    config: DatasetConfig,
    *,
    seed: int,
    debug: bool = False,
    batch_size: int = 32,
    normalization: Normalization | None = None,
    progress: Progress = no_progress,
) -> Splits:
    """Read a data set and split it.

    Args:
        config: Which set, and what of it.
        seed: Draws the validation images and the augmentations.
        debug: Keep three batches of each split, spread evenly over the classes.
        batch_size: Of those batches.
        normalization: In place of the set's own, such as that of a pretrained backbone or of a saved run.
        progress: Told how far the rendering of a set is.

    Raises:
        ConfigError: An unknown set, or a value that cannot work.
        DataError: Missing or damaged files, test images that cannot be read among them (unless
            `dataset.on-unreadable` is skip); a class without training images.
    """
    geometry = find_dataset(config.name).geometry(config.size, crop_to_box=config.crop_to_bbox)
    if config.augment_factor < 1:
        raise ConfigError(f"dataset.augment-factor is {config.augment_factor}; give 1 or more.")
    check_share(config.val_size)
    image_set = read_dataset(config, progress=progress)
    if config.on_unreadable == "skip":
        image_set = without_unreadable(image_set, progress=progress)
    training, validation = hold_out(image_set.train, share=config.val_size, seed=seed)
    _check_classes(image_set, training)
    projection, test = training, image_set.test
    if debug:
        limit = _DEBUG_BATCHES * batch_size
        projection = evenly_over_classes(training, max(limit, image_set.num_classes))
        training, validation, test = (
            evenly_over_classes(records, limit) for records in (training, validation, test)
        )
    used = {id(record) for record in (*training, *projection, *validation, *test)}
    # In the set's own order, whatever the seed: runs with other seeds share a cache on the disk.
    kept = tuple(record for record in (*image_set.train, *image_set.test) if id(record) in used)
    cache = CACHES[config.cache](kept, geometry=geometry)
    if normalization is None:
        normalization = image_set.spec.normalization or _measure(training, geometry, cache)
    view = partial(ClassificationImages, geometry=geometry, normalization=normalization, cache=cache)
    if config.on_unreadable == "error":
        _read_all(view(test))
    return Splits(
        image_set=image_set,
        geometry=geometry,
        normalization=normalization,
        train=view(training, augment=True, seed=seed, views=config.augment_factor),
        validation=view(validation) if validation else None,
        projection=view(projection),
        test=view(test),
    )


def without_unreadable(
    images: ImageSet, *, only_test: bool = False, progress: Progress = no_progress
) -> ImageSet:
    """The set without images that cannot be read, which are listed.

    Every image is decoded for it.

    Args:
        images: The set.
        only_test: Leave the training images as they are.
        progress: Told of the images.
    """
    records = (*(() if only_test else images.train), *images.test)
    faults = {}
    for done, (record, reason) in enumerate(zip(records, _faults(records, _read), strict=True), start=1):
        if reason is not None:
            faults[record.image_id] = reason
        progress(done, len(records), "reading images")
    if not faults:
        return images
    reasons = [*faults.values()]
    more = f" and {len(reasons) - _LISTED} more" if len(reasons) > _LISTED else ""
    _logger.warning(
        "%s: %d images that cannot be read are left out: %s%s",
        images.root,
        len(reasons),
        " ".join(reasons[:_LISTED]),
        more,
    )
    train, test = (
        tuple(record for record in records if record.image_id not in faults)
        for records in (images.train, images.test)
    )
    return replace(images, train=train, test=test)


def _read(record: ImageRecord) -> Image.Image:
    return load_image(record.path, record.reading)


def _faults(items: Iterable[_Item], read: Callable[[_Item], object]) -> Iterator[str | None]:
    """Why each of them cannot be read, in order; None: it can."""

    def fault(item: _Item) -> str | None:
        try:
            read(item)
        except DataError as error:
            return str(error)
        return None

    with ThreadPoolExecutor(_THREADS) as pool:
        yield from pool.map(fault, items)


def _read_all(images: ClassificationImages) -> None:
    """Decode all images, so that a damaged one is found before the training and not at the end of it."""
    reasons = [reason for reason in _faults(range(len(images.records)), images.pixels) if reason]
    if reasons:
        more = f" {len(reasons) - 1} more test images are like this." if len(reasons) > 1 else ""
        raise DataError(f"{reasons[0]}{more} (dataset.on-unreadable skip leaves out what cannot be read.)")


def _measure(records: tuple[ImageRecord, ...], geometry: Geometry, cache: ImageCache | None) -> Normalization:
    unchanged = Normalization(mean=(0.0, 0.0, 0.0), std=(1.0, 1.0, 1.0))
    images = ClassificationImages(records, geometry=geometry, normalization=unchanged, cache=cache)
    return measure_normalization(images.pixels(index) for index in range(len(records)))


def measure_normalization(images: Iterable[Image.Image]) -> Normalization:
    """Mean and standard deviation of each colour over all pixels of 8-bit RGB images.

    The sums are whole numbers, so neither order nor number of the images costs precision. A colour that never
    changes gets the standard deviation 1/255, one step of an 8-bit image, so that it can be divided by.

    Raises:
        DataError: There is no image.
    """
    pixels, sums, squares = 0, [0, 0, 0], [0, 0, 0]
    for image in images:
        found = ImageStat.Stat(image)
        pixels += found.count[0]
        for colour in range(3):
            sums[colour] += int(found.sum[colour])
            squares[colour] += int(found.sum2[colour])
    if pixels == 0:
        raise DataError("there is no training image to measure the mean colour on.")
    variances = (pixels * square - total**2 for total, square in zip(sums, squares, strict=True))
    red, green, blue = (total / pixels / 255 for total in sums)
    red_std, green_std, blue_std = (max(math.sqrt(v) / pixels, 1.0) / 255 for v in variances)
    return Normalization(mean=(red, green, blue), std=(red_std, green_std, blue_std))


def _check_classes(image_set: ImageSet, training: tuple[ImageRecord, ...]) -> None:
    filled = {record.label for record in training}
    empty = [name for label, name in enumerate(image_set.class_names) if label not in filled]
    if empty:
        raise DataError(
            f"{len(empty)} of {image_set.num_classes} classes in {image_set.root} have no training image: "
            f"{', '.join(empty[:3])}{', ...' if len(empty) > 3 else ''}."
        )
    if fault := image_set.fault():
        raise DataError(fault)
