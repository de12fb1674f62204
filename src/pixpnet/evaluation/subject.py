"""What is evaluated: a trained network on its device, its test images, their parts and objects, its maps."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import NamedTuple, TypeVar

import torch
from jaxtyping import Bool, Float, Float64, Int64
from torch import Tensor

from pixpnet.data import ClassificationImages, Geometry, ImageSet, to_normalized
from pixpnet.errors import DataError
from pixpnet.pixel_space import MAPPINGS, pixel_space_map
from pixpnet.prototypes import LinearHead, PrototypeNetwork, is_class_specific
from pixpnet.receptive_fields import ReceptiveField, receptive_field
from pixpnet.runs import Run
from pixpnet.seeds import stable_seed
from pixpnet.types import ImageRecord

MOST_KEPT = 1 << 26
"""Most pixels of maps that are kept: 256 MB."""

Item = TypeVar("Item")


class ClassBatch(NamedTuple):
    """Test images of one class, and the prototypes of that class."""

    label: int
    indices: tuple[int, ...]
    """Which images of `Subject.records` they are."""
    prototypes: tuple[int, ...]
    images: Float[Tensor, "b 3 H W"]
    points: Float[Tensor, "b q 2"]
    """Continuous (x, y) of each part, in pixels of the images; without parts q = 0."""
    visible: Bool[Tensor, "b q"]


class WholeSet(NamedTuple):
    """What the network says of every test image (on the CPU)."""

    similarities: Float[Tensor, "n p"]
    cells: Int64[Tensor, "n p"]
    """Flat number of each prototype's nearest patch."""
    predicted: Int64[Tensor, "n"]
    """Class."""


class SampledMaps(NamedTuple):
    """Some test images of one class, and maps of that class's prototypes."""

    label: int
    indices: tuple[int, ...]
    """Which images of `Subject.records` they are."""
    prototypes: Int64[Tensor, "n"]
    cells: Int64[Tensor, "b n"]
    """Flat number of each prototype's nearest patch (on the CPU, as the maps)."""
    maps: Float[Tensor, "b n H W"]


class Noise(NamedTuple):
    """What is added to an image; see `pixpnet.metrics.add_noise`."""

    seed: int
    sigma: float
    clip: float | None


class ClassCenters(NamedTuple):
    """Where the prototypes of one class are in test images of that class."""

    prototypes: tuple[int, ...]
    centers: Float[Tensor, "b n 2"]
    """(x, y) in pixels of the images."""
    points: Float[Tensor, "b q 2"]
    visible: Bool[Tensor, "b q"]


