"""Distances between patches of a feature map and prototypes.

Every distance here is a scaled squared Euclidean distance between embedded patches (the patch itself, or its
unit vector), so that one search by matrix product and one exact recomputation serve all:

    d(z, p) = scale · ‖embed(z) − embed(p)‖² + offset(z) + offset(p)

The offset is 0 but for the cosine distance of a zero vector: with ⟨z, p⟩/(‖z‖‖p‖) = 0 there, its distance to
everything is 1, and no gradient flows to it. A vector counts as zero up to the norm `ZERO_NORM`.

Everything is computed in float32 (float64 stays), whatever the precision of the features and of autocast.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional

from pixpnet.errors import ConfigError

ZERO_NORM = 1e-12


class Embedded(NamedTuple):
    """Patches or prototypes in the space where their distance is the squared Euclidean one."""

    rows: Float[Tensor, "*n D"]
    offsets: Float[Tensor, "*n"]


class Distance(NamedTuple):
    embed: Callable[[Tensor], Embedded]
    scale: float


def pairwise_sum(values: Float[Tensor, "*n D"]) -> Float[Tensor, "*n"]:
    """Sum over the last axis by halving it, so that the bits of a row's sum depend on that row alone.

    A library's reduction may group the terms by the shape of the whole tensor; projection must not depend on
    that.
    """
    while (width := values.shape[-1]) > 1:
        half = width // 2
        folded = values[..., :half] + values[..., half : 2 * half]
        values = torch.cat([folded, values[..., -1:]], dim=-1) if width % 2 else folded
    return values.squeeze(-1)


def _identity(rows: Float[Tensor, "*n D"]) -> Embedded:
    return Embedded(rows, rows.new_zeros(rows.shape[:-1]))


def _unit_vectors(rows: Float[Tensor, "*n D"]) -> Embedded:
    norms_squared = pairwise_sum(rows.square())
    is_zero = norms_squared.detach() <= ZERO_NORM**2
    norms = torch.where(is_zero, 1.0, norms_squared).sqrt()
    return Embedded(
        (rows / norms[..., None]).masked_fill(is_zero[..., None], 0.0), 0.5 * is_zero.to(rows.dtype)
    )


DISTANCES: dict[str, Distance] = {"l2": Distance(_identity, 1.0), "cosine": Distance(_unit_vectors, 0.5)}


def as_float(values: Float[Tensor, "*n"]) -> Float[Tensor, "*n"]:
    """At least float32: half precisions are lifted."""
    return values if values.dtype == torch.float64 else values.float()


def patch_rows(z: Float[Tensor, "b d h w"], kernel_size: int) -> Float[Tensor, "b n D"]:
    """The k × k patches of a map, row-major over the grid (h−k+1) × (w−k+1), flattened like a prototype.

    Raises:
        ConfigError: the patch is larger than the feature map.
    """
    height, width = z.shape[-2:]
    if kernel_size > min(height, width):
        raise ConfigError(
            f"prototype-kernel-size={kernel_size} does not fit the {height}x{width} feature map; "
            f"use at most {min(height, width)}, an earlier feature layer or larger images."
        )
    if kernel_size == 1:
        return as_float(z).flatten(2).transpose(1, 2).contiguous()
    return functional.unfold(as_float(z), kernel_size).transpose(1, 2).contiguous()


def expanded_distances(patches: Embedded, prototypes: Embedded, *, scale: float) -> Float[Tensor, "b p n"]:
    """All distances by ‖z‖² − 2⟨z, p⟩ + ‖p‖²: fast, with rounding errors within `search_tolerance`.

    The prototypes' rows may be [p D], or [b p D] if each image has its own.
    """
    patch_norms = scale * patches.rows.square().sum(-1) + patches.offsets
    prototype_norms = scale * prototypes.rows.square().sum(-1) + prototypes.offsets
    base = patch_norms[:, None, :] + prototype_norms[..., :, None]
    products = prototypes.rows.expand(len(patches.rows), -1, -1)
    return torch.baddbmm(base, products, patches.rows.transpose(1, 2), alpha=-2 * scale)


def search_tolerance(patches: Embedded, prototypes: Embedded, *, scale: float) -> Float[Tensor, "b p"]:
    """Twice the rounding error to expect of `expanded_distances` with full float32 products."""
    largest = patches.rows.square().sum(-1).amax(-1)
    width = patches.rows.shape[-1]
    unit = torch.finfo(patches.rows.dtype).eps * (4 + width**0.5) / 2
    return scale * unit * (largest[:, None] + prototypes.rows.square().sum(-1))


def exact_distance(left: Embedded, right: Embedded, *, scale: float) -> Float[Tensor, "*n"]:
    """scale · Σ(z − p)² row by row; never negative, 0 for equal rows."""
    return scale * pairwise_sum((left.rows - right.rows).square()) + left.offsets + right.offsets
