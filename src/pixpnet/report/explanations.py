"""Explanations of image files as pictures."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from jaxtyping import UInt8

from pixpnet.data import ClassificationImages, ImageSet, Normalization, find_dataset, read_dataset
from pixpnet.errors import CheckpointError, DataError
from pixpnet.explanation import explain_image
from pixpnet.report.figures import EvidencePictures, explanation_figure
from pixpnet.training import LoadedRun, load
from pixpnet.types import ImageRecord, PrototypeSource

DEFAULT_IMAGES = 6
"""Test images that are explained where none is named: one each of so many classes."""


def explain_images(
    run_dir: str | Path, images: Sequence[str | Path] = (), *, top_k: int = 5, out: str | Path | None = None
) -> list[Path]:
    """Write one PNG per image: the prediction and the ``top_k`` prototypes that speak most for it.

    Args:
        run_dir: A run directory, or one of its checkpoints.
        images: Image files; none: the first test image of each of the first classes.
        top_k: Prototypes shown, by contribution to the predicted class's logit.
        out: Folder of the pictures; none: ``results/explanations`` of the run directory.

    Raises:
        CheckpointError: if there is no such run, or its prototypes are not training patches.
        DataError: if an image, or the training image of a prototype, can't be read.
    """
    run = load(run_dir)
    if not run.sources:
        raise CheckpointError(
            f"{run.checkpoint}: its prototypes are not training patches; it was written between "
            "projections, or the run had none (train.no-push-prototypes)."
        )
    image_set = read_dataset(run.config.dataset)
    records = [ImageRecord(str(path), Path(path), -1) for path in images] or _one_of_each_class(
        image_set.test
    )
    view, sources, field = _view(run, records), SourcePictures(run, image_set), run.receptive_field()
    folder = Path(out) if out is not None else _default_folder(run.checkpoint)
    written: list[Path] = []
    for index, record in enumerate(records):
        explanation = explain_image(
            run.network,
            view[index].image,
            receptive_field=field,
            class_names=run.class_names,
            sources=run.sources,
        )
        shown = [
            EvidencePictures(one, None if one.source is None else sources.picture(one.source))
            for one in explanation.evidence[:top_k]
        ]
        true_class = run.class_names[record.label] if record.label >= 0 else None
        figure = explanation_figure(np.asarray(view.pixels(index)), explanation, shown, true_class=true_class)
        written.append(_free_name(folder, record.path.stem, written))
        folder.mkdir(parents=True, exist_ok=True)
        figure.savefig(written[-1], dpi=110)
    return written


def _default_folder(checkpoint: Path) -> Path:
    """Under the run directory's results, or beside a checkpoint that lies elsewhere."""
    if checkpoint.parent.name == "checkpoints" and len(checkpoint.parents) > 3:
        return checkpoint.parents[3] / "results" / "explanations"
    return checkpoint.parent / "explanations"


def _one_of_each_class(records: Sequence[ImageRecord]) -> list[ImageRecord]:
    first: dict[int, ImageRecord] = {}
    for record in records:
        first.setdefault(record.label, record)
    return list(first.values())[:DEFAULT_IMAGES]


def _view(run: LoadedRun, records: Sequence[ImageRecord]) -> ClassificationImages:
    """Images as the network is tested on them; a file without a bounding box is taken as cropped already."""
    config = run.config.dataset
    geometry = find_dataset(config.name).geometry(config.size, crop_to_box=config.crop_to_bbox)
    if any(record.box is None for record in records):
        geometry = replace(geometry, to_box=False)
    normalization = Normalization(run.mean, run.std)
    return ClassificationImages(tuple(records), geometry=geometry, normalization=normalization)


class SourcePictures:
    """The training images that prototypes come from, as the network saw them."""

    def __init__(self, run: LoadedRun, image_set: ImageSet) -> None:
        wanted = {source.image_id for source in run.sources}
        records = [record for record in image_set.train if record.image_id in wanted]
        self._view = _view(run, records)
        self._index = {record.image_id: index for index, record in enumerate(records)}
        self._root = image_set.root

    def picture(self, source: PrototypeSource) -> UInt8[np.ndarray, "H W 3"]:
        """The pixels of a prototype's training image.

        Raises:
            DataError: if the image is gone or is no longer the one that the prototype was projected onto.
        """
        index = self._index.get(source.image_id)
        if index is None:
            raise DataError(
                f"{self._root} has no training image {source.image_id} ({source.path}), which prototype "
                f"{source.prototype} was projected onto."
            )
        path = self._view.records[index].path
        if hashlib.sha256(path.read_bytes()).hexdigest() != source.sha256:
            raise DataError(f"{path} has changed since prototype {source.prototype} was projected onto it.")
        return np.asarray(self._view.pixels(index))


def _free_name(folder: Path, stem: str, taken: Sequence[Path]) -> Path:
    """A file name that this call has not used yet."""
    path, number = folder / f"{stem}_explanation.png", 0
    while path in taken:
        number += 1
        path = folder / f"{stem}_explanation_{number}.png"
    return path
