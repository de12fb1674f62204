"""Reader of a tree of images: `train/<class>/<image>` and `test/<class>/<image>`."""

from __future__ import annotations

from pathlib import Path

from pixpnet.data.spec import DatasetSpec, ImageSet
from pixpnet.errors import DataError
from pixpnet.types import ImageRecord

__all__ = ["read_folder"]

_SUFFIXES = frozenset((".bmp", ".gif", ".jpeg", ".jpg", ".png", ".ppm", ".tif", ".tiff", ".webp"))


def read_folder(root: Path, *, spec: DatasetSpec) -> ImageSet:
    """Read a tree of images; the folders below `train` are the classes, in the order of their names.

    Raises:
        DataError: No class, a class without images, or a class of `test` that `train` does not have.
    """
    class_names = _folders(root / "train")
    if not class_names:
        raise DataError(f"{root / 'train'} holds no folder; wanted one for each class.")
    for name in _folders(root / "test"):
        if name not in class_names:
            raise DataError(f"{root / 'test' / name} is a class that {root / 'train'} does not have.")
    train, test = (
        tuple(
            ImageRecord(image_id=path.relative_to(root).as_posix(), path=path, label=label)
            for label, name in enumerate(class_names)
            for path in _images(root / split / name)
        )
        for split in ("train", "test")
    )
    filled = {record.label for record in train}
    for label, name in enumerate(class_names):
        if label not in filled:
            raise DataError(f"{root / 'train' / name} holds no image (of {', '.join(sorted(_SUFFIXES))}).")
    return ImageSet(spec=spec, root=root, class_names=class_names, part_names=(), train=train, test=test)


def _folders(place: Path) -> tuple[str, ...]:
    return tuple(sorted(entry.name for entry in place.iterdir() if entry.is_dir() and entry.name[0] != "."))


def _images(place: Path) -> list[Path]:
    return sorted(path for path in place.rglob("*") if path.suffix.lower() in _SUFFIXES and path.is_file())
