"""Reading a trained network back."""

from __future__ import annotations

import logging
from collections.abc import Iterable
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from textwrap import shorten
from typing import NamedTuple, TypeGuard

import numpy as np
import torch
from jaxtyping import Float, UInt8
from PIL import Image
from torch import Tensor

from pixpnet.backbones import backbone_of
from pixpnet.config import Config, config_from_yaml
from pixpnet.data import (
    ClassificationImages,
    Geometry,
    ImageSet,
    PictureSource,
    array_of,
    evaluation_transform,
    find_dataset,
    first_transform,
    name_of,
    read_dataset,
    read_picture,
    reading_of,
    to_normalized,
    without_unreadable,
)
from pixpnet.errors import CheckpointError, ConfigError, DataError
from pixpnet.files import is_there, read_json, read_numbers, real_path, sha256_of
from pixpnet.prototypes import PrototypeNetwork, build_network
from pixpnet.receptive_fields import ReceptiveField, receptive_field
from pixpnet.records import checked
from pixpnet.runs.checkpoint import Checkpoint, load_checkpoint
from pixpnet.runs.directory import MODEL_FILE, RunDirectory
from pixpnet.runs.edits import Edit, Standing, read_history
from pixpnet.runs.manifest import read_manifest
from pixpnet.runs.model_folder import read_model
from pixpnet.runs.thumbnails import read_thumbnail
from pixpnet.types import ImageRecord, Normalization, PrototypeSource
from pixpnet.words import counted, visible

_logger = logging.getLogger(__name__)


class Tested(NamedTuple):
    """How a run does on its test images."""

    accuracy: float
    class_accuracy: float
    images: int
    when: str = ""
    """Where it is not measured now."""


