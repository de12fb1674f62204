"""The facts of one data set together: its size, its normalisation, where it lies and how it is read."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from pixpnet.config import DatasetConfig
from pixpnet.errors import ConfigError
from pixpnet.types import STANDARD, ImageRecord, Normalization, Progress, Reading


@dataclass(frozen=True)
class Geometry:
    """Which pixels of a file the network sees.

    In order: crop to the object's box, enlarge or resize, (training: augment), crop, resize once more.
    """

    to_box: bool = False
    """Crop to the object's bounding box first."""
    resize: int | tuple[int, int] | None = None
    """Shorter side, keeping the aspect ratio, or (height, width); None: only enlarge what is below `crop`."""
    crop: int | None = None
    """Side of the centre crop; in training, of the random resized crop."""
    padding: int = 0
    """Training crops of the whole image's size are taken from the image with so many black pixels around."""
    crop_scale: tuple[float, float] = (0.08, 1.0)
    """Share of the area that a random resized crop takes, from and to."""
    final: int | None = None
    """Side of a last resize."""

    @property
    def image_size(self) -> tuple[int, int]:
        """(height, width) of what the network sees."""
        side = self.crop if self.final is None else self.final
        if side is not None:
            return (side, side)
        assert isinstance(self.resize, tuple), "a geometry without a crop must end in a fixed size"
        return self.resize


@dataclass(frozen=True)
class ImageSet:
    """All images of a data set, as its files describe them."""

    spec: DatasetSpec
    root: Path
    """The folder that holds the set's own files."""
    class_names: tuple[str, ...]
    train: tuple[ImageRecord, ...]
    test: tuple[ImageRecord, ...]
    part_names: tuple[str, ...] = ()
    left_out: Mapping[str, int] = field(default_factory=dict)
    """Files among the images that are none, by their kind."""
    reading: Reading = STANDARD
    """As all the records have it."""
    small_classes: Mapping[str, int] = field(default_factory=dict)
    """Classes that `dataset.min-images` leaves out, and how many images they have."""

    @property
    def name(self) -> str:
        return self.spec.name

    @property
    def num_classes(self) -> int:
        return len(self.class_names)

    def fault(self) -> str | None:
        """Why nothing can be learnt from the set, if that is so."""
        if self.num_classes < 2:
            return (
                f"{self.root} has one class, {self.class_names[0]}: there is nothing to tell it from. "
                "Is this the folder that it should be?"
            )
        return None if self.test else f"{self.root} has no test image."


@dataclass(frozen=True)
class Archive:
    """A public file that holds a data set."""

    url: str
    md5: str
    folder: str
    """The outermost folder in it."""

    @property
    def file(self) -> str:
        """Its name on the disk."""
        return self.url.rsplit("/", 1)[1].partition("?")[0]


@dataclass(frozen=True)
class DatasetSpec:
    """One entry of the table of data sets (`pixpnet.data.DATASETS`)."""

    name: str
    open: Callable[[DatasetSpec, DatasetConfig, Progress], ImageSet]
    """Finds (or makes) and reads the set."""
    folder: str
    """The set's folder under `dataset.root`."""
    markers: tuple[str, ...]
    """What lies in the set's folder; where `dataset.root` itself holds all of it, it is the set."""
    source: str
    """Where people get the set: the end of the error when it is missing."""
    archive: Callable[[DatasetConfig], Archive] | None = None
    """What is downloaded when the set is missing; None: people get it themselves."""
    num_classes: int | None = None
    """None: whatever the files hold."""
    normalization: Normalization | None = None
    """None: measured on the training images."""
    fixed_geometry: Geometry | None = None
    """None: resize the shorter side to `dataset.size`, then crop the centre."""
    default_size: int = 224
    """`dataset.size` where it is free and not given."""
    is_layout: bool = False
    """Whether the name is that of a layout which any set may have: people call such a set by its folder."""

    def geometry(self, size: int | None, *, crop_to_box: bool = False) -> Geometry:
        """The geometry for `dataset.size` and `dataset.crop-to-bbox`.

        Raises:
            ConfigError: The size is not positive, or is not the one that this set has.
        """
        if size is not None and size < 1:
            raise ConfigError(f"dataset.size is {size}; give a positive number of pixels.")
        geometry = self.fixed_geometry
        if geometry is None:
            side = self.default_size if size is None else size
            geometry = Geometry(resize=side, crop=side, crop_scale=(0.7, 1.0))
        elif size is not None and (size, size) != geometry.image_size:
            raise ConfigError(
                f"dataset.size is {size}, but {self.name} is always {geometry.image_size[0]} pixels wide; "
                "leave dataset.size out, or read the same files as cub-layout or folder."
            )
        return replace(geometry, to_box=geometry.to_box or crop_to_box)

    def image_size(self, size: int | None) -> tuple[int, int]:
        """(height, width) of what the network sees."""
        return self.geometry(size).image_size
