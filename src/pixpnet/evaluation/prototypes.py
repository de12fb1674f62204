"""What prototypes are over all test images: pure in their parts (PIP-Net), and few for a decision."""

from __future__ import annotations

import torch

from pixpnet.data import merge_sides
from pixpnet.evaluation.metric import MetricResult, Settings
from pixpnet.evaluation.subject import Subject
from pixpnet.metrics import (
    deciding_prototypes,
    exactly,
    merge_parts,
    most_similar_images,
    parts_in_boxes,
    purity,
    sparsity,
    unique_sources,
)
from pixpnet.pixel_space import region_mappings


@torch.no_grad()
def measure_purity(subject: Subject, method: str | None, settings: Settings) -> MetricResult:
    """Purity in each prototype's ten most similar test images, of any class; left and right are one part.

    A box as large as the image holds every part: the area is told beside it.
    """
    assert method is not None
    seen = subject.whole_set
    images = most_similar_images(seen.similarities)
    boxes = subject.displayed_boxes(method)[seen.cells.gather(0, images)]
    looked_at, places = images.unique(return_inverse=True)
    points, visible = (torch.stack(one) for one in zip(*map(subject.parts, looked_at.tolist()), strict=True))
    # One row for each pair of prototype and image: its own points, and one box.
    met = parts_in_boxes(boxes.flatten(0, 1)[:, None], points[places.flatten()], visible[places.flatten()])
    groups = merge_sides(subject.image_set.part_names).members
    found = purity(
        merge_parts(met[:, 0], groups).unflatten(0, images.shape),
        merge_parts(visible[places.flatten()], groups).unflatten(0, images.shape),
        largest_weight=subject.network.class_weights().cpu().amax(dim=1),
        seed=settings.seed,
    )
    height, width = subject.image_size
    sides = (boxes[..., 2:] - boxes[..., :2]).flatten(0, 1)
    area = 100 * sides.prod(dim=1).mean().item() / (height * width)
    return MetricResult(
        {
            "mean": found.mean,
            "deviation": exactly(found.standard_deviation, count=found.mean.count),
            "above_half": found.above_half,
            "box": exactly(area, count=len(sides)),
        }
    )


def region_methods(settings: Settings) -> tuple[str | None, ...]:
    """The mappings that show regions of their own; the others show the receptive field's."""
    return tuple(region_mappings())


def needs_parts(subject: Subject, settings: Settings) -> str | None:
    """Points of parts."""
    if subject.image_set.part_names and any(one.part_points is not None for one in subject.records):
        return None
    return f"{subject.image_set.name} has no part points"


@torch.no_grad()
def measure_sparsity(subject: Subject, method: str | None, settings: Settings) -> MetricResult:
    """Prototypes that make 95 % of the winning logit, over all test images; different sources.

    A run without projections has no sources to count, nor has a network that was pruned after loading.
    """
    seen, number = subject.whole_set, subject.num_prototypes
    weights = subject.network.class_weights().cpu()[:, seen.predicted].T
    values = {
        "deciding": sparsity(*deciding_prototypes(seen.similarities * weights), seed=settings.seed),
        "prototypes": exactly(number, count=number),
    }
    sources = subject.run.sources
    if len(sources) == number:
        unique = unique_sources([one.image_id for one in sources], [one.cell for one in sources])
        values["images"] = exactly(unique.images, count=number)
        values["patches"] = exactly(unique.patches, count=number)
    return MetricResult(values)