@dataclass(frozen=True, repr=False)
class Run:
    """A trained network (on the CPU, in eval mode) and what is needed to use it."""

    network: PrototypeNetwork
    config: Config
    sources: tuple[PrototypeSource, ...]
    """The training patch of each prototype; empty if the checkpoint was written between projections."""
    class_names: tuple[str, ...]
    image_size: tuple[int, int]
    """(height, width) of the network's input."""
    mean: tuple[float, float, float]
    """Subtracted from each colour channel of an image in [0, 1]."""
    std: tuple[float, float, float]
    """Divides each colour channel after that."""
    epoch: int
    checkpoint: Path
    edits: tuple[Edit, ...] = ()
    """What was done by hand to the prototypes since the training."""

    def __repr__(self) -> str:
        height, width = self.image_size
        field = self.receptive_field()
        rows, columns = field.grid_size
        names = shorten(", ".join(self.class_names), 80, placeholder=" …")
        pixels = f"{rows}×{columns} patches, each {field.mean_percent:.1f} % of the image on average"
        edits = f", edited by hand ({counted(len(self.edits), 'edit')})" if self.edits else ""
        lines = (
            f"Run {self.checkpoint}",
            f"  network     {self.config.model.network}",
            f"  images      {height}×{width} pixels: {pixels}",
            f"  prototypes  {self.network.num_prototypes:,}, {self.config.model.distance} distance{edits}",
            f"  classes     {len(self.class_names):,}: {names}",
            f"  data        {self.config.dataset.name} in {self.config.dataset.root}",
        )
        return "\n".join(map(visible, lines))

    def require_sources(self) -> None:
        """Check that the prototypes are training patches.

        Raises:
            CheckpointError: The checkpoint was written between projections.
        """
        if not self.sources:
            raise CheckpointError(
                f"{self.checkpoint}: its prototypes are not training patches; it was written between "
                "projections, or the run had none (train.no-push-prototypes)."
            )

    @property
    def device(self) -> torch.device:
        """Where the network is."""
        return self.network.prototypes.device

    @property
    def normalization(self) -> Normalization:
        """How the network's input is made of an image in [0, 1]."""
        return Normalization(self.mean, self.std)

    @property
    def geometry(self) -> Geometry:
        """What of a file the network is tested on."""
        config = self.config.dataset
        return find_dataset(config.name).geometry(config.size, crop_to_box=config.crop_to_bbox)

    def images(
        self, records: Iterable[ImageRecord], *, geometry: Geometry | None = None
    ) -> ClassificationImages:
        """Images of the run's data set, as the network is tested on them (or in another geometry)."""
        return ClassificationImages(
            tuple(records),
            geometry=self.geometry if geometry is None else geometry,
            normalization=self.normalization,
        )

    def tested(self) -> Tested | None:
        """What the run measured of this network when its training or editing ended; None: it did not."""
        directory = RunDirectory.of_checkpoint(self.checkpoint)
        if directory is None or not is_there(directory.images_file):
            return None
        for edit in reversed(read_history(directory).lines):
            if edit.network is not None and self.checkpoint == directory.edited_file(edit.network):
                return Tested(edit.accuracy, edit.class_accuracy, edit.images, when="when it was edited")
        scores, best = read_numbers(directory.scores_file), directory.chosen_checkpoint()
        is_best = best is not None and best.name == self.checkpoint.name
        prefix = "best_" if is_best and "best_test_accuracy" in scores else ""
        accuracy, of_classes = (
            scores.get(f"{prefix}test_{name}") for name in ("accuracy", "weighted_accuracy")
        )
        if accuracy is None or of_classes is None:
            return None
        images = sum(image.split == "test" for image in read_manifest(directory.images_file).values())
        return Tested(accuracy, of_classes, images, when="when it was trained")

    def read_dataset(self) -> ImageSet:
        """The run's data set, from where the run had it (or `load` was told that it lies).

        Raises:
            MissingDataError: It is gone.
            DataError: It is damaged, or it is another one: it has other classes, or a training image
                that a prototype was projected onto is gone or has changed.
        """
        try:
            images = read_dataset(self.config.dataset)
            if self.config.dataset.on_unreadable == "skip":
                images = without_unreadable(images, only_test=True)
            self._check_dataset(images)
            return images
        except DataError as error:
            raise type(error)(
                f"{error} This is the data of the run {self.checkpoint}; if it lies elsewhere now, give "
                "--dataset-root DIR (in Python: pixpnet.load(path, dataset_root=DIR))."
            ) from error

    def _check_dataset(self, images: ImageSet) -> None:
        if images.class_names != self.class_names:
            counts = f"{len(images.class_names)} classes, not the {len(self.class_names)}"
            if len(images.class_names) == len(self.class_names):
                counts = "other classes than those"
            raise DataError(f"{images.root} has {counts} that the network was trained on.")
        paths = {record.image_id: record.path for record in images.train}
        for source in {source.image_id: source for source in self.sources}.values():
            if source.image_id not in paths:
                raise DataError(
                    f"{images.root} has no training image {source.image_id} ({source.path}), which "
                    f"prototype {source.number} was projected onto."
                )
            if sha256_of(paths[source.image_id]) != source.sha256:
                raise DataError(
                    f"{paths[source.image_id]} has changed since prototype {source.number} was projected "
                    "onto it."
                )

    def receptive_field(self) -> ReceptiveField:
        """The receptive field of each prototype-sized patch of the feature grid."""
        return self._receptive_field

    @cached_property
    def _receptive_field(self) -> ReceptiveField:
        field = receptive_field(self.network.backbone, self.image_size)
        return field.for_kernel(self.network.kernel_size)

    @cached_property
    def image_set(self) -> ImageSet:
        """The run's data set, read once; raises as `read_dataset`."""
        return self.read_dataset()

    @cached_property
    def test_images(self) -> ClassificationImages:
        """The data set's test images, as the network is tested on them."""
        return self.images(self.image_set.test)

    def input_of(self, image: PictureSource | Tensor) -> Float[Tensor, "3 H W"]:
        """A picture, resized and cropped as test images are and normalised, or a tensor that is.

        Raises:
            DataError: The picture can't be read, or the tensor is no normalised image of the network's size.
        """
        if is_normalized(image):
            return self._checked(image)
        return self.input_of_pixels(self.upright(image))

    def upright(self, image: PictureSource | Tensor) -> Image.Image:
        """A picture as the run's data set reads pictures, before it is resized; doubts about it are logged.

        Raises:
            DataError: The picture can't be read.
        """
        if isinstance(image, Tensor):
            image = array_of(image)
        whole, _, doubts = read_picture(image, reading_of(self.config.dataset))
        for doubt in doubts:
            _logger.warning("%s has %s", name_of(image), doubt)
        return whole

    def input_of_pixels(self, upright: Image.Image) -> Float[Tensor, "3 H W"]:
        """Upright 8-bit RGB, resized and cropped as test images are and normalised."""
        seen = evaluation_transform(self.geometry)(first_transform(self.geometry)(upright))
        return to_normalized(seen, self.normalization)

    def source_image(self, source: PrototypeSource) -> UInt8[np.ndarray, "H W 3"]:
        """A prototype's training image as the network saw it: the run's own copy, else the data set's.

        Raises:
            DataError: The copy is damaged; or there is none, and the data set is not as `read_dataset` wants.
        """
        kept = self._thumbnail_file(source)
        if kept is not None:
            return read_thumbnail(kept, image_size=self.image_size)
        index = [record.image_id for record in self._source_images.records].index(source.image_id)
        return np.asarray(self._source_images.pixels(index))

    def source_input(self, source: PrototypeSource) -> Float[Tensor, "3 H W"]:
        """The same as the network's input; raises as `source_image`."""
        return to_normalized(Image.fromarray(self.source_image(source)), self.normalization)

    def require_source_images(self) -> None:
        """Check that there is a training image of each prototype to be shown.

        Raises:
            CheckpointError: As `require_sources`.
            DataError: As `source_image`, but for copies that are damaged.
        """
        self.require_sources()
        if not all(map(self._thumbnail_file, self.sources)):
            _ = self._source_images

    def _thumbnail_file(self, source: PrototypeSource) -> Path | None:
        """The run's own copy of a source's image; None: it has none."""
        directory = RunDirectory.of_checkpoint(self.checkpoint)
        file = None if directory is None else directory.thumbnail_file(source)
        return file if file is not None and is_there(file) else None

    @cached_property
    def _source_images(self) -> ClassificationImages:
        wanted = {source.image_id for source in self.sources}
        try:
            return self.images(record for record in self.image_set.train if record.image_id in wanted)
        except DataError as error:
            raise type(error)(
                f"{error} The run has no copy of its own (train.thumbnails) of some prototypes' images."
            ) from error

    def _checked(self, image: Tensor) -> Float[Tensor, "3 H W"]:
        wanted = (3, *self.image_size)
        if tuple(image.shape) != wanted:
            raise DataError(
                f"the image is a tensor of shape {tuple(image.shape)}; wanted {wanted} of normalised pixels, "
                "or a picture's of any size, in whole numbers or floats in [0, 1]."
            )
        if not image.isfinite().all():
            raise DataError("the image is a tensor of values that are not finite; wanted normalised pixels.")
        return image.float()


