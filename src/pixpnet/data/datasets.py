"""The table of data sets, one record and one function that opens it each, found by a loosely spelled name."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from pixpnet.choices import nearest_names
from pixpnet.config import DatasetConfig, to_kebab
from pixpnet.data.cars import read_cars
from pixpnet.data.cifar10 import BATCHES, UNPACKED, unpack_cifar10
from pixpnet.data.cub import read_cub
from pixpnet.data.decode import highest_value, is_deep
from pixpnet.data.folder import find_tree, read_folder, read_imagenet, read_imagenette
from pixpnet.data.funnybirds import read_funnybirds
from pixpnet.data.labels import check_folders, open_csv
from pixpnet.data.listing import left_out_in_words
from pixpnet.data.rgb import range_bits
from pixpnet.data.sources import find_root, holds, missing
from pixpnet.data.spec import Archive, DatasetSpec, Geometry, ImageSet
from pixpnet.errors import ConfigError, DataError, FileError
from pixpnet.files import read_json
from pixpnet.synthbirds import GENERATOR_VERSION, render_dataset
from pixpnet.types import IMAGENET, STANDARD, Normalization, Progress, Reading, no_progress

_logger = logging.getLogger(__name__)

_SAMPLED_HEADS, _SAMPLED_PICTURES = 256, 32
"""Of how many training images the heads are read, and how many of those of 16 bits are decoded."""

_CUB = Normalization(mean=(0.4862, 0.5005, 0.4334), std=(0.2321, 0.2277, 0.2665))
_CARS = Normalization(mean=(0.4708, 0.4602, 0.4550), std=(0.2891, 0.2882, 0.2967))
_CIFAR10 = Normalization(mean=(0.4914, 0.4822, 0.4465), std=(0.2023, 0.1994, 0.2010))


def open_cub(spec: DatasetSpec, config: DatasetConfig, progress: Progress) -> ImageSet:
    """A folder in the layout of CUB-200-2011; CUB itself is downloaded where it is missing."""
    return read_cub(find_root(spec, config, progress), spec=spec)


def open_cars(spec: DatasetSpec, config: DatasetConfig, progress: Progress) -> ImageSet:
    """Stanford Cars in any layout."""
    for folder in ("", spec.folder):
        if images := read_cars(Path(config.root, folder), spec=spec):
            return images
    raise missing(spec, config)


def open_cifar10(spec: DatasetSpec, config: DatasetConfig, progress: Progress) -> ImageSet:
    """CIFAR-10, downloaded and written as PNG files on first use."""
    for place in (Path(config.root, folder, UNPACKED) for folder in ("", spec.folder)):
        if holds(place, ("images.txt",)):
            return read_cub(place, spec=spec)
    batches = find_root(spec, config, progress)
    place = batches.parent if batches.name == BATCHES else batches
    _logger.info("unpacking %s to %s", place / BATCHES, place / UNPACKED)
    return read_cub(unpack_cifar10(place / BATCHES, place / UNPACKED, progress=progress), spec=spec)


def open_imagenet(spec: DatasetSpec, config: DatasetConfig, progress: Progress) -> ImageSet:
    """A folder of ImageNet's synsets."""
    return read_imagenet(find_root(spec, config), spec=spec)


def open_imagenette(spec: DatasetSpec, config: DatasetConfig, progress: Progress) -> ImageSet:
    """ImageNette: fastai's folder, or ten folders of ImageNet; downloaded where neither is there."""
    size = config.imagenette_size
    archives = [_IMAGENETTE[size]] if size else [*_IMAGENETTE.values()]
    folders = ["", spec.folder, *archives, *(f"{spec.folder}/{name}" for name in archives)]
    if size is None:
        folders.append("imagenet")
    return read_imagenette(find_root(spec, config, progress, folders=folders), spec=spec)


def open_funnybirds(spec: DatasetSpec, config: DatasetConfig, progress: Progress) -> ImageSet:
    """FunnyBirds as it is published, or in the layout of CUB-200-2011."""
    for place in (Path(config.root, folder) for folder in ("", spec.folder)):
        if holds(place, spec.markers):
            return read_funnybirds(place, spec=spec, progress=progress)
        if holds(place, ("images.txt",)):
            return read_cub(place, spec=spec)
    raise missing(spec, config)


def open_folder(spec: DatasetSpec, config: DatasetConfig, progress: Progress) -> ImageSet:
    """A folder of folders of images."""
    root = find_tree(spec, Path(config.root))
    images = read_folder(root, spec=spec, test_size=config.test_size, seed=config.seed)
    if not (root / "train").is_dir():
        check_folders(images)
    return images


