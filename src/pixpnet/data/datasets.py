"""The table of data sets: one entry each, found by a loosely spelled name."""

from __future__ import annotations

import difflib
import logging
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from pixpnet.config import DatasetConfig
from pixpnet.data.cifar10 import BATCHES, cifar10_archive
from pixpnet.data.imagenet import imagenette_archive
from pixpnet.data.readers import (
    open_cars,
    open_cifar10,
    open_cub,
    open_folder,
    open_funnybirds,
    open_imagenet,
    open_imagenette,
)
from pixpnet.data.rendered import open_synthbirds
from pixpnet.data.spec import Archive, DatasetSpec, Geometry, ImageSet, Normalization, Progress
from pixpnet.errors import ConfigError

__all__ = ["DATASETS", "find_dataset", "prepare", "read_dataset"]

_logger = logging.getLogger(__name__)

_IMAGENET = Normalization(mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225))
_CUB = Normalization(mean=(0.4862, 0.5005, 0.4334), std=(0.2321, 0.2277, 0.2665))
_CARS = Normalization(mean=(0.4708, 0.4602, 0.4550), std=(0.2891, 0.2882, 0.2967))
_CIFAR10 = Normalization(mean=(0.4914, 0.4822, 0.4465), std=(0.2023, 0.1994, 0.2010))


def _cub_archive(config: DatasetConfig) -> Archive:
    return Archive(
        url="https://data.caltech.edu/records/65de6-vp158/files/CUB_200_2011.tgz?download=1",
        md5="97eceeb196236b17998738112f37df78",
        folder="CUB_200_2011",
        limit=4 * 10**9,
    )


def _cub(name: str, geometry: Geometry) -> DatasetSpec:
    return DatasetSpec(
        name=name,
        open=open_cub,
        folder="CUB_200_2011",
        markers=("images.txt",),
        source="It is downloaded on first use (https://data.caltech.edu/records/65de6-vp158).",
        archive=_cub_archive,
        num_classes=200,
        normalization=_CUB,
        fixed_geometry=geometry,
    )


_ALL = (
    _cub("CUB200", Geometry(resize=510, crop=384)),
    _cub("CUB200224", Geometry(resize=510, crop=384, final=224)),
    _cub("CUB200BBOX", Geometry(to_box=True, resize=(384, 384))),
    _cub("CUB200224BBOX", Geometry(to_box=True, resize=224, crop=224)),
    DatasetSpec(
        name="CARS224",
        open=open_cars,
        folder="cars224",
        markers=("devkit/cars_train_annos.mat",),
        source=(
            "The authors' download of Stanford Cars is gone; copies are on Kaggle ('Stanford Cars Dataset'). "
            "Unpack one there, so that there are cars_train/, cars_test/ and devkit/ with cars_meta.mat, "
            "cars_train_annos.mat and cars_test_annos_withlabels.mat, or train/<class>/ and test/<class>/."
        ),
        num_classes=196,
        normalization=_CARS,
        fixed_geometry=Geometry(resize=(224, 224)),
    ),
    DatasetSpec(
        name="CIFAR10",
        open=open_cifar10,
        folder="cifar10",
        markers=(BATCHES,),
        source="It is downloaded on first use (https://www.cs.toronto.edu/~kriz/cifar.html).",
        archive=cifar10_archive,
        num_classes=10,
        normalization=_CIFAR10,
        fixed_geometry=Geometry(resize=(32, 32), padding=4),
    ),
    DatasetSpec(
        name="IMAGENET",
        open=open_imagenet,
        folder="imagenet",
        markers=("train", "val"),
        source=(
            "ILSVRC2012 is given to registered users of https://image-net.org; "
            "wanted are train/<synset>/ and val/<synset>/ with the images."
        ),
        num_classes=1000,
        normalization=_IMAGENET,
        fixed_geometry=Geometry(crop=224),
    ),
    DatasetSpec(
        name="IMAGENETTE",
        open=open_imagenette,
        folder="imagenette",
        markers=("train", "val"),
        source="It is downloaded on first use (https://github.com/fastai/imagenette).",
        archive=imagenette_archive,
        num_classes=10,
        normalization=_IMAGENET,
        fixed_geometry=Geometry(crop=224),
    ),
    DatasetSpec(
        name="SYNTHBIRDS",
        open=open_synthbirds,
        folder="synthbirds",
        markers=("images.txt", "attributes.json"),
        source="It is rendered on first use.",
        default_size=128,
    ),
    DatasetSpec(
        name="FUNNYBIRDS",
        open=open_funnybirds,
        folder="funnybirds",
        markers=("dataset_train.json",),
        source=(
            "Get FunnyBirds.zip as https://github.com/visinf/funnybirds says, and unpack it there; "
            "a folder in the layout of CUB-200-2011 is read, too."
        ),
    ),
    DatasetSpec(
        name="CUB-LAYOUT",
        open=open_cub,
        folder="cub-layout",
        markers=("images.txt",),
        source="Give a folder in the layout of CUB-200-2011 as dataset.root (docs/howto/cub.md).",
    ),
    DatasetSpec(
        name="FOLDER",
        open=open_folder,
        folder="folder",
        markers=("train",),
        source=(
            "Give a folder with train/<class>/<image> and test/<class>/<image>, or with <class>/<image>, "
            "as dataset.root (docs/howto/your_own_folder.md)."
        ),
    ),
)

