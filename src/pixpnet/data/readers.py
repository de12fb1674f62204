"""Where a data set lies, and which reader takes it from there."""

from __future__ import annotations

from pathlib import Path

from pixpnet.config import DatasetConfig
from pixpnet.data.cub import read_cub
from pixpnet.data.folder import read_folder
from pixpnet.data.spec import DatasetSpec, ImageSet, Progress
from pixpnet.errors import DataError

__all__ = ["find_root", "holds", "open_cub", "open_folder", "open_later"]


def find_root(spec: DatasetSpec, root: Path) -> Path:
    """The folder that holds the set's marker files: `root` itself, or the set's folder in it.

    Raises:
        DataError: With the folders looked into, and where people get the set.
    """
    places = (root, root / spec.folder)
    for place in places:
        if holds(place, spec.markers):
            return place
    wanted = " and ".join(spec.markers)
    looked = " and ".join(str(place) for place in places)
    raise DataError(f"{spec.name} was not found: looked for {wanted} in {looked}. {spec.source}")


def open_cub(spec: DatasetSpec, config: DatasetConfig, progress: Progress | None) -> ImageSet:
    """A folder in the layout of CUB-200-2011."""
    return read_cub(find_root(spec, Path(config.root)), spec=spec)


def open_folder(spec: DatasetSpec, config: DatasetConfig, progress: Progress | None) -> ImageSet:
    """A folder of folders of images."""
    return read_folder(find_root(spec, Path(config.root)), spec=spec)


def open_later(spec: DatasetSpec, config: DatasetConfig, progress: Progress | None) -> ImageSet:
    """Sets whose sizes and names are known, but whose files this version does not read."""
    raise DataError(
        f"this version cannot read {spec.name}; bring its images into the layout of CUB-200-2011 or of "
        "train/<class>/<image> and test/<class>/<image>, and read them with dataset.name cub-layout or "
        "folder."
    )


def holds(place: Path, markers: tuple[str, ...]) -> bool:
    """Whether a folder has all of a set's marker files."""
    return all((place / marker).exists() for marker in markers)
