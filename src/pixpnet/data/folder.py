"""Readers of trees of images, one folder for each class: one's own, ImageNet's (ILSVRC2012) and ImageNette's.

Either `train/<class>/<image>` and `test/<class>/<image>` (or `val/`, `valid/`, `validation/` as the test), or
one tree `<class>/<image>`, of which a share is set aside for the test. That share depends on the names of the
images and `dataset.seed` only: not on the run's seed, and an image that is added moves few others. ImageNet
and ImageNette are tested on their validation images, as is usual for both.
"""

from __future__ import annotations

import hashlib
import logging
import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from pixpnet.data.spec import DatasetSpec, ImageSet
from pixpnet.data.tables import MASKS, annotated
from pixpnet.errors import DataError
from pixpnet.types import ImageRecord

_logger = logging.getLogger(__name__)

_SUFFIXES = frozenset((".bmp", ".gif", ".jpeg", ".jpg", ".png", ".ppm", ".tif", ".tiff", ".webp"))
_TESTS = ("test", "val", "valid", "validation")
_SPLITS = frozenset(("train", "training", "testing", *_TESTS))
"""Names that are of no class, if there are folders in it."""


def find_tree(spec: DatasetSpec, root: Path) -> Path:
    """The folder of the tree: `root`, or the folder of the set's name if that is all that `root` holds.

    Raises:
        DataError: There is no folder of images.
    """
    inner = root / spec.folder
    for place in (root, inner):
        if (place / "train").is_dir():
            return place
    place = inner if root.is_dir() and class_folders(root) == (spec.folder,) else root
    if not place.is_dir() or not class_folders(place):
        raise DataError(f"{spec.name} was not found: looked for folders of images in {root}. {spec.source}")
    return place


def read_folder(root: Path, *, spec: DatasetSpec, test_size: float, seed: int) -> ImageSet:
    """Read a tree of images and what may lie beside it: parts.csv, boxes.csv, masks/.

    Raises:
        DataError: No class, a class without images, a class of the test that the training does not have, or
            anything wrong in the tables.
    """
    train = root / "train"
    tests = [root / name for name in _TESTS if (root / name).is_dir()]
    if train.is_dir() and tests:
        for unused in tests[1:]:
            _logger.warning(
                "%s is the test; %s is left aside (dataset.val-size takes validation images from %s)",
                tests[0],
                unused,
                train,
            )
        images = read_trees(root, train, tests[0], spec=spec)
    else:
        _check_names(root, has_train=train.is_dir())
        images = read_trees(root, train if train.is_dir() else root, None, spec=spec)
        kept, test = set_aside(images.train, share=test_size, seed=seed)
        if not test:
            raise DataError(f"{images.root} has no test/, and too few images to set one aside from them.")
        _logger.info(
            "%s has no test/: %d of %d images are set aside for it (dataset.test-size, dataset.seed)",
            root,
            len(test),
            len(images.train),
        )
        images = replace(images, train=kept, test=test)
    return annotated(images)


def read_trees(
    root: Path, train: Path, test: Path | None, *, spec: DatasetSpec, names: Sequence[str] | None = None
) -> ImageSet:
    """The images of two trees; the folders of these names are the classes, else all below `train`, sorted.

    Raises:
        DataError: No class, a class without images, or a class of `test` that `train` does not have.
    """
    class_names = class_folders(train) if names is None else tuple(names)
    if not class_names:
        raise DataError(f"{train} holds no folder; wanted one for each class.")
    for name in () if test is None or names is not None else class_folders(test):
        if name not in class_names:
            raise DataError(f"{test}/{name} is a class that {train} does not have.")
    records: list[tuple[ImageRecord, ...]] = []
    for tree in (train, test):
        if tree is not None:
            _warn_of_loose_images(tree)
            found = [_records(root, tree / name, label) for label, name in enumerate(class_names)]
            records.append(tuple(record for of_class in found for record in of_class))
    filled = {record.label for record in records[0]}
    for label, name in enumerate(class_names):
        if label not in filled:
            raise DataError(f"{train / name} holds no image (of {', '.join(sorted(_SUFFIXES))}).")
    return ImageSet(spec, root, class_names, train=records[0], test=records[1] if test is not None else ())


def read_imagenet(root: Path, *, spec: DatasetSpec) -> ImageSet:
    """Read folders of synsets; with all thousand of them, the classes get torchvision's names.

    Raises:
        DataError: No folder of synsets, or one without images.
    """
    _check_validation(root)
    images = read_trees(root, root / "train", root / "val", spec=spec)
    if images.num_classes != 1000:
        return images
    from torchvision.models import ResNet18_Weights

    return replace(images, class_names=tuple(ResNet18_Weights.IMAGENET1K_V1.meta["categories"]))


