"""From the model's options to a network."""

from __future__ import annotations

import torch
from jaxtyping import Bool
from torch import Tensor, nn

from pixpnet.config import ModelConfig
from pixpnet.errors import ConfigError
from pixpnet.prototypes.add_on import build_add_on
from pixpnet.prototypes.heads import HEADS
from pixpnet.prototypes.network import PrototypeNetwork
from pixpnet.prototypes.similarities import SIMILARITIES


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
    """The network of these options on a backbone that has ``out_channels``.

    own_class: any mask, in place of the regular one; it also sets the number of prototypes.

    Raises:
        ConfigError: options that cannot work together.
    """
    if own_class is None:
        own_class = regular_own_class(
            config.num_prototypes, num_classes, class_specific=config.class_specific
        )
    if own_class.shape[1] != num_classes:
        raise ConfigError(f"own_class is for {own_class.shape[1]} classes, but there are {num_classes}.")
    if config.prototype_dim < 1 or config.prototype_kernel_size < 1:
        raise ConfigError(
            f"prototype-dim={config.prototype_dim} and prototype-kernel-size={config.prototype_kernel_size} "
            "must be at least 1."
        )
    k = config.prototype_kernel_size
    add_on = build_add_on(
        config.add_on_layers_type,
        int(backbone.out_channels),  # pyright: ignore[reportArgumentType]
        prototype_dim=config.prototype_dim,
        activation=config.add_on_activation,
        init_weights=config.init_weights,
        generator=generator,
    )
    prototypes = torch.rand(len(own_class), config.prototype_dim, k, k, generator=generator)
    head = HEADS[config.readout_type](
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
        distance=config.distance,
        similarity=SIMILARITIES[config.prototype_activation](config.distance, config.epsilon),
    )
    network.prototypes.requires_grad_(config.learn_prototypes)
    return network