def open_synthbirds(spec: DatasetSpec, config: DatasetConfig, progress: Progress) -> ImageSet:
    """Read SynthBirds from a folder of `root` that names what it was rendered with; render it, if need be.

    Raises:
        ConfigError: A parameter out of range.
        DataError: `root` itself holds a rendered set, but not the one that the options describe.
    """
    root = Path(config.root)
    wanted = {
        "classes": config.classes,
        "size": spec.image_size(config.size)[0],
        "train_images": config.train_images,
        "test_images": config.test_images,
        "seed": config.seed,
    }
    if holds(root, spec.markers):
        _check_rendered(root, wanted)
        return read_cub(root, spec=spec)
    name = "-".join(f"{option.removesuffix('_images')}{value}" for option, value in wanted.items())
    folder = render_dataset(root / spec.folder / f"{name}-v{GENERATOR_VERSION}", **wanted, progress=progress)
    return read_cub(folder, spec=spec)


def _check_rendered(root: Path, wanted: Mapping[str, int]) -> None:
    """Hold what a folder was rendered with against what is wanted."""
    path = root / "attributes.json"
    try:
        found = read_json(path)["parameters"]
        different = [name for name, value in wanted.items() if found[name] != value]
    except (FileError, KeyError, TypeError) as error:
        raise DataError(f"{path} does not tell what SynthBirds was rendered with: {error!r}.") from error
    if different:
        values = ", ".join(f"{name.replace('_', '-')} {found[name]}" for name in different)
        raise DataError(
            f"{root} holds another SynthBirds than the options describe: it has {values}. Ask for these, or "
            "for another root."
        )


def _cub_archive(config: DatasetConfig) -> Archive:
    return Archive(
        url="https://data.caltech.edu/records/65de6-vp158/files/CUB_200_2011.tgz?download=1",
        md5="97eceeb196236b17998738112f37df78",
        folder="CUB_200_2011",
    )


def _cifar10_archive(config: DatasetConfig) -> Archive:
    """The authors' archive, as torchvision knows it."""
    from torchvision.datasets import CIFAR10

    return Archive(url=CIFAR10.url, md5=CIFAR10.tgz_md5, folder=BATCHES)


_IMAGENETTE = {"full": "imagenette2", "320px": "imagenette2-320", "160px": "imagenette2-160"}
"""What fastai's archives unpack to."""


def _imagenette_archive(config: DatasetConfig) -> Archive:
    """Fastai's archive of the size that is asked for (full), as torchvision knows it."""
    from torchvision.datasets import Imagenette

    size = config.imagenette_size or "full"
    url, md5 = Imagenette._ARCHIVES[size]
    return Archive(url=url, md5=md5, folder=_IMAGENETTE[size])


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
        archive=_cifar10_archive,
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
        normalization=IMAGENET,
        fixed_geometry=Geometry(crop=224),
    ),
    DatasetSpec(
        name="IMAGENETTE",
        open=open_imagenette,
        folder="imagenette",
        markers=("train", "val"),
        source="It is downloaded on first use (https://github.com/fastai/imagenette).",
        archive=_imagenette_archive,
        num_classes=10,
        normalization=IMAGENET,
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
        is_layout=True,
        markers=("images.txt",),
        source="Give a folder in the layout of CUB-200-2011 as dataset.root (docs/howto/cub.md).",
    ),
    DatasetSpec(
        name="FOLDER",
        open=open_folder,
        folder="folder",
        is_layout=True,
        markers=("train",),
        source=(
            "Give a folder with train/<class>/<image> and test/<class>/<image>, or with <class>/<image>, "
            "as dataset.root (docs/howto/your_own_folder.md). Where a table tells the classes, take "
            "dataset.name csv (docs/howto/labels_in_a_table.md)."
        ),
    ),
    DatasetSpec(
        name="CSV",
        open=open_csv,
        folder="csv",
        is_layout=True,
        markers=(),
        source=(
            "Give a folder with a table (CSV: a line for each image, columns for image and label) and the "
            "images beside or below it as dataset.root (docs/howto/labels_in_a_table.md)."
        ),
    ),
)

DATASETS: dict[str, DatasetSpec] = {spec.name: spec for spec in _ALL}

_NORMALIZATIONS: Mapping[str, Normalization | None] = {"imagenet": IMAGENET, "measured": None}


def dataset_title(dataset: DatasetConfig) -> str:
    """What people call a data set: its name, or its folder's where the name is that of a layout."""
    return Path(dataset.root).name if find_dataset(dataset.name).is_layout else dataset.name


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
    near = [known[match].name for match in nearest_names(_plain(name), known, most=3, cutoff=0.6)]
    hint = f"; did you mean {' or '.join(near)}?" if near else "."
    if Path(name).is_dir():
        hint = f"; it is a folder of pictures? Give dataset.name folder, and dataset.root {name}."
    raise ConfigError(f"dataset.name {name!r} is not known{hint} There are {', '.join(DATASETS)}.")


