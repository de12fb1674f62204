"""Prototypes that start at k-means centres of their own classes' patches (`prototype-init`: data, pure).

k-means goes by Lloyd's iterations from a k-means++ start (Arthur and Vassilvitskii 2007). Pure patches are
those that the patches most like them, of other images, agree with about the class: not sky or water; there a
prototype starts at the patch nearest to its centre, where projection finds it again.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from pixpnet.errors import DataError
from pixpnet.prototypes.distances import Distance, find_distance, patch_rows, unit_vectors
from pixpnet.prototypes.heads import describe_classes

_PATCHES_PER_CENTRE = 64
_LARGEST_SAMPLE = 16384
_NEIGHBOURS = 10
_LARGEST_REFERENCE = 8192
_PURE_SHARE = 0.5
_ROWS_AT_ONCE = 4096


class PatchSample:
    """A bounded random sample of the patches of each group of prototypes that share their classes.

    Each patch draws a number that depends on the seed, its image and its cell alone; a group keeps those
    with the smallest numbers. So the sample doesn't depend on the order of the images or on which process
    saw them.
    """

    def __init__(
        self, own_class: Bool[Tensor, "p c"], *, kernel_size: int, generator: torch.Generator | None = None
    ) -> None:
        masks, group_of = own_class.cpu().unique(dim=0, return_inverse=True)
        self.group_classes: Bool[Tensor, "g c"] = masks
        self.group_of: Int[Tensor, "p"] = group_of
        self.kernel_size = kernel_size
        self.seed = int(torch.randint(2**62, (), generator=generator))
        self.sizes = [sample_size(count) for count in group_of.bincount().tolist()]
        self.keys: list[Int[Tensor, "n"]] = [torch.zeros(0, dtype=torch.int64) for _ in masks]
        self.rows: list[Float[Tensor, "n D"] | None] = [None for _ in masks]
        self.places: list[Int[Tensor, "n 2"]] = [torch.zeros(0, 2, dtype=torch.int64) for _ in masks]
        """Image and label of each row."""
        self.channels: int | None = None

    @torch.no_grad()
    def update(
        self, z: Float[Tensor, "b d h w"], labels: Int[Tensor, "b"], image_index: Int[Tensor, "b"]
    ) -> None:
        """Look at the patches of a batch; image_index tells images apart over the whole data set."""
        self.channels = z.shape[1]
        rows = patch_rows(z, self.kernel_size).cpu()
        cells = torch.arange(rows.shape[1])
        keys = random_keys(image_index.cpu()[:, None], cells[None, :], seed=self.seed)
        seen = self.group_classes[:, labels.cpu()]
        places = torch.stack([image_index.cpu(), labels.cpu()], dim=1)[:, None].expand(-1, len(cells), -1)
        for group in seen.any(dim=1).nonzero().flatten().tolist():
            some = seen[group]
            self._add(group, keys[some].flatten(), rows[some].flatten(0, 1), places[some].flatten(0, 1))

    def merge(self, other: PatchSample) -> None:
        """Take in what another process saw of other images."""
        self.channels = self.channels or other.channels
        for group, rows in enumerate(other.rows):
            if rows is not None:
                self._add(group, other.keys[group], rows, other.places[group])

    def centres(
        self,
        *,
        distance: str | Distance,
        class_names: Sequence[str] | None = None,
        pure: bool = False,
    ) -> Float[Tensor, "p d k k"]:
        """For each prototype one k-means centre of its group's patches, on the CPU.

        With pure: of the purer half of them (`patch_purity`), and not the centre but the patch nearest to it,
        one of each image as far as there are images enough.

        Where length doesn't count (cosine): spherical k-means, each centre scaled to the mean norm of its
        patches. Where a group has fewer distinct patches than prototypes, centres repeat.

        Raises:
            DataError: there is no image of a prototype's classes.
        """
        parts: list[Tensor] = []
        spherical = find_distance(distance).ignores_length
        kept = self._purer(spherical=spherical) if pure else [slice(None)] * len(self.rows)
        for group, (rows, part) in enumerate(zip(self.rows, kept, strict=True)):
            if rows is None:
                classes = self.group_classes[group].nonzero().flatten().tolist()
                raise DataError(
                    f"prototype-init: no training image of {describe_classes(classes, class_names)} was "
                    "seen, so its prototypes have no patches to start from; add images, or use "
                    "prototype-init random."
                )
            count = int((self.group_of == group).sum())
            generator = torch.Generator().manual_seed(self.seed)
            centres = _centres(rows[part], count, spherical=spherical, generator=generator)
            if pure:
                images = self.places[group][part, 0]
                centres = rows[part][_medoids(rows[part], centres, images, spherical=spherical)]
            parts.append(centres)
        order = self.group_of.argsort(stable=True)
        centres = torch.empty(len(order), parts[0].shape[1])
        centres[order] = torch.cat(parts)
        assert self.channels is not None
        return centres.unflatten(1, (self.channels, self.kernel_size, self.kernel_size))

    def _purer(self, *, spherical: bool) -> list[Int[Tensor, "m"]]:
        """The purer half of each group's patches: their rows, in their order."""
        there = [rows for rows in self.rows if rows is not None]
        every = torch.cat(there) if there else torch.zeros(0, 1)
        images, labels = torch.cat(self.places).T
        found = patch_purity(
            unit_vectors(every).rows if spherical else every,
            images=images,
            labels=labels,
            generator=torch.Generator().manual_seed(self.seed),
        )
        ranks = [one.argsort(descending=True, stable=True) for one in found.split(list(map(len, self.keys)))]
        return [rank[: math.ceil(_PURE_SHARE * len(rank))].sort().values for rank in ranks]

    def _add(
        self,
        group: int,
        keys: Int[Tensor, "n"],
        rows: Float[Tensor, "n D"],
        places: Int[Tensor, "n 2"],
    ) -> None:
        known = self.rows[group]
        all_keys = torch.cat([self.keys[group], keys])
        all_rows = rows if known is None else torch.cat([known, rows])
        kept = all_keys.argsort()[: self.sizes[group]]
        self.keys[group] = all_keys[kept]
        self.rows[group] = all_rows[kept].float()
        self.places[group] = torch.cat([self.places[group], places])[kept]