DATASETS: dict[str, DatasetSpec] = {spec.name: spec for spec in _ALL}

_NORMALIZATIONS: Mapping[str, Normalization | None] = {"imagenet": _IMAGENET, "measured": None}


def find_dataset(name: str) -> DatasetSpec:
    """The data set of that name; case, `-` and `_` are ignored.

    Raises:
        ConfigError: With the nearest names.

    >>> find_dataset("Cub_200-224").name
    'CUB200224'
    """
    known = {_plain(spec.name): spec for spec in DATASETS.values()}
    if _plain(name) in known:
        return known[_plain(name)]
    near = [known[match].name for match in difflib.get_close_matches(_plain(name), known, n=3)]
    hint = f"; did you mean {' or '.join(near)}?" if near else "."
    raise ConfigError(f"dataset.name {name!r} is not known{hint} There are {', '.join(DATASETS)}.")


def read_dataset(config: DatasetConfig, *, progress: Progress | None = None) -> ImageSet:
    """Find the data set below `dataset.root` and read its tables.

    What can be made (SYNTHBIRDS) or downloaded (CUB*, CIFAR10, IMAGENETTE) is, where it is missing.

    Args:
        config: Which set, and what of it.
        progress: Told (done, in all) of each step of that: bytes of a download, bytes of an archive, images.

    Raises:
        ConfigError: Unknown name.
        DataError: Missing or damaged files.
    """
    spec = find_dataset(config.name)
    images = spec.open(spec, config, progress)
    if spec.num_classes not in (None, images.num_classes):
        _logger.warning(
            "%s has %d classes, %s holds %d.", spec.name, spec.num_classes, images.root, images.num_classes
        )
    if config.normalization in _NORMALIZATIONS:
        wanted = _NORMALIZATIONS[config.normalization]
        return replace(images, spec=replace(images.spec, normalization=wanted))
    return images


def prepare(name: str, root: Path | str = "data", *, progress: Progress | None = None) -> ImageSet:
    """Bring a data set into a state in which training can start: downloaded, unpacked, rendered, readable.

    Raises:
        ConfigError: Unknown name.
        DataError: It cannot be had; the error says what to do by hand.
    """
    return read_dataset(DatasetConfig(name=name, root=str(root)), progress=progress)


def _plain(name: str) -> str:
    return name.replace("-", "").replace("_", "").upper()
