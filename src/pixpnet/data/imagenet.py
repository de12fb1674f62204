"""Readers of ImageNet (ILSVRC2012) and ImageNette: `train/<synset>/<image>` and `val/<synset>/<image>`.

The validation images are the test, as is usual for both.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from pixpnet.config import DatasetConfig
from pixpnet.data.folder import class_folders, image_records, images_below, read_trees
from pixpnet.data.spec import Archive, DatasetSpec, ImageSet
from pixpnet.errors import DataError
from pixpnet.types import ImageRecord

__all__ = ["IMAGENETTE_FOLDERS", "imagenette_archive", "read_imagenet", "read_imagenette"]

IMAGENETTE_FOLDERS = {"full": "imagenette2", "320px": "imagenette2-320", "160px": "imagenette2-160"}
"""What fastai's archives unpack to."""


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

    def records(split: str) -> tuple[ImageRecord, ...]:
        found = []
        for label, synset in enumerate(names):
            images = image_records(root, root / split / synset, label=label)
            if not images:
                raise DataError(f"{root / split / synset} ({names[synset]}) holds no image.")
            found += images
        return tuple(found)

    return ImageSet(
        spec=spec,
        root=root,
        class_names=tuple(names.values()),
        part_names=(),
        train=records("train"),
        test=records("val"),
    )


def imagenette_archive(config: DatasetConfig) -> Archive:
    """Fastai's archive of the size that is asked for (full), as torchvision knows it."""
    from torchvision.datasets import Imagenette

    size = config.imagenette_size or "full"
    url, md5 = Imagenette._ARCHIVES[size]
    return Archive(url=url, md5=md5, folder=IMAGENETTE_FOLDERS[size], limit=4 * 10**9)


def _check_validation(root: Path) -> None:
    """The validation images come as one heap."""
    if not class_folders(root / "val") and images_below(root / "val"):
        raise DataError(
            f"{root / 'val'} holds images, wanted a folder of them for each synset as in {root / 'train'}; "
            "sort them by ILSVRC2012_validation_ground_truth.txt (docs/howto/imagenet.md shows how)."
        )
