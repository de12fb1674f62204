"""How many prototypes decide, and how many different patches the prototypes are."""

from __future__ import annotations

import torch

from pixpnet.evaluation.metric import Metric, Outcome, Quantity, Settings, no_method
from pixpnet.evaluation.samples import see_all
from pixpnet.evaluation.subject import Subject
from pixpnet.metrics import deciding_prototypes, exactly, sparsity, unique_sources


@torch.no_grad()
def measure_sparsity(subject: Subject, method: str | None, settings: Settings) -> Outcome:
    """Prototypes that make 95 % of the winning logit, over all test images; different sources.

    A run without projections has no sources to count, nor has a network that was pruned after loading.
    """
    seen = see_all(subject)
    weights = subject.network.class_weights().cpu()[:, seen.predicted].T
    values = {
        "deciding": sparsity(*deciding_prototypes(seen.similarities * weights), seed=settings.seed),
        "prototypes": exactly(len(subject.own_class), count=len(subject.own_class)),
    }
    sources = subject.run.sources
    if len(sources) == len(subject.own_class):
        unique = unique_sources([one.image_id for one in sources], [one.cell for one in sources])
        values["images"] = exactly(unique.images, count=len(sources))
        values["patches"] = exactly(unique.patches, count=len(sources))
    return Outcome(values)


SPARSITY = Metric(
    title="Sparsity",
    measure=measure_sparsity,
    quantities={
        "deciding": Quantity("prototypes that make 95 % of the winning logit", "prototypes", "low"),
        "prototypes": Quantity("prototypes", "prototypes"),
        "images": Quantity("different source images", "images"),
        "patches": Quantity("different source patches", "patches"),
    },
    settings=("seed",),
    methods=no_method,
)
