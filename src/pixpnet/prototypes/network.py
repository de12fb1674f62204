"""The prototypical part network: backbone, add-on layers, prototypes, head."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import NamedTuple, cast

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from pixpnet.backbones import channels_of
from pixpnet.choices import choose
from pixpnet.config import ModelConfig
from pixpnet.errors import ConfigError
from pixpnet.memory import require_memory
from pixpnet.prototypes.add_on import build_add_on
from pixpnet.prototypes.distances import (
    SIMILARITIES,
    Distance,
    Embedded,
    Similarity,
    as_float,
    find_distance,
    patch_rows,
)
from pixpnet.prototypes.heads import HEADS, Head

PROTOTYPES_PER_CLASS = 10
"""Where nothing else is said."""


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

    >>> network = pixpnet.load(RUN_DIR).network
    >>> output = network(torch.rand(2, 3, 64, 64))
    >>> output.logits.shape, output.similarities.shape
    (torch.Size([2, 3]), torch.Size([2, 6]))
    """

    def __init__(
        self,
        backbone: nn.Module,
        add_on: nn.Module,
        *,
        prototypes: Float[Tensor, "p d k k"],
        head: Head,
        distance: str | Distance,
        similarity: Similarity,
    ) -> None:
        super().__init__()
        if len(head.own_class) != len(prototypes):
            raise ConfigError(
                f"The head is for {len(head.own_class)} prototypes, but there are {len(prototypes)}."
            )
        self.backbone = backbone
        self.add_on = add_on
        self.prototypes = nn.Parameter(prototypes)
        self.head = head
        self.distance = find_distance(distance)
        self.similarity = similarity
        self.patches: Float[Tensor, "p _ k k"] | None = None
        """What the backbone gives at each prototype's training patch, of prototypes that are tied to it: they
        are what the add-on layers make of it, and learn with these. None: prototypes are free."""

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

    def forward(self, images: Float[Tensor, "b _ H W"]) -> PrototypeOutput:
        return self.from_features(self.features(images))

    def features(self, images: Float[Tensor, "b _ H W"]) -> Float[Tensor, "b d h w"]:
        """The feature map z in which patches are compared with prototypes.

        images: normalised, with 3 channels; of a network `over_features` what its backbone gave.
        """
        return self.add_on(self.backbone(images))

    def over_features(self) -> PrototypeNetwork:
        """The same add-on layers, prototypes and head, for the backbone's features in place of images.

        All that learns is shared with this network, so what trains one trains both.
        """
        network = copy.copy(self)
        network._modules = {**self._modules, "backbone": nn.Identity()}
        return network

    def from_features(self, z: Float[Tensor, "b d h w"]) -> PrototypeOutput:
        """All but the features."""
        with torch.autocast(z.device.type, enabled=False):
            patches, prototypes = self._embed(z)
            distances, cells = self.distance.nearest(patches, prototypes)
            similarities = self.similarity(distances)
            return PrototypeOutput(self.head(similarities), distances, similarities, cells)

    def distance_maps(self, z: Float[Tensor, "b d h w"]) -> Float[Tensor, "b p _ _"]:
        """Distance of every patch to every prototype, on the grid (h−k+1) × (w−k+1).

        The nearest patch's value is exact and the (first) smallest; the others carry the rounding errors of
        the search, of L2 a few millionths of ‖z‖² + ‖p‖².
        """
        with torch.autocast(z.device.type, enabled=False):
            maps = self.distance.maps(*self._embed(z))
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
        own = as_float(self._current())[prototypes].flatten(1)
        return self.similarity(self.distance.pair(patches, own))

    @torch.no_grad()
    def pair_cells(self, z: Float[Tensor, "b d h w"], prototypes: Int[Tensor, "b"]) -> Int[Tensor, "b"]:
        """Flat cell of each map's nearest patch to one prototype of its own, but for rounding."""
        own = self.distance.embed(as_float(self._current())[prototypes].flatten(1))
        patches = self.distance.embed(patch_rows(z, self.kernel_size))
        one_each = Embedded(own.rows[:, None], own.offsets[:, None])
        return self.distance.search(patches, one_each)[:, 0].argmin(dim=1)

    @property
    def largest_similarity(self) -> float:
        """What no patch exceeds."""
        return float(self.similarity(torch.tensor(self.distance.least)))

    @torch.no_grad()
    def class_weights(self) -> Float[Tensor, "p c"]:
        """What one unit of each prototype's similarity adds to each logit: heads are linear, without bias."""
        return self.head(torch.eye(self.num_prototypes, device=self.prototypes.device))

    @torch.no_grad()
    def settle(self) -> None:
        """Give prototypes that are tied to their patches the values that the add-on layers give now."""
        self.prototypes.copy_(self._current())

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
        embed = self.distance.embed
        return embed(patch_rows(z, self.kernel_size)), embed(as_float(self._current()).flatten(1))

    def _current(self) -> Float[Tensor, "p d k k"]:
        return self.prototypes if self.patches is None else self.add_on(self.patches)


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