def read_imagenette(root: Path, *, spec: DatasetSpec) -> ImageSet:
    """Read the ten classes of ImageNette from its own folder or from that of ImageNet.

    Raises:
        DataError: One of the ten is missing or empty.
    """
    from torchvision.datasets import Imagenette

    names = {synset: words[0] for synset, words in Imagenette._WNID_TO_CLASS.items()}
    _check_validation(root)
    missing = [synset for synset in names if not (root / "train" / synset).is_dir()]
    if missing:
        raise DataError(
            f"{root / 'train'} has {len(names) - len(missing)} of ImageNette's ten folders; "
            f"missing: {', '.join(f'{synset} ({names[synset]})' for synset in missing[:3])}."
        )
    images = read_trees(root, root / "train", root / "val", spec=spec, names=tuple(names))
    return replace(images, class_names=tuple(names.values()))


def _check_validation(root: Path) -> None:
    """The validation images come as one heap."""
    if not class_folders(root / "val") and _images_below(root / "val"):
        raise DataError(
            f"{root / 'val'} holds images, wanted a folder of them for each synset as in {root / 'train'}; "
            "sort them by ILSVRC2012_validation_ground_truth.txt (docs/howto/imagenet.md shows how)."
        )


def _check_names(root: Path, *, has_train: bool) -> None:
    """Raises where a split that is not spelled as we read it would be taken for a class, or be left aside."""
    missing = root / ("test" if has_train else "train")
    for name in class_folders(root):
        is_read = has_train and name.lower() == "train"
        if name.lower() in _SPLITS and not is_read and class_folders(root / name):
            raise DataError(
                f"{root / name} holds folders like a split, but there is no {missing}; "
                "wanted train/<class>/<image> and test/<class>/<image>, with these names."
            )


def set_aside(
    records: Sequence[ImageRecord], *, share: float, seed: int
) -> tuple[tuple[ImageRecord, ...], tuple[ImageRecord, ...]]:
    """What stays, and a share of every class to half an image; at least one of two images, never the last."""
    taken = set()
    for label in {record.label for record in records}:
        ids = [record.image_id for record in records if record.label == label]
        ids.sort(key=lambda name: hashlib.sha256(f"{seed} {name}".encode()).digest())
        taken.update(ids[: min(max(1, round(share * len(ids))), len(ids) - 1)])
    return (
        tuple(record for record in records if record.image_id not in taken),
        tuple(record for record in records if record.image_id in taken),
    )


def class_folders(place: Path) -> tuple[str, ...]:
    """Names of the folders in a folder, hidden ones left aside, and masks of the others."""
    if not place.is_dir():
        return ()
    with os.scandir(place) as entries:
        names = [entry.name for entry in entries if entry.name[0] != "." and entry.is_dir()]
    if MASKS in names and any((place / MASKS / name).is_dir() for name in names):
        names.remove(MASKS)
    return tuple(sorted(names))


def _images_below(place: Path) -> list[Path]:
    """The image files of a folder by their names, then those of the folders in it, linked ones too.

    A folder that several links lead to is read once.
    """
    found, seen = [], set()
    for folder, inner, names in os.walk(place, followlinks=True):
        real = os.path.realpath(folder)
        if real in seen:
            inner.clear()
            continue
        seen.add(real)
        inner[:] = sorted(name for name in inner if name[0] != "." and not _leads_back(folder, name))
        found += [Path(f"{folder}{os.sep}{name}") for name in sorted(names) if _is_image(name)]
    return found


def _is_image(name: str) -> bool:
    return name[0] != "." and os.path.splitext(name)[1].lower() in _SUFFIXES


def _leads_back(folder: str, name: str) -> bool:
    """Whether a folder is a link to one that it lies in, which would never end."""
    inner = os.path.join(folder, name)
    if not os.path.islink(inner):
        return False
    target, here = os.path.realpath(inner), os.path.realpath(folder)
    return os.path.commonpath([target, here]) == target


def _warn_of_loose_images(tree: Path) -> None:
    """Say so where images lie beside the classes' folders: they are of no class."""
    with os.scandir(tree) as entries:
        loose = sorted(entry.name for entry in entries if _is_image(entry.name) and entry.is_file())
    if loose:
        _logger.warning(
            "%s: images in no class's folder are left out: %d (%s%s)",
            tree,
            len(loose),
            loose[0],
            ", ..." if len(loose) > 1 else "",
        )


def _records(root: Path, place: Path, label: int) -> list[ImageRecord]:
    """Records of the images below a folder; their ids are their paths below `root`."""
    # relative_to takes ten times as long
    start = len(root.as_posix().rstrip("/")) + 1 if root != Path() else 0
    return [ImageRecord(path.as_posix()[start:], path, label) for path in _images_below(place)]