@dataclass
class Kept:
    """What one measure leaves for the next: images need to be seen only once."""

    maps: dict[tuple[str, int, int], list[SampledMaps]] = field(default_factory=dict)
    """By method, number of images and seed."""
    centers: dict[tuple[str, str | None, int, Noise | None], list[ClassCenters]] = field(default_factory=dict)
    """By the name of what found them, method, seed and noise."""
    others: dict[Geometry, Subject] = field(default_factory=dict)
    """The same network and records, with other images of them."""
    networks: dict[tuple[int, ...], PrototypeNetwork] = field(default_factory=dict)
    """By their prototypes."""


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
            image_set: None: the run's.
            geometry: What of each file is an image; None: as the network is tested.
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
        self.image_set = run.image_set if image_set is None else image_set
        self.records: tuple[ImageRecord, ...] = self.image_set.test
        if not self.records:
            raise DataError(f"{self.image_set.root} has no test image to evaluate the network on.")
        self.geometry = run.geometry if geometry is None else geometry
        self.batch_size = batch_size or (256 if self.device.type == "cuda" else 32)
        self.on_step: Callable[[int, int], None] = lambda done, total: None
        """Told (steps done, steps in all) by `track`."""
        self.kept = Kept()

    def seen_as(self, geometry: Geometry) -> Subject:
        """The same network and records, with other images of them; the same object each time."""
        if geometry not in self.kept.others:
            self.kept.others[geometry] = Subject(
                self.run,
                image_set=self.image_set,
                geometry=geometry,
                device=self.device,
                batch_size=self.batch_size,
            )
        self.kept.others[geometry].on_step = self.on_step
        return self.kept.others[geometry]

    def forget(self) -> None:
        """Drop what measures have left for each other."""
        self.kept = Kept()

    def track(self, items: Sequence[Item]) -> Iterator[Item]:
        """The items; `on_step` is told of each that is done."""
        self.on_step(0, len(items))
        for done, item in enumerate(items, start=1):
            yield item
            self.on_step(done, len(items))

    @property
    def image_size(self) -> tuple[int, int]:
        """(height, width) of the images."""
        return self.geometry.image_size

    @cached_property
    def receptive_field(self) -> ReceptiveField:
        """The receptive field of the network's patches, in these images."""
        found = receptive_field(self.network.backbone, self.image_size)
        return found.for_kernel(self.network.kernel_size)

    def displayed_boxes(self, method: str) -> Float64[Tensor, "n 4"]:
        """The box that a mapping shows for each cell, in row-major order."""
        rows, columns = self.receptive_field.grid_size
        region = MAPPINGS[method].region
        boxes = [region(self.receptive_field, i, j) for i in range(rows) for j in range(columns)]
        return torch.tensor(boxes, dtype=torch.float64)

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

    @property
    def num_prototypes(self) -> int:
        return len(self.own_class)

    def prototypes_of(self, label: int) -> tuple[int, ...]:
        """The prototypes of a class."""
        return tuple(self.own_class[:, label].nonzero().flatten().tolist())

    def network_of(self, prototypes: Sequence[int]) -> PrototypeNetwork:
        """A network with only these prototypes, numbered from 0, on the same layers; its logit says nothing.

        Comparing with all prototypes takes long where layers are large and prototypes many.
        """
        key, whole = tuple(prototypes), self.network
        if key not in self.kept.networks:
            with torch.inference_mode(False):  # for gradients with respect to images, made elsewhere
                owned = torch.ones(len(key), 1, dtype=torch.bool, device=self.device)
                self.kept.networks[key] = PrototypeNetwork(
                    whole.backbone,
                    whole.add_on,
                    prototypes=whole.prototypes.detach()[list(key)],
                    head=LinearHead(owned, correct_strength=1.0, incorrect_strength=0.0),
                    distance=whole.distance,
                    similarity=whole.similarity,
                ).eval()
        return self.kept.networks[key]

    # Images

    @cached_property
    def images(self) -> ClassificationImages:
        """The test images, with everything that lies in them."""
        return self.run.images(self.records, geometry=self.geometry)

    @cached_property
    def _images_without_masks(self) -> ClassificationImages:
        records = (replace(record, mask=None) for record in self.records)
        return self.run.images(records, geometry=self.geometry)

    @property
    def labels(self) -> list[int]:
        """Class of each test image."""
        return [record.label for record in self.records]

    def load(self, indices: Sequence[int]) -> Float[Tensor, "b 3 H W"]:
        """Normalised test images, on the device."""
        return self._on_device([self.images[index].image for index in indices])

    def parts(self, index: int) -> tuple[Float[Tensor, "q 2"], Bool[Tensor, "q"]]:
        """Where the parts are in a test image, and which of them are visible there (on the CPU)."""
        item = self._images_without_masks.annotated(index)
        assert item.points is not None
        assert item.visible is not None
        return item.points.as_subclass(Tensor).float(), item.visible

    @property
    def lowest(self) -> Float[Tensor, "3"]:
        """The least value of each normalised colour."""
        return self._normalized(0)

    @property
    def highest(self) -> Float[Tensor, "3"]:
        """The largest."""
        return self._normalized(1)

    def _normalized(self, value: float) -> Float[Tensor, "3"]:
        mean, std = (torch.tensor(values, device=self.device) for values in self.run.normalization)
        return (value - mean) / std

    def sample(self, count: int, *, seed: int) -> list[int]:
        """Test images drawn without replacement, in the order drawn; all where there are no more."""
        generator = torch.Generator().manual_seed(stable_seed(seed, "test images"))
        return torch.randperm(len(self.records), generator=generator)[:count].tolist()

    def draw_seeds(self, indices: Sequence[int], *, seed: int, purpose: str) -> list[int]:
        """A seed for each image and purpose: what is drawn depends on neither order nor batch size."""
        return [stable_seed(seed, purpose, self.records[index].image_id) for index in indices]

    def class_batches(self) -> Iterator[ClassBatch]:
        """Every test image whose class has prototypes, in batches of one class; tells `on_step`."""
        for label, indices in self.track(self._by_class(range(len(self.records)))):
            yield self._class_batch(label, indices)

    def _by_class(self, indices: Sequence[int]) -> list[tuple[int, tuple[int, ...]]]:
        """Images class by class, in groups of a batch; classes without prototypes are left out."""
        labels, size, groups = self.labels, self.batch_size, []
        for label in sorted({labels[index] for index in indices}):
            own = tuple(index for index in indices if labels[index] == label)
            if self.prototypes_of(label):
                groups += [(label, own[start : start + size]) for start in range(0, len(own), size)]
        return groups

    def _class_batch(self, label: int, indices: tuple[int, ...]) -> ClassBatch:
        pictures = self._images_without_masks
        items = [pictures.annotated(index) for index in indices]
        images = self._on_device([to_normalized(item.image, pictures.normalization) for item in items])
        parts = len(self.image_set.part_names)
        points, visible = torch.zeros(len(items), parts, 2), torch.zeros(len(items), parts, dtype=torch.bool)
        for row, item in enumerate(items):
            if parts and item.points is not None and item.visible is not None:
                points[row], visible[row] = item.points.as_subclass(Tensor), item.visible
        points, visible = points.to(self.device), visible.to(self.device)
        return ClassBatch(label, indices, self.prototypes_of(label), images, points, visible)

    def _on_device(self, images: Sequence[Float[Tensor, "3 H W"]]) -> Float[Tensor, "b 3 H W"]:
        return torch.stack(list(images)).to(self.device, memory_format=torch.channels_last)

    # Similarities and maps

    @cached_property
    def whole_set(self) -> WholeSet:
        """All prototypes in all test images."""
        size, number = self.batch_size, len(self.records)
        with torch.no_grad():
            outputs = [
                self.network(self.load(range(start, min(start + size, number))))
                for start in self.track(range(0, number, size))
            ]
        return WholeSet(
            torch.cat([output.similarities for output in outputs]).cpu(),
            torch.cat([output.cells for output in outputs]).cpu(),
            torch.cat([output.logits.argmax(dim=1) for output in outputs]).cpu(),
        )

    def similarities(
        self, images: Float[Tensor, "b 3 H W"], prototypes: Sequence[int] | None = None
    ) -> Float[Tensor, "b n _ _"]:
        """Similarity of every patch to these prototypes (None: to all)."""
        network = self.network if prototypes is None else self.network_of(prototypes)
        return network.similarity_maps(network.features(images))

    def best_cells(
        self, images: Float[Tensor, "b 3 H W"], prototypes: Sequence[int]
    ) -> tuple[Float[Tensor, "b n"], Int64[Tensor, "b n 2"]]:
        """Similarity of these prototypes to the images, and (row, column) of the most similar patch."""
        output = self.network_of(prototypes)(images)
        columns = self.receptive_field.grid_size[1]
        cells = torch.stack((output.cells // columns, output.cells % columns), dim=-1)
        return output.similarities, cells

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
            similarities: What `similarities` gives of the images and these prototypes.
            prototypes: Which they are.
            seeds: One for each image, for maps of noise; `draw_seeds` makes them.
        """
        is_baseline = MAPPINGS[method].is_baseline
        network = None if is_baseline else self.network_of(prototypes)
        # Noise is drawn image by image, so that no batch changes it.
        pieces = zip(similarities.split(1), seeds, strict=True) if is_baseline else [(similarities, 0)]
        found = [
            pixel_space_map(
                method,
                part,
                self.receptive_field,
                self.image_size,
                generator=torch.Generator().manual_seed(seed),
                network=network,
                images=None if is_baseline else images,
                lowest=self.lowest,
                highest=self.highest,
            )
            for part, seed in pieces
        ]
        return found[0] if len(found) == 1 else torch.cat(found)

    def sampled_maps(self, method: str, *, samples: int, seed: int) -> Iterator[SampledMaps]:
        """Maps of sampled test images and the prototypes of their own class.

        Those that take long are kept for the next metric that asks, unless they are too large.
        """
        key = (method, samples, seed)
        if key in self.kept.maps:
            yield from self.kept.maps[key]
            return
        made: list[SampledMaps] = []
        keeps = MAPPINGS[method].is_slow
        for label, indices in self.track(self._by_class(self.sample(samples, seed=seed))):
            batch = self._sampled_maps(method, label, indices, seed=seed)
            yield batch
            made += [batch] if keeps else []
            if sum(one.maps.numel() for one in made) > MOST_KEPT:
                keeps = False
                made.clear()
        if keeps:
            self.kept.maps[key] = made

    def _sampled_maps(self, method: str, label: int, indices: tuple[int, ...], *, seed: int) -> SampledMaps:
        prototypes = self.prototypes_of(label)
        network, images = self.network_of(prototypes), self.load(indices)
        features = network.features(images)
        seeds = self.draw_seeds(indices, seed=seed, purpose="map")
        maps = self.maps(method, images, network.similarity_maps(features), prototypes, seeds=seeds)
        cells = network.from_features(features).cells.cpu()
        return SampledMaps(label, indices, torch.tensor(prototypes), cells, maps.detach().cpu())