def is_normalized(image: PictureSource | Tensor) -> TypeGuard[Tensor]:
    """Whether it is a network's input, normalised already, and no picture yet to be read.

    Tensors are pictures as arrays are, channels first, of whole numbers or of floats in [0, 1]; floats beyond
    (also NaN) are no picture's.
    """
    if not (isinstance(image, Tensor) and image.is_floating_point()):
        return False
    return not bool(((image >= 0) & (image <= 1)).all())


def load(path: str | Path, *, dataset_root: str | Path | None = None) -> Run:
    """A run directory's best (else last) network, that of a ``.ckpt`` file, or a model that stands alone.

    Where prototypes were edited by hand it is the edited network; the trained one's file gives that.

    Args:
        path: The folder of the run or of `pixpnet export`, or the file.
        dataset_root: Where the run's data lies now, if it has moved: what ``dataset.root`` was in training.

    Raises:
        CheckpointError: if there is no such file or folder, or it isn't what it should be.
        DataError: if the dataset_root is no folder.
    """
    if dataset_root is not None and not Path(dataset_root).is_dir():
        raise DataError(f"there is no folder {dataset_root} (the dataset root).")
    file, edits = Path(path), None
    if (file / MODEL_FILE).is_file():
        file = file / MODEL_FILE
    elif file.suffix not in (".ckpt", Path(MODEL_FILE).suffix):
        directory = RunDirectory.open(file)
        file, edits = network_in_force(directory), read_history(directory).done
    saved = load_checkpoint(file) if file.suffix == ".ckpt" else read_model(file)
    try:
        config = config_from_yaml(saved.config_yaml)
        network = _network(saved, config)
    except (ConfigError, CheckpointError) as error:
        raise CheckpointError(f"{file}: {error}") from error
    if dataset_root is not None:
        config = replace(config, dataset=replace(config.dataset, root=str(real_path(dataset_root))))
    run = Run(
        network=network.eval(),
        config=config,
        sources=saved.sources,
        class_names=saved.class_names,
        image_size=saved.image_size,
        mean=saved.mean,
        std=saved.std,
        epoch=saved.epoch,
        checkpoint=file,
        edits=saved.edits if edits is None else edits,
    )
    _check_sources(run)
    return run


