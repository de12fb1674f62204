"""The table of mappings from similarities to pixels, and the one function that picks from it."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from pixpnet.choices import choose
from pixpnet.errors import ConfigError
from pixpnet.pixel_space.random import random_map
from pixpnet.pixel_space.receptive_field import receptive_field_map
from pixpnet.pixel_space.request import MapRequest
from pixpnet.pixel_space.upsampling import upsampling_map
from pixpnet.prototypes import PrototypeNetwork
from pixpnet.receptive_fields import ReceptiveField


def prototype_relevance_map(request: MapRequest) -> Float[Tensor, "b n H W"]:
    """Relevance of each pixel for the prototype's best cell (Gautam et al. 2023); needs the extra prp."""
    from pixpnet.pixel_space.prp import prp_map

    return prp_map(request)


MAPPINGS: dict[str, Callable[[MapRequest], Tensor]] = {
    "receptive_field": receptive_field_map,
    "upsampling": upsampling_map,
    "random": random_map,
    "prp": prototype_relevance_map,
}
"""Name -> mapping of a request to maps [b n H W]."""

MAPPING_TITLES = {
    "receptive_field": "receptive field",
    "upsampling": "upsampling",
    "random": "random",
    "prp": "PRP",
}
"""Name -> how people call it."""


def pixel_space_map(
    method: str,
    similarities: Float[Tensor, "b p h w"],
    receptive_field: ReceptiveField,
    image_size: tuple[int, int],
    *,
    prototypes: Sequence[int] | None = None,
    reduction: str = "max",
    sigma_factor: float = 1.0,
    generator: torch.Generator | None = None,
    network: PrototypeNetwork | None = None,
    images: Float[Tensor, "b 3 H W"] | None = None,
    lowest: Float[Tensor, "3"] | None = None,
    highest: Float[Tensor, "3"] | None = None,
    out: Tensor | None = None,
) -> Float[Tensor, "b n H W"]:
    """Which pixels speak for each prototype, and how much.

    Args:
        method: A name of MAPPINGS.
        similarities: Of all prototypes, at every cell.
        receptive_field: Of the network's patches (``ReceptiveField.for_kernel``), for images of this size.
        image_size: (height, width) of the maps.
        prototypes: Indices of the n prototypes to map, in the order wanted; all if None.
        reduction: max, mean or sum; of `receptive_field`. This and all that follows as in `MapRequest`.
        sigma_factor: Of `receptive_field`.
        generator: Of `random`.
        network: Of `prp`.
        images: Of `prp`.
        lowest: Of `prp`.
        highest: Of `prp`.
        out: Memory [b n H W] for the maps, which is returned then. Painting image after image into the same
            one spares `receptive_field` taking some each time; the maps of the other methods are copied.

    Raises:
        ConfigError: If the method or reduction is unknown, a prototype does not exist, sizes differ, or
            something that the method needs is missing.
    """
    mapping = choose(MAPPINGS, method, what="method")
    count = similarities.shape[1]
    chosen = tuple(range(count)) if prototypes is None else tuple(prototypes)
    wrong = [index for index in chosen if not 0 <= index < count]
    if wrong or not chosen:
        found = f"prototype {wrong[0]} does not exist" if wrong else "no prototype was chosen"
        raise ConfigError(f"{found}: there are {count}, numbered from 0")
    if prototypes is not None:
        similarities = similarities[:, list(chosen)]
    maps = mapping(
        MapRequest(
            similarities=similarities,
            receptive_field=receptive_field,
            image_size=image_size,
            prototypes=chosen,
            reduction=reduction,
            sigma_factor=sigma_factor,
            generator=generator,
            network=network,
            images=images,
            lowest=lowest,
            highest=highest,
            out=out,
        )
    )
    return maps if out is None or maps is out else out.copy_(maps)
