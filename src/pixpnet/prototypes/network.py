"""The prototypical part network: backbone, add-on layers, prototypes, head."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, cast

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from pixpnet.errors import ConfigError
from pixpnet.prototypes.distances import (
    DISTANCES,
    Embedded,
    as_float,
    exact_distance,
    expanded_distances,
    patch_rows,
)
from pixpnet.prototypes.heads import Head
from pixpnet.prototypes.nearest import nearest_patches
from pixpnet.prototypes.similarities import Similarity


class PrototypeOutput(NamedTuple):
    """What the network says about a batch, in float32."""

    logits: Float[Tensor, "b c"]
    min_distances: Float[Tensor, "b p"]
    similarities: Float[Tensor, "b p"]
    cells: Int[Tensor, "b p"]
    """Flat row-major index of each prototype's nearest patch, on the grid (h−k+1) × (w−k+1)."""


class PrototypeNetwork(nn.Module):
    """Image -> features -> distance of the nearest patch to each prototype -> similarity -> logits.

    Distances, similarities and logits are float32 also under autocast. A prototype may have several classes
    or none, and a class no prototypes (after pruning).
    """

    def __init__(
        self,
        backbone: nn.Module,
        add_on: nn.Module,
        *,
        prototypes: Float[Tensor, "p d k k"],
        head: Head,
        distance: str,
        similarity: Similarity,
    ) -> None:
        super().__init__()
        if distance not in DISTANCES:
            raise ConfigError(f"distance={distance!r} is not known; use one of {', '.join(DISTANCES)}.")
        if len(head.own_class) != len(prototypes):
            raise ConfigError(
                f"The head is for {len(head.own_class)} prototypes, but there are {len(prototypes)}."
            )
        self.backbone = backbone
        self.add_on = add_on
        self.prototypes = nn.Parameter(prototypes)
        self.head = head
        self.distance = distance
        self.similarity = similarity

    @property
    def own_class(self) -> Bool[Tensor, "p c"]:
        """Which prototypes belong to which classes; class-agnostic: all to all."""
        return cast(Tensor, self.head.own_class)

    @property
    def num_prototypes(self) -> int:
        return self.prototypes.shape[0]

    @property
    def num_classes(self) -> int:
        return self.own_class.shape[1]

    @property
    def kernel_size(self) -> int:
        return self.prototypes.shape[-1]

    def forward(self, images: Float[Tensor, "b 3 H W"]) -> PrototypeOutput:
        return self.from_features(self.features(images))

    def features(self, images: Float[Tensor, "b 3 H W"]) -> Float[Tensor, "b d h w"]:
        """The feature map z in which patches are compared with prototypes."""
        return self.add_on(self.backbone(images))

    def from_features(self, z: Float[Tensor, "b d h w"]) -> PrototypeOutput:
        """All but the features."""
        with torch.autocast(z.device.type, enabled=False):
            patches, prototypes = self._embed(z)
            distances, cells = nearest_patches(patches, prototypes, scale=DISTANCES[self.distance].scale)
            similarities = self.similarity(distances)
            return PrototypeOutput(self.head(similarities), distances, similarities, cells)

    def distance_maps(self, z: Float[Tensor, "b d h w"]) -> Float[Tensor, "b p _ _"]:
        """Distance of every patch to every prototype, on the grid (h−k+1) × (w−k+1).

        The nearest patch's value is exact and the (first) smallest; the others carry the rounding errors of
        the expanded form, a few millionths of ‖z‖² + ‖p‖².
        """
        with torch.autocast(z.device.type, enabled=False):
            patches, prototypes = self._embed(z)
            scale = DISTANCES[self.distance].scale
            nearest, cells = nearest_patches(patches, prototypes, scale=scale)
            maps = torch.maximum(expanded_distances(patches, prototypes, scale=scale), nearest[..., None])
            # Rounding may have put an earlier cell level with the nearest one: lift it by the least possible.
            is_earlier = torch.arange(maps.shape[-1], device=maps.device) < cells[..., None]
            level = is_earlier & (maps <= nearest[..., None])
            lifted = torch.nextafter(nearest.detach(), torch.full_like(nearest, torch.inf))
            maps = torch.where(level, lifted[..., None], maps)
            maps = maps.scatter(-1, cells[..., None], nearest[..., None])
            height, width = (side - self.kernel_size + 1 for side in z.shape[-2:])
            return maps.unflatten(-1, (height, width))

    def similarity_maps(self, z: Float[Tensor, "b d h w"]) -> Float[Tensor, "b p _ _"]:
        """Similarity of every patch to every prototype."""
        return self.similarity(self.distance_maps(z))

    def patches_at(self, z: Float[Tensor, "b d h w"], cells: Int[Tensor, "b"]) -> Float[Tensor, "b D"]:
        """One patch of each feature map, flattened like a prototype; flat row-major cells."""
        rows = patch_rows(z, self.kernel_size)
        return rows[torch.arange(len(rows), device=z.device), cells]

    def pair_similarities(
        self, patches: Float[Tensor, "b D"], prototypes: Int[Tensor, "b"]
    ) -> Float[Tensor, "b"]:
        """Exact similarity of each patch to one prototype of its own."""
        embed, scale = DISTANCES[self.distance]
        own = embed(as_float(self.prototypes)[prototypes].flatten(1))
        return self.similarity(exact_distance(embed(patches), own, scale=scale))

    @torch.no_grad()
    def class_weights(self) -> Float[Tensor, "p c"]:
        """What one unit of each prototype's similarity adds to each logit: heads are linear, without bias."""
        return self.head(torch.eye(self.num_prototypes, device=self.prototypes.device))

    def prune(self, keep: Bool[Tensor, "p"] | Int[Tensor, "n"] | Sequence[int]) -> None:
        """Keep only these prototypes (mask, or distinct indices in the order wanted), in place.

        Parameters are replaced: make the optimizer afterwards.

        Raises:
            ConfigError: nothing is kept, or an index is unknown or twice there.
        """
        indices = _kept_indices(torch.as_tensor(keep), self.num_prototypes).to(self.prototypes.device)
        kept = self.prototypes.detach()[indices]
        self.prototypes = nn.Parameter(kept, requires_grad=self.prototypes.requires_grad)
        self.head.prune(indices)

    def _embed(self, z: Float[Tensor, "b d h w"]) -> tuple[Embedded, Embedded]:
        embed = DISTANCES[self.distance].embed
        return embed(patch_rows(z, self.kernel_size)), embed(as_float(self.prototypes).flatten(1))


def _kept_indices(keep: Tensor, num_prototypes: int) -> Int[Tensor, "n"]:
    if keep.dtype == torch.bool:
        if keep.shape != (num_prototypes,):
            raise ConfigError(
                f"prune: a mask of {num_prototypes} prototypes is needed, not of {tuple(keep.shape)}."
            )
        keep = keep.nonzero().squeeze(1)
    if keep.numel() == 0:
        raise ConfigError("prune: at least one prototype must be kept.")
    if keep.min() < 0 or keep.max() >= num_prototypes or len(keep.unique()) != len(keep):
        raise ConfigError(
            f"prune: indices must be distinct and in 0..{num_prototypes - 1}; got {keep.tolist()}."
        )
    return keep.long()
