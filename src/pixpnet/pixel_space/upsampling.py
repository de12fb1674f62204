"""The maps of ProtoPNet: a similarity map blown up to the image, as if a cell saw its share of it."""

from __future__ import annotations

import math

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional

from pixpnet.pixel_space.request import MapRequest
from pixpnet.receptive_fields import ReceptiveField
from pixpnet.types import Box


@torch.no_grad()
def upsampling_map(request: MapRequest) -> Float[Tensor, "b n H W"]:
    """Bicubic interpolation of the similarities (Chen et al. 2019, section 2.2); without gradient."""
    similarities = request.similarities.to(request.dtype)
    size = tuple(request.image_size)
    return functional.interpolate(similarities, size=size, mode="bicubic", align_corners=False)


def upsampling_region(receptive_field: ReceptiveField, row: int, column: int) -> Box:
    """The box of the image that upsampling suggests for a cell, as large as the box that the cell sees.

    It is the cell's share of the image (row i of h: from i·H/h to (i + 1)·H/h), scaled about its centre to
    the area of the receptive field's box, its shape kept; then moved, and reshaped where a side would be
    longer than the image, until it lies in the image. Its corners are no whole numbers; it is empty where the
    cell sees nothing.
    """
    area = receptive_field.box(row, column).area
    if area == 0:
        return Box(0, 0, 0, 0)
    (height, width), (rows, columns) = receptive_field.image_size, receptive_field.grid_size
    share = height / rows, width / columns
    factor = math.sqrt(area / (share[0] * share[1]))
    tall = min(height, max(factor * share[0], area / width))
    wide = min(width, area / tall)
    top = _inside((row + 0.5) * share[0] - tall / 2, tall, height)
    left = _inside((column + 0.5) * share[1] - wide / 2, wide, width)
    return Box(left, top, min(left + wide, width), min(top + tall, height))


def _inside(start: float, length: float, size: float) -> float:
    return min(max(start, 0.0), size - length)
