"""The table of data sets: one entry each, found by a loosely spelled name."""

from __future__ import annotations

import difflib
import logging

from pixpnet.config import DatasetConfig
from pixpnet.data.readers import open_cub, open_folder, open_later
from pixpnet.data.rendered import open_synthbirds
from pixpnet.data.spec import DatasetSpec, Geometry, ImageSet, Normalization, Progress
from pixpnet.errors import ConfigError

__all__ = ["DATASETS", "find_dataset", "read_dataset"]

_logger = logging.getLogger(__name__)

_IMAGENET = Normalization(mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225))
_CUB = Normalization(mean=(0.4862, 0.5005, 0.4334), std=(0.2321, 0.2277, 0.2665))
_CARS = Normalization(mean=(0.4708, 0.4602, 0.4550), std=(0.2891, 0.2882, 0.2967))
_CIFAR10 = Normalization(mean=(0.4914, 0.4822, 0.4465), std=(0.2023, 0.1994, 0.2010))


def _cub(name: str, geometry: Geometry) -> DatasetSpec:
    return DatasetSpec(
        name=name,
        open=open_cub,
        folder="CUB_200_2011",
        markers=("images.txt",),
        source="Get CUB_200_2011.tgz from https://data.caltech.edu/records/65de6-vp158 and unpack it there.",
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
        open=open_later,
        folder="cars224",
        markers=("cars_train",),
        source="The authors' download of Stanford Cars is gone; copies of it are on Kaggle.",
        num_classes=196,
        normalization=_CARS,
        fixed_geometry=Geometry(resize=(224, 224)),
    ),
    DatasetSpec(
        name="CIFAR10",
        open=open_later,
        folder="cifar10",
        markers=("cifar-10-batches-py",),
        source="Get the Python version from https://www.cs.toronto.edu/~kriz/cifar.html and unpack it.",
        num_classes=10,
        normalization=_CIFAR10,
        fixed_geometry=Geometry(resize=(32, 32), padding=4),
    ),
    DatasetSpec(
        name="IMAGENET",
        open=open_later,
        folder="imagenet",
        markers=("train", "val"),
        source="ILSVRC2012 is given to registered users of https://image-net.org.",
        num_classes=1000,
        normalization=_IMAGENET,
        fixed_geometry=Geometry(crop=224),
    ),
    DatasetSpec(
        name="IMAGENETTE",
        open=open_later,
        folder="imagenette",
        markers=("train", "val"),
        source="Get imagenette2.tgz from https://github.com/fastai/imagenette and unpack it there.",
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
        open=open_cub,
        folder="funnybirds",
        markers=("images.txt",),
        source="This version reads FunnyBirds in the layout of CUB-200-2011 (docs/howto/datasets.md).",
    ),
    DatasetSpec(
        name="CUB-LAYOUT",
        open=open_cub,
        folder="cub-layout",
        markers=("images.txt",),
        source="Give a folder in the layout of CUB-200-2011 as dataset.root (docs/howto/datasets.md).",
    ),
    DatasetSpec(
        name="FOLDER",
        open=open_folder,
        folder="folder",
        markers=("train", "test"),
        source="Give a folder with train/<class>/<image> and test/<class>/<image> as dataset.root.",
    ),
)

DATASETS: dict[str, DatasetSpec] = {spec.name: spec for spec in _ALL}


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
    hint = f"did you mean {' or '.join(near)}? " if near else ""
    raise ConfigError(f"dataset.name {name!r} is not known; {hint}There are {', '.join(DATASETS)}.")


def read_dataset(config: DatasetConfig, *, progress: Progress | None = None) -> ImageSet:
    """Find the data set below `dataset.root` (SYNTHBIRDS: render it, if need be) and read its tables.

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
    return images


def _plain(name: str) -> str:
    return name.replace("-", "").replace("_", "").upper()