def regular_own_class(num_prototypes: int, num_classes: int, *, class_specific: bool) -> Bool[Tensor, "p c"]:
    """The mask in which every class has as many prototypes, in order; class-agnostic: all belong to all.

    Raises:
        ConfigError: the prototypes can't be dealt out evenly.

    >>> regular_own_class(4, 2, class_specific=True).int().tolist()
    [[1, 0], [1, 0], [0, 1], [0, 1]]
    """
    if num_prototypes < 1 or num_classes < 1:
        raise ConfigError(
            f"num-prototypes={num_prototypes}, classes={num_classes}: at least one of each is needed."
        )
    if not class_specific:
        return torch.ones(num_prototypes, num_classes, dtype=torch.bool)
    if num_prototypes % num_classes:
        nearest = num_classes * max(1, round(num_prototypes / num_classes))
        raise ConfigError(
            f"num-prototypes={num_prototypes} does not divide among {num_classes} classes; try {nearest}, "
            "or no-class-specific."
        )
    classes = torch.arange(num_classes).repeat_interleave(num_prototypes // num_classes)
    return classes[:, None] == torch.arange(num_classes)


def build_network(
    config: ModelConfig,
    *,
    num_classes: int,
    backbone: nn.Module,
    own_class: Bool[Tensor, "p c"] | None = None,
    generator: torch.Generator | None = None,
) -> PrototypeNetwork:
    """The network of these options on any module that makes feature maps of images.

    own_class: any mask, in place of the regular one; it also sets the number of prototypes.

    Raises:
        ConfigError: options that cannot work together, or the backbone gives no feature map (`channels_of`).
    """
    if own_class is None:
        number = config.num_prototypes
        if number is None:
            number = PROTOTYPES_PER_CLASS * num_classes
        own_class = regular_own_class(number, num_classes, class_specific=config.class_specific)
    if own_class.shape[1] != num_classes:
        raise ConfigError(f"own_class is for {own_class.shape[1]} classes, but there are {num_classes}.")
    if config.prototype_dim < 1 or config.prototype_kernel_size < 1:
        raise ConfigError(
            f"prototype-dim={config.prototype_dim} and prototype-kernel-size={config.prototype_kernel_size} "
            "must be at least 1."
        )
    distance = find_distance(config.distance)
    k = config.prototype_kernel_size
    require_memory(
        4 * len(own_class) * (config.prototype_dim * k * k + num_classes),
        f"a network of {len(own_class):,} prototypes [{config.prototype_dim} {k} {k}]",
    )
    add_on = build_add_on(
        config.add_on_layers_type,
        channels_of(backbone),
        prototype_dim=config.prototype_dim,
        activation=config.add_on_activation,
        init_weights=config.init_weights,
        generator=generator,
    )
    prototypes = torch.rand(len(own_class), config.prototype_dim, k, k, generator=generator)
    head = choose(HEADS, config.readout_type, what="readout-type")(
        own_class,
        correct_strength=config.correct_strength,
        incorrect_strength=config.incorrect_strength,
        generator=generator,
    )
    network = PrototypeNetwork(
        backbone,
        add_on,
        prototypes=prototypes,
        head=head,
        distance=distance,
        similarity=choose(SIMILARITIES, config.prototype_activation, what="prototype-activation")(
            distance, config.epsilon
        ),
    )
    network.prototypes.requires_grad_(config.learn_prototypes)
    return network
