"""Where maps lie: on the object, and on the parts that tell a class from the one most like it."""

from __future__ import annotations

import logging
from typing import NamedTuple

import torch
from jaxtyping import Bool, Float64
from torch import Tensor

from pixpnet.data import PartTruth, part_map, read_part_truth
from pixpnet.errors import DataError
from pixpnet.evaluation.metric import MetricResult, Settings
from pixpnet.evaluation.prototypes import region_methods
from pixpnet.evaluation.subject import SampledMaps, Subject
from pixpnet.metrics import (
    Estimate,
    PrototypeMean,
    boxes_that_hold_a_part,
    energy_share,
    exactly,
    lift,
    ranking_auc,
    telling_parts,
    top_share,
)

_logger = logging.getLogger(__name__)


@torch.no_grad()
def measure_pointing(subject: Subject, method: str | None, settings: Settings) -> MetricResult:
    """Share of the energy, and of the top 10 % of pixels, on the object: of its mask, else of its box.

    Images without either, or with one that shows no object, are left out. Where no map has any energy, as
    with similarities that are all negative, only the other shares are told.

    Raises:
        DataError: No image shows an object.
    """
    assert method is not None
    energy, top = (PrototypeMean(subject.num_prototypes, seed=settings.seed) for _ in range(2))
    sources: list[bool] = []
    areas: list[float] = []
    without_object = 0
    for batch in subject.sampled_maps(method, samples=settings.samples, seed=settings.seed):
        for index, maps in zip(batch.indices, batch.maps, strict=True):
            inside = subject.images.pixels_of_object(index)
            if inside is None:
                record = subject.records[index]
                without_object += record.mask is not None or record.box is not None
                continue
            shares, defined = energy_share(maps, inside.expand(maps.shape))
            energy.update(100 * shares, defined, batch.prototypes)
            tops = 100 * top_share(maps, inside.expand(maps.shape))
            top.update(tops, torch.ones_like(defined), batch.prototypes)
            sources.append(subject.records[index].mask is not None)
            areas.append(100 * inside.double().mean().item())
    if not areas:
        raise DataError(
            "no mask or box shows an object in the images that were drawn; `pixpnet data check` tells of "
            "masks, and dataset.mask-label which number is the object."
        )
    if without_object:
        _logger.warning(
            "%d images are left out of the pointing game: in them nothing tells an object from the rest",
            without_object,
        )
    return MetricResult(
        {
            **({} if energy.is_empty else {"energy": energy.compute()}),
            "top": top.compute(),
            "object": exactly(sum(areas) / len(areas), count=len(areas), left_out=without_object),
            "masks": exactly(100 * sum(sources) / len(sources), count=len(sources)),
        }
    )


def needs_objects(subject: Subject, settings: Settings) -> str | None:
    """Masks, or boxes that tell the object from the rest."""
    if any(one.mask is not None for one in subject.records):
        return None
    boxed = (index for index, one in enumerate(subject.records) if one.box is not None)
    if any(subject.images.pixels_of_object(index) is not None for index in boxed):
        return None
    return f"{subject.image_set.name} has neither masks nor bounding boxes smaller than what the network sees"


class Shown(NamedTuple):
    """What one image shows."""

    parts: Bool[Tensor, "g H W"]
    """The pixels of each telling part."""
    telling: Bool[Tensor, "H W"]
    """The pixels of any telling part."""
    object: Bool[Tensor, "H W"]
    """The pixels of any part at all."""


@torch.no_grad()
def measure_telling_parts(subject: Subject, method: str | None, settings: Settings) -> MetricResult:
    """Where the maps, and the boxes shown for the best cells, lie in images of the prototype's own class.

    Images whose telling parts are all hidden are left out and counted.
    """
    assert method is not None
    truth = read_part_truth(subject.image_set)
    assert truth is not None, "needs_part_truth comes first"
    told = telling_parts(truth.variants)
    tally = _Tally(subject, settings)
    boxes = subject.displayed_boxes(method) if method in region_methods(settings) else None
    for batch in subject.sampled_maps(method, samples=settings.samples, seed=settings.seed):
        numbers = [number for part in told[batch.label].nonzero()[0] for number in truth.ids[part]]
        for row, index in enumerate(batch.indices):
            tally.add(batch, row, _shown(subject, index, truth, numbers), boxes=boxes)
    return MetricResult(tally.values(has_boxes=boxes is not None))


def _shown(subject: Subject, index: int, truth: PartTruth, telling: list[int]) -> Shown:
    numbers = part_map(subject.images, index, truth)
    parts = numbers == torch.tensor(telling, dtype=numbers.dtype)[:, None, None]
    return Shown(parts, parts.any(dim=0), (numbers >= 1) & (numbers <= truth.num_parts))


class _Tally:
    """What is summed up over images."""

    def __init__(self, subject: Subject, settings: Settings) -> None:
        self.seed, self.number = settings.seed, subject.num_prototypes
        self.auc, self.auc_on_object, self.energy, self.region, self.region_chance = (
            PrototypeMean(self.number, seed=self.seed) for _ in range(5)
        )
        self.shares: list[tuple[Tensor, Tensor, Tensor]] = []
        """For pairs: share of the energy, share of the pixels, prototype."""
        self.images = self.hidden = 0

    def add(
        self, batch: SampledMaps, row: int, shown: Shown, *, boxes: Float64[Tensor, "n 4"] | None
    ) -> None:
        """One image of a batch."""
        self.images += 1
        if not shown.telling.any():
            self.hidden += 1
            return
        maps, prototypes = batch.maps[row], batch.prototypes
        self.auc.update(*ranking_auc(maps.flatten(1), shown.telling.flatten()), prototypes)
        self.auc_on_object.update(
            *ranking_auc(maps[:, shown.object], shown.telling[shown.object]), prototypes
        )
        shares, defined = energy_share(maps, shown.telling.expand(maps.shape))
        self.energy.update(100 * shares, defined, prototypes)
        areas = shown.telling.double().mean().expand(len(shares))
        self.shares.append((shares[defined], areas[defined], prototypes[defined]))
        if boxes is not None:
            held = boxes_that_hold_a_part(boxes, shown.parts).double()
            always = torch.ones_like(defined)
            self.region.update(100 * held[batch.cells[row]], always, prototypes)
            self.region_chance.update(100 * held.mean().expand(len(prototypes)), always, prototypes)

    def values(self, *, has_boxes: bool) -> dict[str, Estimate]:
        values = {"auc_on_object": self.auc_on_object.compute(), "auc": self.auc.compute()}
        if not self.energy.is_empty:  # as it is where all similarities are negative
            values |= {"energy": self.energy.compute(), "lift": self._lift()}
        if has_boxes:
            values |= {"in_region": self.region.compute(), "in_region_chance": self.region_chance.compute()}
        return values | {"hidden": exactly(self.hidden, count=self.images)}

    def _lift(self) -> Estimate:
        nothing = (torch.zeros(0).double(), torch.zeros(0).double(), torch.zeros(0).long())
        shares, areas, prototypes = (torch.cat(one) for one in zip(nothing, *self.shares, strict=True))
        return lift(shares, areas, prototypes=prototypes, num_prototypes=self.number, seed=self.seed)


def needs_part_truth(subject: Subject, settings: Settings) -> str | None:
    """Part maps, and the look of each class's parts."""
    try:
        truth = read_part_truth(subject.image_set)
    except DataError as error:
        return str(error)
    if truth is None:
        return f"{subject.image_set.name} does not tell how its classes' parts look"
    if not telling_parts(truth.variants).any():
        return f"no part tells one class of {subject.image_set.name} from another"
    return None
