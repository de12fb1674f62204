"""Readers of trees of images, one folder for each class: one's own, ImageNet's (ILSVRC2012) and ImageNette's.

Either `train/<class>/<image>` and `test/<class>/<image>` (or `val/`, `valid/`, `validation/` as the test), or
one tree `<class>/<image>`, of which a share is set aside for the test. That share depends on the names of the
images and `dataset.seed` only: not on the run's seed, and an image that is added moves few others. ImageNet
and ImageNette are tested on their validation images, as is usual for both.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from pixpnet.data.annotations import MASKS, annotated
from pixpnet.data.decode import FORMATS
from pixpnet.data.listing import (
    below,
    folders_in,
    left_out_in_words,
    loose_pictures,
    only_folder,
    pictures_below,
)
from pixpnet.data.shares import set_aside
from pixpnet.data.spec import DatasetSpec, ImageSet
from pixpnet.errors import DataError, MissingDataError
from pixpnet.types import ImageRecord

_logger = logging.getLogger(__name__)

_TESTS = ("test", "val", "valid", "validation")
SPLIT_NAMES = frozenset(("train", "training", "testing", *_TESTS))
"""Names that are of no class, if there are folders in it."""


def find_tree(spec: DatasetSpec, root: Path) -> Path:
    """The folder of the tree: `root`, the folder of the set's name in it, or the only one in one of these.

    Raises:
        MissingDataError: There is no folder of images.
    """
    for place in (root, root / spec.folder):
        if (place / "train").is_dir():
            return place
    place = only_folder(root, but_for=SPLIT_NAMES)
    if place not in (root, root / spec.folder):
        _logger.info(
            "%s holds nothing but a folder of folders, which would be one class: %s is read", root, place
        )
    if not class_folders(place):
        raise MissingDataError(
            f"{spec.name} was not found: looked for folders of images in {root}. {spec.source}"
        )
    return place


def read_folder(root: Path, *, spec: DatasetSpec, test_size: float, seed: int) -> ImageSet:
    """Read a tree of images and what may lie beside it: parts.csv, boxes.csv, masks/.

    Raises:
        DataError: No class, a class without images, a test class missing from training, or
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
    folders = class_folders(train) if names is None else {name: train / name for name in names}
    if not folders:
        raise DataError(f"{train} holds no folder; wanted one for each class.")
    test_folders = {} if test is None else class_folders(test)
    for name, folder in test_folders.items():
        if name not in folders and names is None:
            raise DataError(f"{folder} is a class that {train} does not have.")
    left_out: Counter[str] = Counter()
    records = []
    for tree, found in ((train, folders), (test, test_folders)):
        places = [(label, found[name]) for label, name in enumerate(folders) if name in found]
        records.append(
            tuple(
                ImageRecord(name, path, label)  # its id is its path below the root
                for label, place in places
                for name, path in below(root, pictures_below(place, left_out)).items()
            )
        )
        if tree is not None and (loose := loose_pictures(tree)):
            left_out[f"in {tree.name} but in no class's folder"] = len(loose)
    filled = {record.label for record in records[0]}
    for label, folder in enumerate(folders.values()):
        if label not in filled:
            others: Counter[str] = Counter()
            pictures_below(folder, others)
            but = f", but files that are left out: {left_out_in_words(others)}" if others else ""
            raise DataError(f"{folder} holds no image ({', '.join(FORMATS)}){but}.")
    return ImageSet(spec, root, tuple(folders), train=records[0], test=records[1], left_out=left_out)


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
    if not class_folders(root / "val") and loose_pictures(root / "val"):
        raise DataError(
            f"{root / 'val'} holds images, wanted a folder of them for each synset as in {root / 'train'}; "
            "sort them by ILSVRC2012_validation_ground_truth.txt (docs/howto/imagenet.md shows how)."
        )


def _check_names(root: Path, *, has_train: bool) -> None:
    """Raises where a split that is not spelled as we read it would be taken for a class, or be left aside."""
    missing = root / ("test" if has_train else "train")
    for name, folder in class_folders(root).items():
        is_read = has_train and name.lower() == "train"
        if name.lower() in SPLIT_NAMES and not is_read and class_folders(folder):
            raise DataError(
                f"{folder} holds folders like a split, but there is no {missing}; "
                "wanted train/<class>/<image> and test/<class>/<image>, with these names."
            )


def class_folders(place: Path) -> dict[str, Path]:
    """The folders in a folder by their names, without those of the masks of the others."""
    found = folders_in(place)
    if MASKS in found and any((found[MASKS] / folder.name).is_dir() for folder in found.values()):
        del found[MASKS]
    return found
