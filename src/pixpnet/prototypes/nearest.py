"""The nearest patch of a feature map to each prototype: searched fast, decided and measured exactly."""

from __future__ import annotations

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn import functional

from pixpnet.prototypes.distances import Embedded, exact_distance, expanded_distances, search_tolerance

_CHUNK = 2**25
"""Floats of the largest temporary table; images are searched in groups that stay below it."""

_FEWEST_CONTENDERS = 16
"""At least so many cells are compared exactly where rounding hides which one is nearest."""


def nearest_patches(
    patches: Embedded, prototypes: Embedded, *, scale: float
) -> tuple[Float[Tensor, "b p"], Int[Tensor, "b p"]]:
    """Distance to the nearest patch (differentiable) and its flat cell; ties go to the first, row-major.

    The distance is Σ(z − p)² at that cell, never the expanded form, whose rounding errors the log similarity
    would magnify by 1/ε. Cells that the search can't tell apart are compared by that sum. Only where so many
    are that close, in so many images, that comparing all would take longer than the search, it is sixteen of
    them, and the patch found may be farther than the nearest by a rounding error of the search.
    """
    size = max(1, _CHUNK // (len(prototypes.rows) * max(patches.rows.shape[-2:])))
    parts = [
        _nearest_of_group(Embedded(rows, offsets), prototypes, scale)
        for rows, offsets in zip(patches.rows.split(size), patches.offsets.split(size), strict=True)
    ]
    distances, cells = zip(*parts, strict=True)
    return torch.cat(distances), torch.cat(cells)


def _nearest_of_group(
    patches: Embedded, prototypes: Embedded, scale: float
) -> tuple[Float[Tensor, "b p"], Int[Tensor, "b p"]]:
    with torch.no_grad():
        cells = _nearest_cells(patches, prototypes, scale)
    num_images, num_patches = patches.offsets.shape
    flat = cells + num_patches * torch.arange(num_images, device=cells.device)[:, None]
    # embedding() gathers whole rows, and its gradient is deterministic where that of indexing is not.
    nearest = functional.embedding(flat, patches.rows.flatten(0, 1))
    squares = (nearest - prototypes.rows).square().sum(-1)
    return scale * squares + patches.offsets.flatten()[flat] + prototypes.offsets, cells


def _nearest_cells(patches: Embedded, prototypes: Embedded, scale: float) -> Int[Tensor, "b p"]:
    distances = expanded_distances(patches, prototypes, scale=scale)
    cells = distances.argmin(-1)
    ceilings = distances.gather(-1, cells[..., None]).squeeze(-1)
    ceilings += search_tolerance(patches, prototypes, scale=scale)
    runners_up = distances.scatter(-1, cells[..., None], torch.inf).amin(-1)
    images, numbers = (runners_up <= ceilings).nonzero(as_tuple=True)
    affordable = _CHUNK // (patches.rows.shape[-1] * max(1, len(images)))
    contenders = min(distances.shape[-1], max(_FEWEST_CONTENDERS, affordable))
    size = max(1, _CHUNK // ((contenders + 1) * patches.rows.shape[-1]))
    for image, number in zip(images.split(size), numbers.split(size), strict=True):
        searched = distances[image, number]
        near = searched <= ceilings[image, number][:, None]
        lowest, candidates = searched.masked_fill(~near, torch.inf).topk(contenders, largest=False)
        # The first near cell is compared too, for where more than so many cells are alike.
        candidates = torch.cat([near.to(torch.uint8).argmax(-1, keepdim=True), candidates], dim=1)
        exact = exact_distance(
            Embedded(patches.rows[image[:, None], candidates], patches.offsets[image[:, None], candidates]),
            Embedded(prototypes.rows[number][:, None], prototypes.offsets[number][:, None]),
            scale=scale,
        )
        exact[:, 1:].masked_fill_(lowest.isinf(), torch.inf)
        is_nearest = exact == exact.amin(1, keepdim=True)
        cells[image, number] = candidates.masked_fill(~is_nearest, distances.shape[-1]).amin(1)
    return cells
