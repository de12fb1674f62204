"""The receptive-field map: each cell paints its similarity on the pixels it sees, and on no others.

A cell paints its similarity times a Gaussian that is centred on its unclipped receptive field and cut to its
box (PixPNet, Carmichael et al. 2024). The Gaussian and the box are products of rows and columns, so no loop
over cells is needed: the sum is ``Gyᵀ S Gx``, and the maximum is one over columns followed by one over rows.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from pixpnet.choices import choose
from pixpnet.errors import ConfigError
from pixpnet.pixel_space.canvas import Canvas, make_canvas
from pixpnet.pixel_space.request import MapRequest

Reduction = Callable[[Tensor, Canvas, Tensor], None]
"""Paints similarities [m h w] on a canvas, into maps [m H W]."""

BLOCK = 1 << 21
"""Elements that are worked on at a time: few enough for a processor's cache."""

HUGE_PAGE = 1 << 21
"""Bytes that the system hands out at once for large arrays, if they start at a multiple of it."""


@torch.no_grad()
def receptive_field_map(request: MapRequest) -> Float[Tensor, "b n H W"]:
    """Paint each prototype's similarities where its cells look; without gradient, at least in float32.

    Raises:
        ConfigError: If the reduction is unknown or the sigma factor no positive number.
    """
    reduction = choose(REDUCTIONS, request.reduction, what="reduction")
    if not (request.sigma_factor > 0 and math.isfinite(request.sigma_factor)):
        raise ConfigError(f"sigma_factor={request.sigma_factor} is no positive number; 1.0 is the usual one")
    similarities = request.similarities.detach().to(request.dtype)
    canvas = make_canvas(
        request.receptive_field,
        sigma_factor=request.sigma_factor,
        dtype=similarities.dtype,
        device=similarities.device,
    )
    (rows, columns), (height, width) = canvas.size, canvas.image_size
    maps = request.out
    if maps is None:
        maps = _empty((*similarities.shape[:2], height, width), similarities)
    step = max(1, BLOCK // (rows * columns + rows * width + height * width))
    with _no_autocast(similarities.device.type):
        for part, target in zip(
            similarities.flatten(0, 1).split(step), maps.flatten(0, 1).split(step), strict=True
        ):
            reduction(part, canvas, target)
    return maps


def _no_autocast(device: str) -> AbstractContextManager:
    """No autocast, where there is such a thing."""
    if torch.amp.is_autocast_available(device):
        return torch.autocast(device, enabled=False)
    return nullcontext()


def _empty(size: tuple[int, ...], like: Tensor) -> Tensor:
    """Memory for the maps. Much of it, on the CPU, is NumPy's: in huge pages, first touched at less cost."""
    length = math.prod(size) * like.element_size()
    if like.device.type != "cpu" or length < 2 * HUGE_PAGE:
        return like.new_empty(size)
    memory = np.empty(length + 2 * HUGE_PAGE, dtype=np.uint8)  # what is left over is never touched
    start = -memory.ctypes.data % HUGE_PAGE
    return torch.from_numpy(memory[start : start + length]).view(like.dtype).view(size)


def _multiply(
    left: Float[Tensor, "y r"], right: Float[Tensor, "m r W"], maps: Float[Tensor, "m y W"]
) -> None:
    """Write ``left @ right`` into the maps.

    On the CPU NumPy does it: its library writes small products at once, where the one that torch brings
    clears the maps in a pass of its own and then adds to them (on AMD's processors).
    """
    if maps.device.type == "cpu":
        np.matmul(left.numpy(), right.numpy(), out=maps.numpy())
    else:
        torch.matmul(left, right, out=maps)


def paint_sum(similarities: Float[Tensor, "m h w"], canvas: Canvas, maps: Float[Tensor, "m H W"]) -> None:
    """Sum over the cells that cover a pixel."""
    across = canvas.placed(similarities, empty=0.0) @ canvas.columns.weights
    for top, bottom, first, last in canvas.rows.bands:
        weights = canvas.rows.weights[first:last, top:bottom].T
        _multiply(weights, across[:, first:last], maps[:, top:bottom])


def paint_mean(similarities: Float[Tensor, "m h w"], canvas: Canvas, maps: Float[Tensor, "m H W"]) -> None:
    """Sum divided by the number of covering cells; 0 where there is none."""
    paint_sum(similarities, canvas, maps)
    maps.div_(canvas.count.clamp(min=1))


def paint_max(similarities: Float[Tensor, "m h w"], canvas: Canvas, maps: Float[Tensor, "m H W"]) -> None:
    """Maximum over the cells that cover a pixel; 0 where there is none.

    Weights are positive, so the larger of two values stays the larger when a row's weight multiplies both,
    whatever their sign: the maximum over columns may be taken first, if only covering cells take part.
    """
    rows, columns = canvas.rows, canvas.columns
    grid = canvas.placed(similarities, empty=-torch.inf)
    across = grid.new_full((*grid.shape[:2], maps.shape[-1]), -torch.inf)
    for j, (left, right) in enumerate(columns.spans.tolist()):
        region = across[:, :, left:right]
        torch.maximum(region, grid[:, :, j, None] * columns.weights[j, left:right], out=region)
    maps.fill_(-torch.inf)
    for i, (top, bottom) in enumerate(rows.spans.tolist()):
        region = maps[:, top:bottom]
        torch.maximum(region, across[:, i, None] * rows.weights[i, top:bottom, None], out=region)
    maps.masked_fill_(canvas.count == 0, 0.0)


REDUCTIONS: dict[str, Reduction] = {"max": paint_max, "mean": paint_mean, "sum": paint_sum}
"""Name -> how the cells that cover a pixel are joined."""
