"""Where a data set lies, how it gets there, and which reader takes it from there."""

from __future__ import annotations

import logging
from pathlib import Path

from pixpnet.config import DatasetConfig
from pixpnet.data.archives import extract
from pixpnet.data.cars import find_cars
from pixpnet.data.cifar10 import BATCHES, UNPACKED, unpack_cifar10
from pixpnet.data.cub import read_cub
from pixpnet.data.download import download
from pixpnet.data.folder import find_tree, read_folder
from pixpnet.data.funnybirds import read_funnybirds
from pixpnet.data.imagenet import IMAGENETTE_FOLDERS, read_imagenet, read_imagenette
from pixpnet.data.spec import DatasetSpec, ImageSet, Progress
from pixpnet.errors import DataError

__all__ = [
    "find_root",
    "holds",
    "open_cars",
    "open_cifar10",
    "open_cub",
    "open_folder",
    "open_funnybirds",
    "open_imagenet",
    "open_imagenette",
]

_logger = logging.getLogger(__name__)


def open_cub(spec: DatasetSpec, config: DatasetConfig, progress: Progress | None) -> ImageSet:
    """A folder in the layout of CUB-200-2011; CUB itself is downloaded where it is missing."""
    return read_cub(_found_or_fetched(spec, config, progress), spec=spec)


def open_cars(spec: DatasetSpec, config: DatasetConfig, progress: Progress | None) -> ImageSet:
    """Stanford Cars in any layout."""
    places = _places(spec, config)
    for place in places:
        if read := find_cars(place):
            return read(spec)
    raise _missing(spec, places)


def open_cifar10(spec: DatasetSpec, config: DatasetConfig, progress: Progress | None) -> ImageSet:
    """CIFAR-10, downloaded and written as PNG files on first use."""
    for place in _places(spec, config):
        if holds(place / UNPACKED, ("images.txt",)):
            return read_cub(place / UNPACKED, spec=spec)
    batches = _found_or_fetched(spec, config, progress)
    place = batches.parent if batches.name == BATCHES else batches
    _logger.info("unpacking %s to %s", place / BATCHES, place / UNPACKED)
    return read_cub(unpack_cifar10(place / BATCHES, place / UNPACKED, progress=progress), spec=spec)


def open_imagenet(spec: DatasetSpec, config: DatasetConfig, progress: Progress | None) -> ImageSet:
    """A folder of ImageNet's synsets."""
    return read_imagenet(find_root(spec, Path(config.root)), spec=spec)


def open_imagenette(spec: DatasetSpec, config: DatasetConfig, progress: Progress | None) -> ImageSet:
    """ImageNette: fastai's folder, or ten folders of ImageNet; downloaded where neither is there."""
    root = Path(config.root)
    size = config.imagenette_size
    archives = [IMAGENETTE_FOLDERS[size]] if size else [*IMAGENETTE_FOLDERS.values()]
    folders = ["", spec.folder, *archives, *(f"{spec.folder}/{name}" for name in archives)]
    if size is None:
        folders.append("imagenet")
    for folder in folders:
        if holds(root / folder, spec.markers):
            return read_imagenette(root / folder, spec=spec)
    return read_imagenette(_fetched(spec, config, progress), spec=spec)


def open_funnybirds(spec: DatasetSpec, config: DatasetConfig, progress: Progress | None) -> ImageSet:
    """FunnyBirds as it is published, or in the layout of CUB-200-2011."""
    places = _places(spec, config)
    for place in places:
        if holds(place, ("dataset_train.json",)):
            return read_funnybirds(place, spec=spec, progress=progress)
        if holds(place, ("images.txt",)):
            return read_cub(place, spec=spec)
    raise _missing(spec, places)


def open_folder(spec: DatasetSpec, config: DatasetConfig, progress: Progress | None) -> ImageSet:
    """A folder of folders of images."""
    root = find_tree(spec, Path(config.root))
    return read_folder(root, spec=spec, test_size=config.test_size, seed=config.seed)


def find_root(spec: DatasetSpec, root: Path) -> Path:
    """The folder that holds the set's marker files: `root` itself, or the set's folder in it.

    Raises:
        DataError: With the folders looked into, and where people get the set.
    """
    places = (root, root / spec.folder)
    for place in places:
        if holds(place, spec.markers):
            return place
    raise _missing(spec, places)


def holds(place: Path, markers: tuple[str, ...]) -> bool:
    """Whether a folder has all of a set's marker files."""
    return all((place / marker).exists() for marker in markers)


def _places(spec: DatasetSpec, config: DatasetConfig) -> tuple[Path, ...]:
    return Path(config.root), Path(config.root) / spec.folder


def _missing(spec: DatasetSpec, places: tuple[Path, ...]) -> DataError:
    wanted = " and ".join(spec.markers)
    looked = " and ".join(str(place) for place in places)
    return DataError(f"{spec.name} was not found: looked for {wanted} in {looked}. {spec.source}")


def _found_or_fetched(spec: DatasetSpec, config: DatasetConfig, progress: Progress | None) -> Path:
    for place in _places(spec, config):
        if holds(place, spec.markers):
            return place
    return _fetched(spec, config, progress)


def _fetched(spec: DatasetSpec, config: DatasetConfig, progress: Progress | None) -> Path:
    """The unpacked folder of the set's archive, which may lie in `root` already."""
    places = _places(spec, config)
    if spec.archive is None:
        raise _missing(spec, places)
    root, place = places
    archive = spec.archive(config)
    destination = place if archive.folder == spec.folder else place / archive.folder
    if destination.exists():
        raise DataError(
            f"{destination} is there, but it lacks what {spec.name} needs ({' and '.join(spec.markers)}); "
            "delete it, and it will be made anew."
        )
    file = root / archive.file
    _logger.info(
        "%s is not in %s: %s %s and unpacking it (`pixpnet data prepare %s --root %s` does just that)",
        spec.name,
        root,
        "taking" if file.exists() else "downloading",
        file if file.exists() else archive.url,
        spec.name,
        root,
    )
    try:
        download(archive.url, file, md5=archive.md5, progress=progress)
    except OSError as error:
        raise DataError(f"{spec.name} was not found, and {file} cannot be written: {error}.") from error
    except DataError as error:
        looked = " and ".join(str(folder) for folder in places)
        raise DataError(f"{spec.name} was not found in {looked}, and {error}") from error
    return extract(file, destination, folder=archive.folder, limit=archive.limit, progress=progress)