def read_dataset(config: DatasetConfig, *, progress: Progress = no_progress) -> ImageSet:
    """Find the data set below `dataset.root` and read its tables.

    What can be made (SYNTHBIRDS) or downloaded (CUB*, CIFAR10, IMAGENETTE) is, where it is missing.

    Args:
        config: Which set, and what of it.
        progress: Told (done, in all) of each step of that: bytes of a download, bytes of an archive, images.

    Raises:
        ConfigError: Unknown name, or an option of tables for a set without one.
        DataError: Missing or damaged files.
    """
    spec = find_dataset(config.name)
    for option in ("table", "columns", "group_by"):
        if getattr(config, option) is not None and spec.open is not open_csv:
            raise ConfigError(f"dataset.{to_kebab(option)}: is for dataset.name csv, not for {spec.name}")
    if config.min_images > 1 and spec.open not in (open_folder, open_csv):
        raise ConfigError(f"dataset.min-images: is for dataset.name folder or csv, not for {spec.name}")
    images = _without_small_classes(spec.open(spec, config, progress), config.min_images)
    images = _with_reading(images, reading_of(config))
    if images.left_out:
        _logger.warning("%s: files are left out: %s", images.root, left_out_in_words(images.left_out))
    if spec.num_classes not in (None, images.num_classes):
        _logger.warning(
            "%s has %d classes, %s holds %d.", spec.name, spec.num_classes, images.root, images.num_classes
        )
    if config.normalization in _NORMALIZATIONS:
        wanted = _NORMALIZATIONS[config.normalization]
        return replace(images, spec=replace(images.spec, normalization=wanted))
    return images


def _without_small_classes(images: ImageSet, least: int) -> ImageSet:
    """The set without classes of fewer images, which are named; the others are numbered anew.

    Raises:
        DataError: There is no other.
    """
    counts = Counter(record.label for record in (*images.train, *images.test))
    small = {name: counts[label] for label, name in enumerate(images.class_names) if counts[label] < least}
    if not small:
        return images
    told = ", ".join(f"{name} ({count})" for name, count in small.items())
    if len(small) == images.num_classes:
        raise DataError(f"{images.root}: no class has {least} images (dataset.min-images): {told}.")
    _logger.warning("%s: classes of fewer than %d images are left out: %s", images.root, least, told)
    kept = [label for label, name in enumerate(images.class_names) if name not in small]
    number = {label: place for place, label in enumerate(kept)}
    train, test = (
        tuple(replace(one, label=number[one.label]) for one in records if one.label in number)
        for records in (images.train, images.test)
    )
    names = tuple(images.class_names[label] for label in kept)
    return replace(images, class_names=names, train=train, test=test, small_classes=small)


def reading_of(config: DatasetConfig) -> Reading:
    """How the options say that pictures are read."""
    return Reading(config.orientation, config.max_pixels, config.bits, config.mask_label)


def _with_reading(images: ImageSet, reading: Reading) -> ImageSet:
    """The set with the records' reading, of so many bits as the training images use."""
    reading = replace(reading, bits=_bits_of_set(images, reading) if reading.bits is None else reading.bits)
    if reading == STANDARD:
        return images
    train, test = (
        tuple(replace(record, reading=reading) for record in records)
        for records in (images.train, images.test)
    )
    return replace(images, train=train, test=test, reading=reading)


def _bits_of_set(images: ImageSet, reading: Reading) -> int | None:
    """Of training images stored in 16 bits that don't say how many they use; None: there are none.

    A sample decides for all, so that a dark picture stays darker than the others.
    """
    sample = images.train[:: -(-len(images.train) // _SAMPLED_HEADS)]
    deep = [record.path for record in sample if is_deep(record.path, reading)]
    highest = [highest_value(path, reading) for path in deep[:: -(-len(deep) // _SAMPLED_PICTURES) or 1]]
    if not deep:
        return None
    bits = range_bits(max(highest))
    _logger.info(
        "%s: pictures stored in 16 bits are read as %d bits, as the largest number in %d of them is %d "
        "(dataset.bits)",
        images.root,
        bits,
        len(highest),
        max(highest),
    )
    return bits


def prepare(name: str, root: Path | str = "data", *, progress: Progress = no_progress) -> ImageSet:
    """Bring a data set into a state in which training can start: downloaded, unpacked, rendered, readable.

    Raises:
        ConfigError: Unknown name.
        DataError: It cannot be had; the error says what to do by hand.
    """
    return read_dataset(DatasetConfig(name=name, root=str(root)), progress=progress)


def _plain(name: str) -> str:
    return name.replace("-", "").replace("_", "").upper()
