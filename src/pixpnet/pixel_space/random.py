"""Maps of noise: what an explanation without any content would score."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from pixpnet.errors import ConfigError
from pixpnet.pixel_space.request import MapRequest


def random_map(request: MapRequest) -> Float[Tensor, "b n H W"]:
    """Uniform noise in [0, 1), drawn on the generator's device: a CPU generator gives one map on all devices.

    Raises:
        ConfigError: Without a generator.
    """
    generator, similarities = request.generator, request.similarities
    if generator is None:
        raise ConfigError(
            "a random map needs its source of noise; pass generator=torch.Generator().manual_seed(0)"
        )
    size = (*similarities.shape[:2], *request.image_size)
    noise = torch.rand(size, generator=generator, device=generator.device, dtype=request.dtype)
    return noise.to(similarities.device)
