"""Where maps and boxes lie: on the object, and on the parts that tell a class from the one most like it.

The pointing game asks how much of a map lies on the object (energy: Wang et al. 2020, Score-CAM).

Telling parts need data whose classes are known part by part, such as SynthBirds and FunnyBirds. A part tells
a class from another if it looks different in the two. Asked for is the class's nearest class: the one from
which it differs in the fewest parts. Where several are equally near, a part counts that differs from any of
them, for without it the class is not told from all of them.
"""

from __future__ import annotations

import numpy as np
import torch
from jaxtyping import Bool, Float, Float64, Int64
from torch import Tensor

from pixpnet.metrics.intervals import RESAMPLES, Estimate, bootstrap_mean, sum_per_prototype
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


def telling_parts(variants: Int64[np.ndarray, "c g"]) -> Bool[np.ndarray, "c g"]:
    """The parts of each class that look different in one of its nearest classes.

    A class that looks like another, and an only class, has none.

    >>> telling_parts(np.array([[0, 0, 0], [1, 0, 0], [1, 1, 1]])).astype(int).tolist()
    [[1, 0, 0], [1, 0, 0], [0, 1, 1]]

    Args:
        variants: How part g looks in class c; equal numbers are equal looks.
    """
    differs = variants[:, None] != variants[None]
    number = differs.sum(axis=2)
    number[np.diag_indices_from(number)] = variants.shape[1] + 1
    nearest = number == number.min(axis=1, keepdims=True)
    np.fill_diagonal(nearest, False)
    return (differs & nearest[:, :, None]).any(axis=1)


def lift(
    shares: Float64[Tensor, "m"],
    areas: Float64[Tensor, "m"],
    *,
    prototypes: Int64[Tensor, "m"],
    num_prototypes: int,
    seed: int = 0,
    resamples: int = RESAMPLES,
) -> Estimate:
    """How many times the energy there is on the telling parts that maps blind to them would put there.

    Per prototype the mean share of its maps' energy, divided by the mean share of the pixels (chance is 1);
    then the mean over prototypes. The means come first, so that a scrap of a part in one image, whose own
    quotient may be anything, weighs no more than its pixels.

    Args:
        shares: Of each (image, prototype) pair's map, the share of the energy on the telling parts.
        areas: The share of the pixels that these parts take; positive.
        prototypes: The prototype of each pair; those without any are left out.
        num_prototypes: Of the network.

    Raises:
        DataError: There is no pair.
    """
    sums = [
        sum_per_prototype(values, prototypes, num_prototypes=num_prototypes) for values in (shares, areas)
    ]
    valid = sums[1] > 0
    return bootstrap_mean(
        sums[0][valid] / sums[1][valid], left_out=int((~valid).sum()), seed=seed, resamples=resamples
    )


def ranking_auc(
    values: Float[Tensor, "n k"], positive: Bool[Tensor, "k"]
) -> tuple[Float64[Tensor, "n"], Bool[Tensor, "n"]]:
    """How probably a map's value at a positive pixel is above that at another one, and where this is defined.

    Equals count half; chance is 0.5. Unlike energy it does not depend on what similarities are counted from,
    so maps of different methods can be compared. If all pixels are positive, or none is: 0 and False.
    """
    number, others = int(positive.sum()), int((~positive).sum())
    zeros = torch.zeros(len(values), dtype=torch.float64, device=values.device)
    if not (number and others):
        return zeros, zeros.bool()
    ordered = values.sort(dim=1).values
    found = values[:, positive].contiguous()
    below, not_above = (torch.searchsorted(ordered, found, right=right) for right in (False, True))
    ranks = (below + not_above + 1).double().sum(dim=1) / 2
    return (ranks - number * (number + 1) / 2) / (number * others), ~zeros.bool()


def boxes_that_hold_a_part(
    boxes: Float64[Tensor, "n 4"], parts: Bool[Tensor, "g H W"], *, share: float = 0.5
) -> Bool[Tensor, "n"]:
    """The boxes that hold at least this share of the pixels of one of the parts.

    Args:
        boxes: (left, top, right, bottom); a pixel is in a box if its centre is.
        parts: The pixels of each part; one without any is in no box.
        share: Of a part's pixels.
    """
    sums = torch.nn.functional.pad(parts.int().cumsum(1).cumsum(2), (1, 0, 1, 0))
    left, top, right, bottom = (boxes - 0.5).ceil().clamp(min=0).long().unbind(1)
    width, height = parts.shape[2], parts.shape[1]
    left, right = left.clamp(max=width), right.clamp(max=width)
    top, bottom = top.clamp(max=height), bottom.clamp(max=height)
    inside = sums[:, bottom, right] - sums[:, top, right] - sums[:, bottom, left] + sums[:, top, left]
    total = sums[:, -1:, -1]
    return ((total > 0) & (inside >= share * total)).any(dim=0)
