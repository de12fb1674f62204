"""Which object parts lie in a prototype's region. Points and boxes are those of `pixpnet.types`."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from pixpnet.errors import DataError


def square_regions(
    centers: Float[Tensor, "b p 2"], *, half_size: float, image_size: tuple[int, int]
) -> Float[Tensor, "b p 4"]:
    """The boxes [c - half, c + half) around centres (x, y), clipped to the image (height, width)."""
    height, width = image_size
    limits = torch.tensor((width, height), device=centers.device, dtype=centers.dtype)
    low = (centers - half_size).clamp(min=0)
    return torch.cat((low, torch.minimum(centers + half_size, limits)), dim=-1)


def parts_in_boxes(
    boxes: Float[Tensor, "b p 4"], points: Float[Tensor, "b q 2"], visible: Bool[Tensor, "b q"]
) -> Bool[Tensor, "b p q"]:
    """Of each prototype's box, which visible parts lie in it; hidden parts never do."""
    at = points[:, None]
    inside = (at >= boxes[:, :, None, :2]) & (at < boxes[:, :, None, 2:])
    return inside.all(dim=-1) & visible[:, None]


def merge_parts(parts: Bool[Tensor, "*n q"], groups: Sequence[Sequence[int]]) -> Bool[Tensor, "*n g"]:
    """Of each group of parts, whether any is met (or visible); `groups` names parts by position.

    >>> merge_parts(torch.tensor([True, False, False]), ((0, 2), (1,))).tolist()
    [True, False]
    """
    return torch.stack([parts[..., list(group)].any(dim=-1) for group in groups], dim=-1)


def argmax_centers(maps: Float[Tensor, "b p H W"]) -> Float[Tensor, "b p 2"]:
    """(x, y) of the middle of each map's largest pixel, the first in row-major order.

    Raises:
        DataError: A map holds NaN.
    """
    if maps.isnan().any():
        raise DataError("a pixel-space map holds NaN, so it has no largest pixel.")
    first = maps.flatten(2).argmax(dim=2)
    width = maps.shape[3]
    return torch.stack((first % width, first // width), dim=-1).to(maps.dtype) + 0.5


def cell_centers(
    cells: Int[Tensor, "b p 2"], *, grid_size: tuple[int, int], image_size: tuple[int, int]
) -> Float[Tensor, "b p 2"]:
    """(x, y) of the middle of cells (row, column) as upsampling places them: (i + ½)·H/h."""
    scale = torch.tensor([image_size[0] / grid_size[0], image_size[1] / grid_size[1]], device=cells.device)
    return ((cells + 0.5) * scale).flip(-1)
