"""The prototypes of a class, in the training images that they come from."""

from __future__ import annotations

from typing import Any

from matplotlib.figure import Figure

from pixpnet.choices import choose
from pixpnet.explanation.evidence import source_to_dict
from pixpnet.figures import AtlasEntry, Picture, atlas_figure
from pixpnet.pixel_space import MAPPINGS
from pixpnet.prototypes import is_class_specific
from pixpnet.runs import Run
from pixpnet.words import decimal


def prototypes_of_class(run: Run, class_index: int) -> list[int]:
    """A class's prototypes, largest weight first; where they belong to every class, those from its images."""
    weights = run.network.class_weights()[:, class_index].tolist()
    if is_class_specific(run.network.own_class):
        members = run.network.own_class[:, class_index].nonzero().flatten().tolist()
    else:
        members = [source.prototype for source in run.sources if source.label == class_index]
    return sorted(members, key=lambda prototype: (-weights[prototype], prototype))


def draw_atlas(run: Run, class_index: int, *, method: str = "receptive_field") -> Figure:
    """Every prototype of a class in its training image, with the box that the method shows, and its patch.

    Raises:
        ConfigError: There is no such method.
        DataError: A training image is gone or has changed.
    """
    mapping = choose(MAPPINGS, method, what="method")
    weights = run.network.class_weights()[:, class_index].tolist()
    entries = []
    for prototype in prototypes_of_class(run, class_index):
        source = run.sources[prototype]
        box = mapping.region(run.receptive_field(), *source.cell)
        origin = "" if source.label == class_index else f", from {source.class_name}"
        caption = f"prototype {prototype}, weight {decimal(weights[prototype])}{origin}"
        entries.append(AtlasEntry(Picture(run.source_image(source), box), caption))
    count = f"{len(entries)} prototype{'' if len(entries) == 1 else 's'}"
    return atlas_figure(entries, title=f"{run.class_names[class_index]}: {count}", note=mapping.note)


def atlas_to_dict(run: Run, class_index: int) -> dict[str, Any]:
    """What the atlas shows, as plain values."""
    weights = run.network.class_weights()[:, class_index].tolist()
    return {
        "class_index": class_index,
        "class_name": run.class_names[class_index],
        "prototypes": [
            {"weight": weights[prototype], **source_to_dict(run.sources[prototype])}
            for prototype in prototypes_of_class(run, class_index)
        ],
    }
