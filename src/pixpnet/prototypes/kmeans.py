"""k-means by Lloyd's iterations from a k-means++ start (Arthur and Vassilvitskii 2007)."""

from __future__ import annotations

from typing import NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor


class KMeans(NamedTuple):
    centres: Float[Tensor, "m D"]
    members: Int[Tensor, "n"]
    """The nearest centre of each row."""


def kmeans(
    rows: Float[Tensor, "n D"],
    num_centres: int,
    *,
    generator: torch.Generator | None = None,
    spherical: bool = False,
    iterations: int = 25,
) -> KMeans:
    """Centres that (locally) minimise the sum of squared distances to the nearest of them.

    spherical: rows are unit vectors, and so are centres (Dhillon and Modha 2001). An empty cluster moves to
    the row that is farthest from its own centre. With fewer distinct rows than centres, centres repeat.
    """
    centres = _plus_plus(rows, num_centres, generator)
    members, distances = _nearest(rows, centres)
    for _ in range(iterations):
        centres = _means(rows, members, distances, centres, spherical=spherical)
        previous = members
        members, distances = _nearest(rows, centres)
        if torch.equal(members, previous):
            break
    return KMeans(centres, members)


def _plus_plus(
    rows: Float[Tensor, "n D"], num_centres: int, generator: torch.Generator | None
) -> Float[Tensor, "m D"]:
    """Each next centre is a row drawn in proportion to its squared distance to the centres so far."""
    chosen = [int(torch.randint(len(rows), (), generator=generator))]
    distances = (rows - rows[chosen[0]]).square().sum(1)
    while len(chosen) < num_centres:
        total = distances.double().cumsum(0)
        if total[-1] > 0:
            drawn = torch.rand((), generator=generator, dtype=torch.float64) * total[-1]
            # right=True: never a row of weight 0, that is, one that is a centre already.
            row = min(int(torch.searchsorted(total, drawn, right=True)), len(rows) - 1)
        else:
            row = len(chosen) % len(rows)
        chosen.append(row)
        distances = torch.minimum(distances, (rows - rows[row]).square().sum(1))
    return rows[chosen]


def _nearest(
    rows: Float[Tensor, "n D"], centres: Float[Tensor, "m D"]
) -> tuple[Int[Tensor, "n"], Float[Tensor, "n"]]:
    table = torch.addmm(centres.square().sum(1), rows, centres.T, alpha=-2)
    smallest, members = table.min(dim=1)
    return members, (smallest + rows.square().sum(1)).clamp(min=0)


def _means(
    rows: Float[Tensor, "n D"],
    members: Int[Tensor, "n"],
    distances: Float[Tensor, "n"],
    centres: Float[Tensor, "m D"],
    *,
    spherical: bool,
) -> Float[Tensor, "m D"]:
    counts = members.bincount(minlength=len(centres))
    means = torch.zeros_like(centres).index_add(0, members, rows) / counts.clamp(min=1)[:, None]
    if spherical:
        lengths = means.norm(dim=1, keepdim=True)
        means = torch.where(lengths > 0, means / lengths.clamp(min=1e-30), centres)
    empty = (counts == 0).nonzero().flatten()
    farthest = distances.topk(min(len(empty), len(rows))).indices
    means[empty] = centres[empty]
    means[empty[: len(farthest)]] = rows[farthest]
    return means
