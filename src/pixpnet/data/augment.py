"""The augmentations of training on batches of tensors, on whatever device they are.

What is done to an image is drawn first, on the CPU, as `training_transform` draws it: the same seed gives the
same augmentation on both ways, up to the rounding to 8 bits. Images of several sizes share a batch, each in
the top-left corner of its own part; what lies outside of an image is black and never looked at.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple

import torch
from jaxtyping import Bool, Float, Int, UInt8
from torch import Tensor
from torch.nn import functional
from torchvision.transforms import v2

from pixpnet.data.spec import Geometry
from pixpnet.data.transforms import BLUR_SIDE, SHARPNESS, HorizontalFlip

__all__ = ["Augmentation", "augment", "draw_augmentation"]

_SMOOTHING = ((1.0, 1.0, 1.0), (1.0, 5.0, 1.0), (1.0, 1.0, 1.0))
"""Pillow's smoothing kernel, from which sharpness is measured."""


class Augmentation(NamedTuple):
    """What is done to an image, or to each image of a batch; lengths in pixels."""

    sigma: Float[Tensor, "*b"]
    """Of the Gaussian blur; 0: none."""
    is_sharpened: Bool[Tensor, "*b"]
    warps: Float[Tensor, "*b 3 3 3"]
    """Rotation, perspective and shear: from a point of the result to that of the image (homogeneous)."""
    is_mirrored: Bool[Tensor, "*b"]
    crop: Int[Tensor, "*b 4"]
    """Left, top, width and height; it may reach beyond the image."""


def draw_augmentation(transform: v2.Compose, *, size: tuple[int, int]) -> Augmentation:
    """What a `training_transform` does to an image of a (width, height), from torch's CPU generator."""
    width, height = size
    canvas = [torch.empty(1, height, width, device="meta")]
    sigma, is_sharpened, is_mirrored = 0.0, False, False
    warps = torch.eye(3).repeat(3, 1, 1)
    crop = [0, 0, width, height]
    for step in transform.transforms:
        taken = _taken(step)
        params = {} if taken is None else taken.make_params(canvas)
        match taken:
            case v2.GaussianBlur():
                sigma = params["sigma"][0]
            case v2.RandomAdjustSharpness():
                is_sharpened = True
            case v2.RandomRotation():
                warps[0] = _rotation(params["angle"], size)
            case v2.RandomPerspective():
                warps[1] = torch.tensor([*params["coefficients"], 1.0]).reshape(3, 3)
            case v2.RandomAffine():
                warps[2] = _shear(params["shear"][0], size)
            case HorizontalFlip():
                is_mirrored = True
            case v2.RandomResizedCrop() | v2.RandomCrop():
                left, top, _, _ = params.get("padding", (0, 0, 0, 0))
                crop = [params["left"] - left, params["top"] - top, params["width"], params["height"]]
    return Augmentation(
        torch.tensor(sigma), torch.tensor(is_sharpened), warps, torch.tensor(is_mirrored), torch.tensor(crop)
    )


def augment(
    images: UInt8[Tensor, "b 3 H W"],
    augmentation: Augmentation,
    *,
    sizes: Int[Tensor, "b 2"],
    geometry: Geometry,
) -> Float[Tensor, "b 3 h w"]:
    """Augmented images, from 0 to 255.

    Args:
        images: Each in the top-left corner, black elsewhere.
        augmentation: On the CPU: a GPU need not be waited for to know which images a step takes.
        sizes: (width, height) of each image, on the CPU.
        geometry: Gives the size of the result.
    """
    device = images.device
    result = images.float()

    def change(rows: Bool[Tensor, " b"], function: Callable[..., Tensor], *values: Tensor) -> None:
        """Put the rows that a step takes through it, in place."""
        if rows.any():
            places = rows.nonzero()[:, 0].to(device)
            result[places] = function(result[places], *(part[rows].to(device) for part in (sizes, *values)))

    change(augmentation.sigma > 0, _blur, augmentation.sigma)
    change(augmentation.is_sharpened, _sharpen)
    for warp in augmentation.warps.unbind(-3):
        change((warp != torch.eye(3)).flatten(1).any(1), _warp, warp)
    crop, is_mirrored, ends = (
        part.to(device) for part in (augmentation.crop, augmentation.is_mirrored, sizes)
    )
    rows, columns = (torch.arange(side, device=device).expand(len(images), -1) for side in images.shape[2:])
    columns = torch.where(is_mirrored[:, None], ends[:, :1] - 1 - columns, columns)
    height, width = geometry.cropped_size
    down = _resize_weights(rows - crop[:, 1, None], crop[:, 3], out=height)
    across = _resize_weights(columns - crop[:, 0, None], crop[:, 2], out=width)
    if geometry.final is not None:
        down, across = (_resize_again(weights, out=geometry.final) for weights in (down, across))
    return (down[:, None] @ result @ across[:, None].mT).round()


def _taken(step: object) -> v2.Transform | None:
    """The step, if chance takes it: draws as its own forward pass does."""
    has_chance = isinstance(
        step, v2.RandomApply | v2.RandomAdjustSharpness | v2.RandomPerspective | HorizontalFlip
    )
    if has_chance and torch.rand(1) >= step.p:
        return None
    taken = step.transforms[0] if isinstance(step, v2.RandomApply) else step
    assert isinstance(taken, v2.Transform)
    return taken