def _network(saved: Checkpoint, config: Config) -> PrototypeNetwork:
    """The network of a checkpoint; nothing is made that is larger than the checkpoint's own tensors say.

    Raises:
        CheckpointError: They do not fit the configuration.
        ConfigError: It is none, or of nothing that can be built.
    """
    model, classes = config.model, len(saved.class_names)
    own_class, prototypes = (saved.network.get(name) for name in ("head.own_class", "prototypes"))
    if own_class is None or prototypes is None:
        raise CheckpointError("its network lacks head.own_class or prototypes.")
    if own_class.dtype is not torch.bool or own_class.shape != (len(prototypes), classes):
        raise CheckpointError(
            f"its head.own_class has shape {tuple(own_class.shape)} and {own_class.dtype}, but there are "
            f"{len(prototypes)} prototypes and {classes} classes, each the other's or not."
        )
    side = model.prototype_kernel_size
    if prototypes.shape[1:] != (model.prototype_dim, side, side):
        raise CheckpointError(
            f"its prototypes have shape {tuple(prototypes.shape[1:])}, but its configuration says "
            f"{(model.prototype_dim, side, side)}."
        )
    backbone = backbone_of(model, with_weights=False)
    network = build_network(model, num_classes=classes, backbone=backbone, own_class=own_class)
    try:
        network.load_state_dict(saved.network)
    except RuntimeError as error:
        first = str(error).splitlines()[1].strip()
        raise CheckpointError(f"its tensors don't fit its own configuration: {first[:200]}") from error
    for name, tensor in network.state_dict().items():
        if saved.network[name].dtype is not tensor.dtype:
            raise CheckpointError(f"its {name} is {saved.network[name].dtype}, and should be {tensor.dtype}.")
    return network


def _check_sources(run: Run) -> None:
    """Check that each prototype has a source, whose box is what its cell sees.

    Raises:
        CheckpointError: It is not so.
    """
    if not run.sources:
        return
    if len(run.sources) != run.network.num_prototypes:
        raise CheckpointError(
            f"{run.checkpoint}: it has {run.network.num_prototypes} prototypes, but sources of "
            f"{len(run.sources)}."
        )
    field = run._receptive_field
    for source in run.sources:
        is_there = all(place < side for place, side in zip(source.cell, field.grid_size, strict=True))
        if not is_there or field.box(*source.cell) != source.box:
            sees = (
                f"sees {tuple(field.box(*source.cell))}" if is_there else f"is not one of {field.grid_size}"
            )
            raise CheckpointError(
                f"{run.checkpoint}: the source of prototype {source.number} has the box "
                f"{tuple(source.box)}, but its cell {source.cell} {sees}."
            )


def network_in_force(run: RunDirectory) -> Path:
    """The checkpoint of the network in force: the edited one, else the best (else last) that was trained.

    Raises:
        CheckpointError: There is none, or it is not what the list of edits tells of.
    """
    trained, history = best_checkpoint(run), read_history(run)
    if not history.lines:
        return trained
    last = history.lines[-1]
    if sha256_of(trained) != last.trained:
        raise CheckpointError(f"{run.edits_file} tells of another network than {trained}.")
    if last.network is None:
        return trained
    edited = run.edited_file(last.network)
    if not edited.is_file() or sha256_of(edited) != last.network:
        raise CheckpointError(
            f"{edited} is missing or not the network that {run.edits_file} tells of; `pixpnet prototypes "
            f"{run.path} undo` and redo make it anew from {trained}."
        )
    return edited


def forbidden_patches(run: RunDirectory) -> tuple[PrototypeSource, ...]:
    """The patches that were forbidden by hand, here and in the runs that this one goes on from.

    Raises:
        CheckpointError: The list of edits, or that of earlier runs, is damaged.
        FileError: One can't be read.
    """
    file, history, found = run.forbidden_file, read_history(run), ()
    if is_there(file):
        try:
            found = checked(tuple[PrototypeSource, ...], read_json(file))
        except (DataError, ValueError) as error:
            raise CheckpointError(f"{file} is damaged: {error}") from error
    changes = [change for edit in history.done for change in edit.changes]
    if any(change.do == "forbid" for change in changes):
        trained = load_checkpoint(best_checkpoint(run))
        standing = Standing(trained.network["head.own_class"], trained.class_names).after(changes)
        found += tuple(one for one in trained.sources if one.prototype in standing.forbidden)
    return found


def best_checkpoint(run: RunDirectory) -> Path:
    """The trained checkpoint that the run chose, else its last one.

    Raises:
        CheckpointError: There is none, or the one that it chose is gone.
    """
    chosen, last = run.chosen_checkpoint(), run.last_checkpoint()
    if chosen is not None and not chosen.is_file():
        raise CheckpointError(
            f"{chosen}, which {run.best_model_file} says that the run chose, is gone; another one, such as "
            f"{last}, can be given in place of the run."
        )
    return chosen or last
