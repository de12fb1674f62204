"""The pointing game: how much of the maps lies on the object."""

from __future__ import annotations

import torch

from pixpnet.evaluation.metric import Metric, Outcome, Quantity, Settings, all_methods, needs_objects
from pixpnet.evaluation.samples import sampled_maps
from pixpnet.evaluation.subject import Subject
from pixpnet.metrics import PrototypeMean, energy_share, exactly, top_share


@torch.no_grad()
def measure_pointing(subject: Subject, method: str | None, settings: Settings) -> Outcome:
    """Share of the energy, and of the top 10 % of pixels, on the object: of its mask, else of its box.

    Images without either are left out. Where no map has any energy, as with similarities that are all
    negative, only the other shares are told.
    """
    assert method is not None
    energy, top = (PrototypeMean(len(subject.own_class), seed=settings.seed) for _ in range(2))
    sources: list[bool] = []
    areas: list[float] = []
    for batch in sampled_maps(subject, method, settings):
        for index, maps in zip(batch.indices, batch.maps, strict=True):
            inside = subject.mask(index)
            if inside is None:
                continue
            shares, defined = energy_share(maps, inside.expand(maps.shape))
            energy.update(100 * shares, defined, batch.prototypes)
            tops = 100 * top_share(maps, inside.expand(maps.shape))
            top.update(tops, torch.ones_like(defined), batch.prototypes)
            sources.append(subject.records[index].mask is not None)
            areas.append(100 * inside.double().mean().item())
    return Outcome(
        {
            **({} if energy.is_empty else {"energy": energy.compute()}),
            "top": top.compute(),
            "object": exactly(sum(areas) / len(areas), count=len(areas)),
            "masks": exactly(100 * sum(sources) / len(sources), count=len(sources)),
        }
    )


POINTING = Metric(
    title="Pointing game",
    measure=measure_pointing,
    quantities={
        "energy": Quantity("energy on the object", "%", "high"),
        "top": Quantity("top 10 % of pixels on the object", "%", "high"),
        "object": Quantity("pixels that are the object (chance)", "%"),
        "masks": Quantity("images with a mask, not just a box", "%"),
    },
    settings=("seed", "samples"),
    methods=all_methods,
    needs=(needs_objects,),
)