def _rotation(degrees: float, size: tuple[int, int]) -> Float[Tensor, "3 3"]:
    """Counter-clockwise about the image's centre; from output to input."""
    cos, sin = math.cos(math.radians(degrees)), math.sin(math.radians(degrees))
    return _about_centre(torch.tensor([[cos, -sin, 0.0], [sin, cos, 0.0], [0.0, 0.0, 1.0]]), size)


def _shear(degrees: float, size: tuple[int, int]) -> Float[Tensor, "3 3"]:
    """Along x about the image's centre; from output to input."""
    return _about_centre(
        torch.tensor([[1.0, math.tan(math.radians(degrees)), 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, 1.0]]), size
    )


def _about_centre(matrix: Float[Tensor, "3 3"], size: tuple[int, int]) -> Float[Tensor, "3 3"]:
    there, back = torch.eye(3), torch.eye(3)
    back[:2, 2] = torch.tensor(size) / 2
    there[:2, 2] = -back[:2, 2]
    return back @ matrix @ there


def _blur(
    images: Float[Tensor, "n 3 H W"], sizes: Int[Tensor, "n 2"], sigma: Float[Tensor, " n"]
) -> Float[Tensor, "n 3 H W"]:
    """Gaussian blur, mirrored at each image's edges."""
    steps = torch.arange(BLUR_SIDE, device=images.device) - BLUR_SIDE // 2
    weights = torch.softmax(-0.5 * (steps / sigma[:, None]) ** 2, dim=1)
    for axis, side in ((3, sizes[:, 0]), (2, sizes[:, 1])):
        place = torch.arange(images.shape[axis], device=images.device) + steps[:, None]  # [k, side]
        last = side[:, None, None] - 1
        place = (last - (last - place.abs()).abs()).clamp(min=0)  # [n, k, side]
        shape = [len(images), 1, 1, 1]
        shape[axis] = -1
        blurred = torch.zeros_like(images)
        for weight, index in zip(weights.unbind(1), place.unbind(1), strict=True):
            blurred += weight[:, None, None, None] * images.take_along_dim(index.reshape(shape), dim=axis)
        images = blurred
    return images.round()


def _sharpen(images: Float[Tensor, "n 3 H W"], sizes: Int[Tensor, "n 2"]) -> Float[Tensor, "n 3 H W"]:
    """Away from the smoothed image; its outermost pixels are not smoothed."""
    kernel = torch.tensor(_SMOOTHING, device=images.device)[None, None] / sum(map(sum, _SMOOTHING))
    smooth = functional.conv2d(images.flatten(0, 1)[:, None], kernel, padding=1).reshape(images.shape).round()
    x, y = _pixels(images)
    width, height = sizes[:, :, None, None].unbind(1)
    inside = (x > 0) & (y > 0) & (x < width - 1) & (y < height - 1)
    smooth = torch.where(inside[:, None], smooth, images)
    return (smooth + SHARPNESS * (images - smooth)).clamp(0, 255).floor()


def _warp(
    images: Float[Tensor, "n 3 H W"], sizes: Int[Tensor, "n 2"], matrices: Float[Tensor, "n 3 3"]
) -> Float[Tensor, "n 3 H W"]:
    """Move pixels, bilinear; black where the image ends."""
    x, y = _pixels(images)
    points = torch.stack((x, y), dim=-1) + 0.5  # [H W 2]
    moved = functional.pad(points, (0, 1), value=1.0) @ matrices.mT[:, None]  # [n H W 3]
    moved = moved[..., :2] / moved[..., 2:]
    ends = sizes[:, None, None]
    inside = ((moved >= 0) & (moved < ends)).all(-1) & (points < ends).all(-1)
    # Half a pixel from the edge: what lies beyond never mixes in.
    moved = moved.clamp(min=0.5).minimum(ends - 0.5)
    canvas = torch.tensor(images.shape[:1:-1], device=images.device)
    taken = functional.grid_sample(images, 2 * moved / canvas - 1, mode="bilinear", align_corners=False)
    return (taken * inside[:, None]).floor()


def _pixels(images: Float[Tensor, "n 3 H W"]) -> tuple[Int[Tensor, "H W"], Int[Tensor, "H W"]]:
    """Column and row of every pixel."""
    rows, columns = (torch.arange(side, device=images.device) for side in images.shape[2:])
    y, x = torch.meshgrid(rows, columns, indexing="ij")
    return x, y


def _resize_weights(
    places: Int[Tensor, "b side"], length: Int[Tensor, " b"], *, out: int
) -> Float[Tensor, "b out side"]:
    """What each pixel of a line weighs in each pixel of a resized stretch of it.

    Bilinear, over as many pixels as make one where it shrinks, as Pillow does it.

    Args:
        places: Where each pixel of the line lies in the stretch (0: its first pixel).
        length: Pixels of the stretch.
        out: Pixels that it gets.
    """
    scale = (length / out)[:, None, None]
    centres = (torch.arange(out, device=places.device)[:, None] + 0.5) * scale
    distance = (places[:, None] + 0.5 - centres).abs() / scale.clamp(min=1)
    is_in = (places >= 0) & (places < length[:, None])
    weights = (1 - distance).clamp(min=0) * is_in[:, None]
    # A stretch that reaches beyond the line (only at scale 1) has pixels of no weight: black.
    return weights / weights.sum(dim=2, keepdim=True).clamp(min=1e-6)


def _resize_again(weights: Float[Tensor, "b between side"], *, out: int) -> Float[Tensor, "b out side"]:
    places = torch.arange(weights.shape[1], device=weights.device)[None]
    length = torch.tensor([weights.shape[1]], device=weights.device)
    return _resize_weights(places, length, out=out) @ weights
