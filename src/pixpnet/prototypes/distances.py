"""Distances between patches of a feature map and prototypes, and the similarities made of them.

A new distance is one class with `exact` (and `errors`, if relevance is to be propagated) and one entry of
`DISTANCES`; the search for the nearest patch, maps, projection and initialisation are written over these.

Everything is computed in float32 (float64 stays), whatever the precision of the features and of autocast.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn import functional

from pixpnet.choices import choose
from pixpnet.errors import ConfigError, UnsupportedOperationError

ZERO_NORM = 1e-12

_CHUNK = 2**25
"""Floats of the largest temporary table; images are searched in groups that stay below it."""

_FEWEST_CONTENDERS = 16
"""At least so many cells are compared exactly where rounding hides which one is nearest."""

_COMPILED_CONTENDERS = 4
"""So many are, always, in a compiled or exported network, where no shape may depend on values."""


class Embedded(NamedTuple):
    """Patches or prototypes as a distance compares them."""

    rows: Float[Tensor, "*n D"]
    offsets: Float[Tensor, "*n"]
    """What every distance to or from a row grows by; 0 but for special cases."""


class Distance:
    """How far a patch is from a prototype, both as rows of D = d · k · k values.

    A distance with parameters of its own is an `nn.Module` too.
    """

    least: float = 0.0
    """The smallest value that it can take; of those below 0 there is no logarithmic similarity."""
    at_zero: float = 0.0
    """The linear similarity of a patch at distance 0."""
    ignores_length: bool = False
    """Whether only the direction of rows counts."""

    def embed(self, rows: Float[Tensor, "*n D"]) -> Embedded:
        """What of the rows need be computed once only, whatever they are compared with."""
        return Embedded(rows, rows.new_zeros(rows.shape[:-1]))

    def exact(self, left: Embedded, right: Embedded) -> Float[Tensor, "*n"]:
        """Distances row by row; the bits of one depend on its two rows alone (see `pairwise_sum`)."""
        raise NotImplementedError

    def errors(
        self, patches: Float[Tensor, "*n D"], prototypes: Float[Tensor, "*m D"]
    ) -> Float[Tensor, "*k D"]:
        """Each element's part of the distance, not negative: what relevance is split by.

        Raises:
            UnsupportedOperationError: The distance has no parts.
        """
        raise UnsupportedOperationError(
            f"PRP splits relevance by each element's part of the distance; {type(self).__name__} has none "
            "(Distance.errors). Take another mapping, such as receptive_field."
        )

    def trained(self, left: Embedded, right: Embedded) -> Float[Tensor, "*n"]:
        """`exact` but for rounding: the distance that the loss sees."""
        return self.exact(left, right)

    def search(self, patches: Embedded, prototypes: Embedded) -> Float[Tensor, "b p n"]:
        """All distances, right to within half of `search_tolerance`.

        The prototypes' rows may be [p D], or [b p D] if each image has its own.
        """
        every = Embedded(patches.rows[:, None], patches.offsets[:, None])
        step = max(1, _CHUNK // patches.rows.numel())
        parts = zip(prototypes.rows.split(step, dim=-2), prototypes.offsets.split(step, dim=-1), strict=True)
        return torch.cat([self.exact(every, Embedded(*_each(rows, offsets))) for rows, offsets in parts], 1)

    def search_tolerance(self, patches: Embedded, prototypes: Embedded) -> Float[Tensor, "b p"]:
        """Twice the rounding error to expect of `search`."""
        return patches.rows.new_zeros(len(patches.rows), prototypes.rows.shape[-2])

    def pair(self, patches: Float[Tensor, "*n D"], prototypes: Float[Tensor, "*n D"]) -> Float[Tensor, "*n"]:
        """The exact distance of each patch to its own prototype."""
        return self.exact(self.embed(patches), self.embed(prototypes))

    def nearest(
        self, patches: Embedded, prototypes: Embedded
    ) -> tuple[Float[Tensor, "b p"], Int[Tensor, "b p"]]:
        """Distance to the nearest patch (differentiable) and its flat cell; ties go to the first, row-major.

        The distance is `trained` at that cell, never that of the search, whose rounding errors the log
        similarity would magnify by 1/ε. Cells that the search can't tell apart are compared by `exact`. Only
        where so many are that close, in so many images, that comparing all would take longer than the
        search (or the network is compiled), it is sixteen (four) of them, and the patch found may be farther
        than the nearest by a rounding error of the search.
        """
        if torch.compiler.is_compiling():
            return self._nearest_of_group(patches, prototypes)
        size = max(1, _CHUNK // (len(prototypes.rows) * max(patches.rows.shape[-2:])))
        parts = [
            self._nearest_of_group(Embedded(rows, offsets), prototypes)
            for rows, offsets in zip(patches.rows.split(size), patches.offsets.split(size), strict=True)
        ]
        distances, cells = zip(*parts, strict=True)
        return torch.cat(distances), torch.cat(cells)

    def maps(self, patches: Embedded, prototypes: Embedded) -> Float[Tensor, "b p n"]:
        """Distance of every patch to every prototype.

        The nearest patch's value is that of `nearest` and the (first) smallest; the others carry the rounding
        errors of `search`.
        """
        nearest, cells = self.nearest(patches, prototypes)
        maps = torch.maximum(self.search(patches, prototypes), nearest[..., None])
        # Rounding may have put an earlier cell level with the nearest one: lift it by the least possible.
        is_earlier = torch.arange(maps.shape[-1], device=maps.device) < cells[..., None]
        level = is_earlier & (maps <= nearest[..., None])
        lifted = torch.nextafter(nearest.detach(), torch.full_like(nearest, torch.inf))
        maps = torch.where(level, lifted[..., None], maps)
        return maps.scatter(-1, cells[..., None], nearest[..., None])

    def _nearest_of_group(
        self, patches: Embedded, prototypes: Embedded
    ) -> tuple[Float[Tensor, "b p"], Int[Tensor, "b p"]]:
        with torch.no_grad():
            cells = self._nearest_cells(patches, prototypes)
        num_images, num_patches = patches.offsets.shape
        flat = cells + num_patches * torch.arange(num_images, device=cells.device)[:, None]
        # embedding() gathers whole rows, and its gradient is deterministic where that of indexing is not.
        rows = functional.embedding(flat, patches.rows.flatten(0, 1))
        return self.trained(Embedded(rows, patches.offsets.flatten()[flat]), prototypes), cells

    def _nearest_cells(self, patches: Embedded, prototypes: Embedded) -> Int[Tensor, "b p"]:
        distances = self.search(patches, prototypes)
        cells = distances.argmin(-1)
        ceilings = distances.gather(-1, cells[..., None]).squeeze(-1)
        ceilings += self.search_tolerance(patches, prototypes)
        if torch.compiler.is_compiling():
            every = torch.arange(cells.shape[0], device=cells.device)[:, None].expand_as(cells)
            contenders = min(distances.shape[-1], _COMPILED_CONTENDERS)
            return self._exactly_nearest(patches, every, prototypes, distances, ceilings, contenders)
        runners_up = distances.scatter(-1, cells[..., None], torch.inf).amin(-1)
        images, numbers = (runners_up <= ceilings).nonzero(as_tuple=True)
        affordable = _CHUNK // (patches.rows.shape[-1] * max(1, len(images)))
        contenders = min(distances.shape[-1], max(_FEWEST_CONTENDERS, affordable))
        size = max(1, _CHUNK // ((contenders + 1) * patches.rows.shape[-1]))
        for image, number in zip(images.split(size), numbers.split(size), strict=True):
            own = Embedded(prototypes.rows[number], prototypes.offsets[number])
            cells[image, number] = self._exactly_nearest(
                patches, image, own, distances[image, number], ceilings[image, number], contenders
            )
        return cells

    def _exactly_nearest(
        self,
        patches: Embedded,
        images: Int[Tensor, "*m"],
        prototypes: Embedded,
        searched: Float[Tensor, "*m n"],
        ceilings: Float[Tensor, "*m"],
        contenders: int,
    ) -> Int[Tensor, "*m"]:
        """Cell of the nearest patch of each image, of those below the ceiling, compared exactly."""
        num_patches = searched.shape[-1]
        near = searched <= ceilings[..., None]
        lowest, candidates = searched.masked_fill(~near, torch.inf).topk(contenders, largest=False)
        # The first near cell is compared too, for where more than so many cells are alike.
        candidates = torch.cat([near.to(torch.uint8).argmax(-1, keepdim=True), candidates], dim=-1)
        flat = candidates + num_patches * images[..., None]
        exact = self.exact(
            Embedded(patches.rows.flatten(0, 1)[flat], patches.offsets.flatten()[flat]),
            Embedded(*_each(*prototypes)),
        )
        exact[..., 1:].masked_fill_(lowest.isinf(), torch.inf)
        is_nearest = exact == exact.amin(-1, keepdim=True)
        return candidates.masked_fill(~is_nearest, num_patches).amin(-1)


class EmbeddedDistance(Distance):
    """A scaled squared Euclidean distance between embedded patches, which is searched by a matrix product.

    d(z, p) = scale · ‖embed(z) − embed(p)‖² + offset(z) + offset(p)
    """

    scale: float = 1.0

    def exact(self, left: Embedded, right: Embedded) -> Float[Tensor, "*n"]:
        """Never negative, 0 for equal rows."""
        return self.scale * pairwise_sum((left.rows - right.rows).square()) + left.offsets + right.offsets

    def trained(self, left: Embedded, right: Embedded) -> Float[Tensor, "*n"]:
        return self.scale * (left.rows - right.rows).square().sum(-1) + left.offsets + right.offsets

    def search(self, patches: Embedded, prototypes: Embedded) -> Float[Tensor, "b p n"]:
        """By ‖z‖² − 2⟨z, p⟩ + ‖p‖²."""
        scale = self.scale
        patch_norms = scale * patches.rows.square().sum(-1) + patches.offsets
        prototype_norms = scale * prototypes.rows.square().sum(-1) + prototypes.offsets
        base = patch_norms[:, None, :] + prototype_norms[..., :, None]
        products = prototypes.rows.expand(patches.rows.shape[0], -1, -1)
        return torch.baddbmm(base, products, patches.rows.transpose(1, 2), alpha=-2 * scale)

    def search_tolerance(self, patches: Embedded, prototypes: Embedded) -> Float[Tensor, "b p"]:
        """With full float32 products."""
        largest = patches.rows.square().sum(-1).amax(-1)
        width = patches.rows.shape[-1]
        unit = torch.finfo(patches.rows.dtype).eps * (4 + width**0.5) / 2
        return self.scale * unit * (largest[:, None] + prototypes.rows.square().sum(-1))


class SquaredL2(EmbeddedDistance):
    """‖z − p‖²."""

    def errors(
        self, patches: Float[Tensor, "*n D"], prototypes: Float[Tensor, "*m D"]
    ) -> Float[Tensor, "*k D"]:
        return (patches - prototypes).square()


class Cosine(EmbeddedDistance):
    """1 − ⟨z, p⟩ / (‖z‖ ‖p‖), half the squared distance of the unit vectors.

    A zero vector is at distance 1 from everything (its offset is ½), and no gradient flows to it.
    """

    scale = 0.5
    at_zero = 1.0
    ignores_length = True

    def embed(self, rows: Float[Tensor, "*n D"]) -> Embedded:
        return unit_vectors(rows)

    def errors(
        self, patches: Float[Tensor, "*n D"], prototypes: Float[Tensor, "*m D"]
    ) -> Float[Tensor, "*k D"]:
        """1 minus each element's part of the cosine."""
        return 1 - unit_vectors(patches).rows * unit_vectors(prototypes).rows


