"""What a network made of an image, from which maps in pixel space are drawn when they are asked for."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from jaxtyping import Float, Float32
from torch import Tensor

from pixpnet.pixel_space import pixel_space_map
from pixpnet.prototypes import PrototypeNetwork
from pixpnet.receptive_fields import ReceptiveField
from pixpnet.types import Normalization


@dataclass(frozen=True, eq=False)
class PixelMaps:
    """What a network made of an image, from which maps are drawn when they are asked for."""

    network: PrototypeNetwork
    image: Float[Tensor, "3 H W"]
    """The network's input."""
    normalization: Normalization
    """How the input was made."""
    features: Float[Tensor, "1 d h w"]
    receptive_field: ReceptiveField
    """Of the network's patches."""

    @cached_property
    def similarities(self) -> Float[Tensor, "1 p h w"]:
        """Similarity of every patch of the image to every prototype."""
        with torch.no_grad():
            return self.network.similarity_maps(self.features)

    def draw(self, prototype: int, method: str, *, reduction: str, seed: int) -> Float32[np.ndarray, "H W"]:
        """As `Explanation.map`."""
        mean, std = colour_columns(self.normalization, like=self.image)
        maps = pixel_space_map(
            method,
            self.similarities,
            self.receptive_field,
            (self.image.shape[1], self.image.shape[2]),
            prototypes=(prototype,),
            reduction=reduction,
            generator=torch.Generator().manual_seed(seed),
            network=self.network,
            images=self.image[None],
            lowest=((0 - mean) / std).flatten(),
            highest=((1 - mean) / std).flatten(),
        )
        return maps[0, 0].detach().float().cpu().numpy()


def colour_columns(
    normalization: Normalization, *, like: Tensor
) -> tuple[Float[Tensor, "3 1 1"], Float[Tensor, "3 1 1"]]:
    """Mean and standard deviation, to be broadcast over an image."""
    mean, std = like.new_tensor(normalization.mean), like.new_tensor(normalization.std)
    return mean[:, None, None], std[:, None, None]
