"""Features of a frozen backbone in place of images: computed once, kept on the disk in half precision.

One file holds a slot for each image of the data set, in one view: the image itself, or one augmentation of
it. Its name tells the images, the geometry, the state of the files and what made the features, so that later
runs find it, also with other seeds or heads, and what was interrupted goes on where it stopped.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Iterable, Sequence
from contextlib import ExitStack
from dataclasses import KW_ONLY, dataclass, replace
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn

from pixpnet.data.cache import Slots, record_key, shared_file
from pixpnet.data.images import ClassificationImages, Draw, Sample
from pixpnet.data.splits import Splits
from pixpnet.errors import DataError
from pixpnet.files import locked
from pixpnet.types import ImageRecord, Progress

HALF = np.dtype("<f2")

Compute = Callable[[Float[Tensor, "b 3 H W"]], Float[Tensor, "b d h w"]]
"""From images to their features."""

IMAGES_AT_ONCE = 16


class FeatureExtractor(NamedTuple):
    """A frozen network whose features are kept."""

    compute: Compute
    shape: tuple[int, int, int]
    """(channels, height, width) of an image's features."""
    made_with: str
    """What decides the features beside the images: weights, tiles, normalisation."""


def fingerprint(backbone: nn.Module) -> str:
    """What tells a backbone from all that give other features: structure, tensors, torch's version."""
    digest = hashlib.sha256(repr((torch.__version__, repr(backbone))).encode())
    for name, tensor in backbone.state_dict().items():
        digest.update(repr((name, tensor.dtype, tensor.shape)).encode())
        digest.update(tensor.detach().cpu().contiguous().view(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


class FeatureStore:
    """What a frozen backbone says of each image of a set, in one view.

    Args:
        images: All images of the set in one view, in its own order; where they are augmented, in that of
            their epoch.
        extractor: What says it.
    """

    def __init__(self, images: ClassificationImages, extractor: FeatureExtractor) -> None:
        self.images = images
        self.extractor = extractor
        shape = extractor.shape
        self._slot_of = {record_key(record): slot for slot, record in enumerate(images.records)}
        lengths = [HALF.itemsize * math.prod(shape)] * len(images.records)
        drawn = f"augmented {images.seed} {images.epoch}" if images.augment else "as they are"
        self.path = shared_file(
            "features/*.features",
            images.records,
            images.geometry,
            lengths=lengths,
            way_out="leave train.freeze-backbone out",
            made_with=repr((extractor.made_with, shape, drawn, images.normalization)),
        )
        self._slots = Slots(lengths, path=self.path)

    def missing(self, records: Iterable[ImageRecord]) -> list[ImageRecord]:
        """Those whose features are not there yet."""
        return [one for one in records if self._slots.get(self._slot_of[record_key(one)]) is None]

    def fill(self, records: Sequence[ImageRecord]) -> None:
        """Compute and keep the features of some images.

        Raises:
            DataError: They are not finite in half precision.
        """
        slots = [self._slot_of[record_key(record)] for record in records]
        features = self.extractor.compute(torch.stack([self.images[slot].image for slot in slots]))
        halves = features.half().cpu()
        for record, slot, half in zip(records, slots, halves, strict=True):
            if not half.isfinite().all():
                raise DataError(
                    f"the features of {record.path} are not finite in half precision, in which a frozen "
                    "backbone's are kept; leave train.freeze-backbone out, or take another backbone."
                )
            self._slots.put(slot, half.contiguous().numpy().astype(HALF).tobytes())

    def get(self, record: ImageRecord) -> Float[Tensor, "d h w"]:
        """The features of an image.

        Raises:
            DataError: They are not there, or damaged.
        """
        data = self._slots.get(self._slot_of[record_key(record)])
        if data is None:
            raise DataError(f"{self.path} lacks the features of {record.path}; delete it, and start again.")
        return torch.from_numpy(np.frombuffer(data, HALF).astype(np.float32)).view(self.extractor.shape)


@dataclass(eq=False, repr=False)
class FeatureImages(ClassificationImages):
    """Images whose samples are features; every view is drawn once, in any epoch the same."""

    _: KW_ONLY
    stores: tuple[tuple[FeatureStore, ...], ...]
    """For each view those of the networks whose features lie behind one another."""

    def __getitem__(self, key: int | Draw) -> Sample:
        position = key.position if isinstance(key, Draw) else key
        if not 0 <= position < len(self):
            raise IndexError(f"image {position} of {len(self)}")
        view, index = divmod(position, len(self.records))
        record = self.records[index]
        features = torch.cat([store.get(record) for store in self.stores[view]])
        return Sample(features, record.label, index)


def keep_features(
    splits: Splits,
    extractors: Sequence[FeatureExtractor],
    *,
    views: int,
    seed: int,
    share: slice,
    wait: Callable[[], None],
    progress: Progress,
) -> Splits:
    """The same splits with features in place of images; what is not kept yet is computed now.

    Args:
        splits: Of images.
        extractors: The frozen backbone, or the networks that it joins: each is kept by itself, so that
            another backbone with one of them finds it.
        views: Augmented views of each training image, beside the image itself.
        seed: Draws them.
        share: Which of the missing images this process computes.
        wait: Returns once all processes have called it.
        progress: Told (images done, in all).

    Raises:
        DataError: The files cannot be written, or features are not finite in half precision.
    """
    whole = splits.image_set
    plain = replace(splits.projection, records=(*whole.train, *whole.test))
    augmented = replace(plain, records=whole.train, augment=True, seed=seed)
    drawn = (plain, *(replace(augmented, epoch=view) for view in range(1, views + 1)))
    stores = [tuple(FeatureStore(images, extractor) for extractor in extractors) for images in drawn]
    others = (splits.projection, splits.validation, splits.test)
    wanted = [record for images in others if images is not None for record in images.records]
    wanted = list({record_key(record): record for record in (*splits.train.records, *wanted)}.values())
    work = [(store, wanted) for store in stores[0]]
    work += [(store, splits.train.records) for view in stores[1:] for store in view]
    with ExitStack() as stack:
        if not share.start:  # one process of this run keeps other runs out, whose features may differ a bit
            for store, _ in work:
                stack.enter_context(locked(store.path.with_suffix(".lock"), waits=True))
        wait()
        # Where processes share no disk, each finds missing what others have computed.
        for part in (share, slice(None)):
            _fill(work, part, progress)
            wait()

    def of(images: ClassificationImages, kept: Sequence[tuple[FeatureStore, ...]]) -> FeatureImages:
        return FeatureImages(
            images.records,
            geometry=images.geometry,
            normalization=images.normalization,
            cache=images.cache,
            views=len(kept),
            stores=tuple(kept),
        )

    return replace(
        splits,
        train=of(splits.train, stores),
        validation=None if splits.validation is None else of(splits.validation, stores[:1]),
        projection=of(splits.projection, stores[:1]),
        test=of(splits.test, stores[:1]),
    )


def _fill(
    work: Sequence[tuple[FeatureStore, Sequence[ImageRecord]]],
    part: slice,
    progress: Progress,
) -> None:
    missing = [(store, store.missing(records)[part]) for store, records in work]
    done, total = 0, sum(len(records) for _, records in missing)
    for store, records in missing:
        for start in range(0, len(records), IMAGES_AT_ONCE):
            some = records[start : start + IMAGES_AT_ONCE]
            store.fill(some)
            done += len(some)
            progress(done, total)
