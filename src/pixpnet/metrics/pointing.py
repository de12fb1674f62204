"""The pointing game: how much of a map lies on the object (energy: Wang et al. 2020, Score-CAM)."""

from __future__ import annotations

import torch
from jaxtyping import Bool, Float, Float64
from torch import Tensor

from pixpnet.types import Box


def box_mask(box: Box, *, image_size: tuple[int, int]) -> Bool[Tensor, "H W"]:
    """The pixels whose centres lie in the box."""
    y, x = (torch.arange(size, dtype=torch.float64) + 0.5 for size in image_size)
    return ((y >= box.top) & (y < box.bottom))[:, None] & ((x >= box.left) & (x < box.right))


def energy_share(
    maps: Float[Tensor, "b H W"], inside: Bool[Tensor, "b H W"]
) -> tuple[Float64[Tensor, "b"], Bool[Tensor, "b"]]:
    """Share of each map's energy inside the object, and where it is defined.

    Negative values have no energy. A map without any has no share: 0 and False.
    """
    energy = maps.double().clamp(min=0)
    total = energy.sum(dim=(1, 2))
    shares = energy.where(inside, 0.0).sum(dim=(1, 2)) / total.where(total > 0, 1.0)
    return shares, total > 0


def top_pixels(maps: Float[Tensor, "b H W"], *, share: float = 0.1) -> Bool[Tensor, "b H W"]:
    """The largest share of each map's pixels (rounded, at least one); of equals the lower flat index."""
    flat = maps.flatten(1) + 0.0
    count = max(1, round(share * flat.shape[1]))
    chosen = torch.sort(flat, dim=1, descending=True, stable=True).indices[:, :count]
    top = torch.zeros_like(flat, dtype=torch.bool)
    return top.scatter_(1, chosen, True).reshape(maps.shape)


def top_share(
    maps: Float[Tensor, "b H W"], inside: Bool[Tensor, "b H W"], *, share: float = 0.1
) -> Float64[Tensor, "b"]:
    """Of each map's top pixels, the share inside the object."""
    top = top_pixels(maps, share=share)
    return (top & inside).sum(dim=(1, 2)).double() / top.sum(dim=(1, 2))