DISTANCES: dict[str, Distance] = {"l2": SquaredL2(), "cosine": Cosine()}


def find_distance(distance: str | Distance) -> Distance:
    """The distance itself, or that of this name.

    Raises:
        ConfigError: There is none of this name.
    """
    return choose(DISTANCES, distance, what="distance") if isinstance(distance, str) else distance


def unit_vectors(rows: Float[Tensor, "*n D"]) -> Embedded:
    """Rows of length 1; those up to the norm `ZERO_NORM` become 0, with offset ½."""
    norms_squared = pairwise_sum(rows.square())
    is_zero = norms_squared.detach() <= ZERO_NORM**2
    norms = torch.where(is_zero, 1.0, norms_squared).sqrt()
    return Embedded(
        (rows / norms[..., None]).masked_fill(is_zero[..., None], 0.0), 0.5 * is_zero.to(rows.dtype)
    )


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


def _each(rows: Tensor, offsets: Tensor) -> tuple[Tensor, Tensor]:
    """Rows and offsets with an axis for what each is compared with."""
    return rows[..., None, :], offsets[..., None]


Similarity = Callable[[Tensor], Tensor]
"""Anything that falls as the distance grows."""


@dataclass(frozen=True)
class LogSimilarity:
    """ln(1 / (d + ε) + 1), which equals ln((d + 1 + ε) / (d + ε)) (ProtoPNet, section 2.1).

    >>> import torch
    >>> round(LogSimilarity(epsilon=1e-6)(torch.zeros(1)).item(), 3)
    13.816
    """

    epsilon: float

    def __call__(self, distances: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
        return (1 / (distances + self.epsilon)).log1p()


@dataclass(frozen=True)
class LinearSimilarity:
    """The similarity of distance 0, minus the distance."""

    at_zero: float

    def __call__(self, distances: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
        return self.at_zero - distances


def _log(distance: Distance, epsilon: float) -> Similarity:
    if distance.least < 0:
        raise ConfigError(
            f"prototype-activation=log needs distances that are never negative, which "
            f"{type(distance).__name__} may be; use prototype-activation=linear."
        )
    return LogSimilarity(epsilon)


def _linear(distance: Distance, epsilon: float) -> Similarity:
    """The cosine itself for the cosine distance, -d for every unbounded one."""
    return LinearSimilarity(distance.at_zero)


SIMILARITIES: dict[str, Callable[[Distance, float], Similarity]] = {"log": _log, "linear": _linear}
"""Name of the similarity -> maker from the distance and ε."""