def patch_purity(
    rows: Float[Tensor, "n D"],
    *,
    images: Int[Tensor, "n"],
    labels: Int[Tensor, "n"],
    generator: torch.Generator | None = None,
) -> Float[Tensor, "n"]:
    """Share of each patch's ten nearest patches in other images that are of its class, in [0, 1].

    The nearest are looked for among 8,192 patches at most, drawn by the generator. Where other images have
    fewer than ten, the missing ones count as of another class.
    """
    reference = torch.randperm(len(rows), generator=generator)[:_LARGEST_REFERENCE].sort().values
    theirs = rows[reference]
    shares = []
    for part in torch.arange(len(rows)).split(_ROWS_AT_ONCE):
        table = torch.addmm(theirs.square().sum(1), rows[part], theirs.T, alpha=-2)
        table.masked_fill_(images[part, None] == images[reference], torch.inf)
        nearest = table.topk(min(_NEIGHBOURS, len(reference)), dim=1, largest=False)
        is_same = (labels[reference][nearest.indices] == labels[part, None]) & nearest.values.isfinite()
        shares.append(is_same.sum(dim=1) / _NEIGHBOURS)
    return torch.cat(shares) if shares else torch.zeros(0)


def sample_size(num_centres: int) -> int:
    """Patches to keep for so many centres: at least four a centre."""
    return max(1024, min(_PATCHES_PER_CENTRE * num_centres, _LARGEST_SAMPLE), 4 * num_centres)


def random_keys(images: Int[Tensor, "*n"], cells: Int[Tensor, "*m"], *, seed: int) -> Int[Tensor, "..."]:
    """A pseudo-random number per (image, cell): MurmurHash3's finaliser, twice, modulo 2⁶⁴."""
    return _mix(_mix(images + seed) + cells)


def _mix(value: Int[Tensor, "*n"]) -> Int[Tensor, "*n"]:
    for multiplier in (-0xAE502812AA7333, -0x3B314601E57A13AD):
        value = (value ^ _shift_right(value, 33)) * multiplier
    return value ^ _shift_right(value, 33)


def _shift_right(value: Int[Tensor, "*n"], bits: int) -> Int[Tensor, "*n"]:
    """Logical shift: torch's keeps the sign."""
    return (value >> bits) & ((1 << (64 - bits)) - 1)


def _centres(
    rows: Float[Tensor, "n D"], count: int, *, spherical: bool, generator: torch.Generator
) -> Float[Tensor, "m D"]:
    if not spherical:
        return kmeans(rows, count, generator=generator).centres
    directions = unit_vectors(rows).rows
    result = kmeans(directions, count, generator=generator, spherical=True)
    norms = rows.norm(dim=1)
    sums = torch.zeros(count).index_add(0, result.members, norms)
    counts = result.members.bincount(minlength=count)
    lengths = torch.where(counts > 0, sums / counts.clamp(min=1), norms.mean())
    return result.centres * lengths[:, None]


def _medoids(
    rows: Float[Tensor, "n D"], centres: Float[Tensor, "m D"], images: Int[Tensor, "n"], *, spherical: bool
) -> Int[Tensor, "m"]:
    """For each centre in turn the nearest row of an image that gave none yet; then of those not taken."""
    if spherical:
        rows, centres = unit_vectors(rows).rows, unit_vectors(centres).rows
    is_left, is_new = torch.ones(2, len(rows), dtype=torch.bool)
    chosen: list[int] = []
    for distances in torch.cdist(centres, rows):
        wanted = next((mask for mask in (is_new, is_left) if mask.any()), torch.ones_like(is_left))
        chosen.append(int(distances.masked_fill(~wanted, torch.inf).argmin()))
        is_left[chosen[-1]] = False
        is_new &= images != images[chosen[-1]]
    return torch.tensor(chosen)


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
