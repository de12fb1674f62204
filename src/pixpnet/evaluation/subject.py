"""What is evaluated: a trained network with its test images, their parts and objects, and its maps."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import cached_property
from typing import Any, NamedTuple, TypeVar

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor

from pixpnet.data import ClassificationImages, Geometry, ImageSet, to_normalized
from pixpnet.errors import DataError
from pixpnet.metrics import box_mask
from pixpnet.pixel_space import pixel_space_map
from pixpnet.prototypes import LinearHead, PrototypeNetwork, is_class_specific
from pixpnet.receptive_fields import ReceptiveField, receptive_field
from pixpnet.runs import Run
from pixpnet.seeds import stable_seed
from pixpnet.types import Box, ImageRecord

Item = TypeVar("Item")


class ClassBatch(NamedTuple):
    """Test images of one class, and the prototypes of that class."""

    label: int
    indices: tuple[int, ...]
    """Of the images, in `Subject.records`."""
    prototypes: tuple[int, ...]
    images: Float[Tensor, "b 3 H W"]
    points: Float[Tensor, "b q 2"]
    """Continuous (x, y) of each part, in pixels of the images; no part: q = 0."""
    visible: Bool[Tensor, "b q"]


class Subject:
    """A network on its device in eval mode, and the test images of its run."""

    def __init__(
        self,
        run: Run,
        *,
        image_set: ImageSet | None = None,
        geometry: Geometry | None = None,
        device: torch.device | None = None,
        batch_size: int | None = None,
    ) -> None:
        """
        Args:
            run: It stays as it is; on another device a copy of its network is evaluated.
            image_set: The run's data set; read if none is given.
            geometry: What of each file is an image; none: as the network is tested.
            device: None: a GPU where there is one.
            batch_size: Images at a time; results depend on it by rounding only. None: what the device is fast
                with.

        Raises:
            DataError: The data set is gone, or has no test image.
        """
        self.run = run
        self.device = device or torch.device("cuda" if torch.cuda.is_available() else "cpu")
        network = run.network
        if network.prototypes.device.type != self.device.type:
            network = copy.deepcopy(network).to(self.device)
        self.network: PrototypeNetwork = network.eval()
        self.image_set = run.read_dataset() if image_set is None else image_set
        self.records: tuple[ImageRecord, ...] = self.image_set.test
        if not self.records:
            raise DataError(f"{self.image_set.root} has no test image to evaluate the network on.")
        self.geometry = run.geometry if geometry is None else geometry
        self.batch_size = batch_size or (256 if self.device.type == "cuda" else 32)
        self.on_step: Callable[[int, int], None] = lambda done, total: None
        """Told (steps done, steps in all) by `track`."""
        self.memo: dict[Any, Any] = {}
        """What one measure leaves for the next, by a key of its choice: images need to be seen only once."""
        self._networks: dict[tuple[int, ...], PrototypeNetwork] = {}

    def seen_as(self, geometry: Geometry) -> Subject:
        """The same network and records, with other images of them; the same object each time."""
        key = ("seen_as", geometry)
        if key not in self.memo:
            self.memo[key] = Subject(
                self.run,
                image_set=self.image_set,
                geometry=geometry,
                device=self.device,
                batch_size=self.batch_size,
            )
        self.memo[key].on_step = self.on_step
        return self.memo[key]

    @property
    def image_size(self) -> tuple[int, int]:
        """(height, width) of the images."""
        return self.geometry.image_size

    @cached_property
    def receptive_field(self) -> ReceptiveField:
        """Of the network's patches, in these images."""
        field = receptive_field(self.network.backbone, self.image_size)
        return field.for_kernel(self.network.kernel_size)

    @cached_property
    def images(self) -> ClassificationImages:
        """The test images, with everything that lies in them."""
        return self._pictures(self.records)

    @cached_property
    def _images_without_masks(self) -> ClassificationImages:
        return self._pictures(tuple(replace(record, mask=None) for record in self.records))

    def _pictures(self, records: tuple[ImageRecord, ...]) -> ClassificationImages:
        return self.run.images(records, geometry=self.geometry)

    @property
    def labels(self) -> list[int]:
        """Class of each test image."""
        return [record.label for record in self.records]

    # Prototypes and their classes

    @cached_property
    def own_class(self) -> Bool[Tensor, "p c"]:
        """Whose prototypes they are (on the CPU).

        Where all prototypes belong to all classes, each is taken to be of the class for which it has the
        largest weight (the first of equals). Pruning may leave prototypes without a class.
        """
        own = self.network.own_class.cpu()
        if is_class_specific(own):
            return own
        best = self.network.class_weights().cpu().argmax(dim=1)
        return torch.nn.functional.one_hot(best, own.shape[1]).bool()

    def prototypes_of(self, label: int) -> tuple[int, ...]:
        """The prototypes of a class."""
        return tuple(self.own_class[:, label].nonzero().flatten().tolist())

    def network_of(self, prototypes: Sequence[int]) -> PrototypeNetwork:
        """A network with only these prototypes, numbered from 0, on the same layers; its logit says nothing.

        Comparing with all prototypes takes long where layers are large and prototypes many.
        """
        key = tuple(prototypes)
        if key not in self._networks:
            whole = self.network
            with torch.inference_mode(False):  # for gradients with respect to images, made elsewhere
                owned = torch.ones(len(key), 1, dtype=torch.bool, device=self.device)
                self._networks[key] = PrototypeNetwork(
                    whole.backbone,
                    whole.add_on,
                    prototypes=whole.prototypes.detach()[list(key)],
                    head=LinearHead(owned, correct_strength=1.0, incorrect_strength=0.0),
                    distance=whole.distance,
                    similarity=whole.similarity,
                ).eval()
        return self._networks[key]

    # Images

    def load(self, indices: Sequence[int]) -> Float[Tensor, "b 3 H W"]:
        """Normalised test images, on the device."""
        return self._on_device([self.images[index].image for index in indices])

    def mask(self, index: int) -> Bool[Tensor, "H W"] | None:
        """The pixels of the object in a test image: of its mask, else of its box (on the CPU)."""
        item = self.images.annotated(index)
        if item.mask is not None:
            return item.mask.as_subclass(Tensor)[0] > 0
        if item.box is not None:
            return box_mask(Box(*item.box.as_subclass(Tensor)[0].tolist()), image_size=self.image_size)
        return None

    def parts(self, index: int) -> tuple[Float[Tensor, "q 2"], Bool[Tensor, "q"]]:
        """Where the parts are in a test image, and which of them are visible there (on the CPU)."""
        item = self._images_without_masks.annotated(index)
        assert item.points is not None
        assert item.visible is not None
        return item.points.as_subclass(Tensor).float(), item.visible

    @property
    def lowest(self) -> Float[Tensor, "3"]:
        """The least value of each normalised colour."""
        mean, std = self._normalization
        return (0 - mean) / std

    @property
    def highest(self) -> Float[Tensor, "3"]:
        """The largest."""
        mean, std = self._normalization
        return (1 - mean) / std

    @property
    def _normalization(self) -> tuple[Float[Tensor, "3"], Float[Tensor, "3"]]:
        run = self.run
        return torch.tensor(run.mean, device=self.device), torch.tensor(run.std, device=self.device)

    def sample(self, count: int, *, seed: int) -> list[int]:
        """Test images drawn without replacement, in the order drawn; all where there are no more."""
        generator = torch.Generator().manual_seed(stable_seed(seed, "test images"))
        return torch.randperm(len(self.records), generator=generator)[:count].tolist()

    def class_batches(self) -> Iterator[ClassBatch]:
        """Every test image whose class has prototypes, in batches of one class; tells `on_step`."""
        pieces = []
        for label in sorted(set(self.labels)):
            of_class = [index for index, own in enumerate(self.labels) if own == label]
            if self.prototypes_of(label):
                step = self.batch_size
                pieces += [(label, of_class[at : at + step]) for at in range(0, len(of_class), step)]
        for label, indices in self.track(pieces):
            yield self._class_batch(label, tuple(indices))

    def _class_batch(self, label: int, indices: tuple[int, ...]) -> ClassBatch:
        pictures = self._images_without_masks
        items = [pictures.annotated(index) for index in indices]
        images = self._on_device([to_normalized(item.image, pictures.normalization) for item in items])
        parts = len(self.image_set.part_names)
        points, visible = torch.zeros(len(items), parts, 2), torch.zeros(len(items), parts, dtype=torch.bool)
        for row, item in enumerate(items):
            if parts and item.points is not None and item.visible is not None:
                points[row], visible[row] = item.points.as_subclass(Tensor), item.visible
        return ClassBatch(
            label,
            indices,
            self.prototypes_of(label),
            images,
            points.to(self.device),
            visible.to(self.device),
        )

    def _on_device(self, images: Sequence[Float[Tensor, "3 H W"]]) -> Float[Tensor, "b 3 H W"]:
        return torch.stack(list(images)).to(self.device, memory_format=torch.channels_last)

    def track(self, items: Sequence[Item]) -> Iterator[Item]:
        """The items; `on_step` is told of each that is done."""
        self.on_step(0, len(items))
        for done, item in enumerate(items, start=1):
            yield item
            self.on_step(done, len(items))

    # Similarities and maps

    def similarities(
        self, images: Float[Tensor, "b 3 H W"], prototypes: Sequence[int] | None = None
    ) -> Float[Tensor, "b n _ _"]:
        """Similarity of every patch to these prototypes (none: to all)."""
        network = self.network if prototypes is None else self.network_of(prototypes)
        return network.similarity_maps(network.features(images))

    def maps(
        self,
        method: str,
        images: Float[Tensor, "b 3 H W"],
        similarities: Float[Tensor, "b n h w"],
        prototypes: Sequence[int],
        *,
        seeds: Sequence[int],
    ) -> Float[Tensor, "b n H W"]:
        """Pixel-space maps of these prototypes.

        Args:
            method: A name of ``pixpnet.pixel_space.MAPPINGS``.
            images: Normalised.
            similarities: Of the images to these prototypes (`similarities`).
            prototypes: Which they are.
            seeds: One an image, of the method random; `draw_seeds` makes them.
        """
        if method == "random":
            pairs = zip(similarities.split(1), seeds, strict=True)
            return torch.cat([self._map(method, None, part, seed=seed) for part, seed in pairs])
        return self._map(method, images, similarities, network=self.network_of(prototypes))

    def _map(
        self,
        method: str,
        images: Float[Tensor, "b 3 H W"] | None,
        similarities: Float[Tensor, "b n h w"],
        *,
        network: PrototypeNetwork | None = None,
        seed: int = 0,
    ) -> Float[Tensor, "b n H W"]:
        return pixel_space_map(
            method,
            similarities,
            self.receptive_field,
            self.image_size,
            generator=torch.Generator().manual_seed(seed),
            network=network,
            images=images,
            lowest=self.lowest,
            highest=self.highest,
        )

    def draw_seeds(self, indices: Sequence[int], *, seed: int, purpose: str) -> list[int]:
        """A seed for each image and purpose: what is drawn depends on neither order nor batch size."""
        return [stable_seed(seed, purpose, self.records[index].image_id) for index in indices]

    def best_cells(
        self, images: Float[Tensor, "b 3 H W"], prototypes: Sequence[int]
    ) -> tuple[Float[Tensor, "b n"], Int64[Tensor, "b n 2"]]:
        """Similarity of these prototypes to the images, and (row, column) of the most similar patch."""
        network = self.network_of(prototypes)
        output = network(images)
        columns = self.receptive_field.grid_size[1]
        cells = torch.stack((output.cells // columns, output.cells % columns), dim=-1)
        return output.similarities, cells
