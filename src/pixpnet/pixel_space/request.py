"""What every mapping from similarities to pixels is asked."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from pixpnet.errors import ConfigError
from pixpnet.prototypes import PrototypeNetwork
from pixpnet.receptive_fields import ReceptiveField
from pixpnet.words import sides


@dataclass(frozen=True)
class MapRequest:
    """The one argument of every mapping; each reads what it needs.

    Attributes:
        similarities: Finite similarities of the n prototypes that are mapped.
        receptive_field: Of the network's patches (``ReceptiveField.for_kernel``): one box a cell.
        image_size: (height, width) of the map.
        prototypes: Which of the network's prototypes the n are; all if None.
        reduction: How `receptive_field` joins the cells that cover a pixel.
        sigma_factor: `receptive_field`: standard deviation of a cell's Gaussian, in sides of the full field.
        generator: `random`: its source of noise.
        network: `prp`: the network, in any mode.
        images: `prp`: the normalised images that the similarities belong to.
        lowest: `prp`: the least value that each normalised colour channel can take; from the images if None.
        highest: `prp`: the largest.
        out: Contiguous memory [b n H W] for the maps, of their `dtype`.

    Raises:
        ConfigError: If the similarities, the receptive field and the image do not belong together.
    """

    similarities: Float[Tensor, "b n h w"]
    receptive_field: ReceptiveField
    image_size: tuple[int, int]
    prototypes: tuple[int, ...] | None = None
    reduction: str = "max"
    sigma_factor: float = 1.0
    generator: torch.Generator | None = None
    network: PrototypeNetwork | None = None
    images: Float[Tensor, "b 3 H W"] | None = None
    lowest: Float[Tensor, "3"] | None = None
    highest: Float[Tensor, "3"] | None = None
    out: Tensor | None = None

    def __post_init__(self) -> None:
        grid, wanted = tuple(self.similarities.shape[2:]), self.receptive_field.grid_size
        if grid != wanted:
            raise ConfigError(
                f"the similarities are on a grid of {sides(grid)} cells, the receptive field is of "
                f"{sides(wanted)}; take the field of the network's layer and image size, with "
                "ReceptiveField.for_kernel(k) for prototypes of k×k cells"
            )
        if tuple(self.image_size) != tuple(self.receptive_field.image_size):
            raise ConfigError(
                f"the map is to have {sides(self.image_size)} pixels, but the receptive field is of an "
                f"image of {sides(self.receptive_field.image_size)}; both are (height, width)"
            )
        if self.images is not None:
            given, wanted = tuple(self.images.shape), (len(self.similarities), 3, *self.image_size)
            if given != wanted:
                raise ConfigError(
                    f"images have the shape {sides(given)}, but the rest asks for {sides(wanted)}"
                )
        if self.out is not None:
            self._check_memory(self.out)

    @property
    def dtype(self) -> torch.dtype:
        """Of the maps: that of the similarities, but at least float32."""
        return torch.promote_types(self.similarities.dtype, torch.float32)

    def _check_memory(self, out: Tensor) -> None:
        shape, device = (*self.similarities.shape[:2], *self.image_size), self.similarities.device
        if (out.shape, out.dtype, out.device) != (shape, self.dtype, device) or not out.is_contiguous():
            raise ConfigError(
                f"out must be contiguous memory of {sides(shape)} numbers of {self.dtype} on {device}, "
                f"not {sides(tuple(out.shape))} of {out.dtype} on {out.device}"
            )
        if out.requires_grad or (out.is_inference() and not torch.is_inference_mode_enabled()):
            raise ConfigError("out must not require a gradient, nor come from inference mode outside of it")
