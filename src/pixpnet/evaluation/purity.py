"""Purity (PIP-Net): do a prototype's most similar test images show one and the same part in its box?"""

from __future__ import annotations

import torch

from pixpnet.data import merge_sides
from pixpnet.evaluation.metric import Metric, Outcome, Quantity, Settings, needs_parts
from pixpnet.evaluation.samples import displayed_boxes, region_methods, see_all
from pixpnet.evaluation.subject import Subject
from pixpnet.metrics import exactly, merge_parts, most_similar_images, parts_in_boxes, purity


@torch.no_grad()
def measure_purity(subject: Subject, method: str | None, settings: Settings) -> Outcome:
    """Purity in each prototype's ten most similar test images, of any class; left and right are one part.

    A box as large as the image holds every part: the area is told beside it.
    """
    assert method is not None
    seen = see_all(subject)
    images = most_similar_images(seen.similarities)
    boxes = displayed_boxes(subject, method)[seen.cells.gather(0, images)]
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
    return Outcome(
        {
            "mean": found.mean,
            "deviation": exactly(found.standard_deviation, count=found.mean.count),
            "above_half": found.above_half,
            "box": exactly(area, count=len(sides)),
        }
    )


PURITY = Metric(
    title="Purity",
    measure=measure_purity,
    quantities={
        "mean": Quantity("purity", "share", "high"),
        "deviation": Quantity("standard deviation over prototypes", "share"),
        "above_half": Quantity("prototypes of purity above 0.5", "share", "high"),
        "box": Quantity("image in the box (of 100 %, purity is 1)", "%"),
    },
    settings=("seed",),
    methods=region_methods,
    needs=(needs_parts,),
)
