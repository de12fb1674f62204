"""What a Goldilocks experiment looks at: the stages of each backbone, and what can be said beforehand."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import fx
from torch.utils.flop_counter import FlopCounterMode

from pixpnet.backbones import (
    FAMILIES,
    build_skeleton,
    cut,
    family_of,
    layer_shapes,
    list_backbones,
    named_layers,
)
from pixpnet.errors import ConfigError
from pixpnet.receptive_fields import receptive_fields

PAPER_FAMILIES = ("resnet", "vgg", "densenet", "inception", "squeezenet")
"""Those of the paper's Goldilocks experiments."""


@dataclass(frozen=True)
class Stage:
    """A place where a backbone can be cut."""

    model: str
    number: int
    """Among the stages of the model, from 1."""
    name: str
    """A layer name, for `model.feature-layer`."""
    node: str
    """Its node in the traced network."""
    channels: int
    is_grid: bool
    """Whether it gives a grid of cells; fc and classifier give a vector."""
    mean_rf: float
    """Mean receptive field of its cells, percent of the image's area."""
    max_rf: float
    """Largest receptive field, percent of the image's area."""
    parameters: int
    """Of the network up to there."""
    macs: int
    """Multiply-adds for one image, of the network up to there."""


def zoo() -> list[str]:
    """The backbones of the paper's Goldilocks experiments: torchvision's of five families."""
    families = [FAMILIES[name] for name in PAPER_FAMILIES]
    return [name for name in list_backbones() if family_of(name) in families]


def split_models(text: str) -> tuple[str, ...]:
    """Backbone names from `vgg16_bn,resnet18`.

    Raises:
        ConfigError: No name, an empty one, or one that is there twice.
    """
    names = tuple(name.strip() for name in text.split(","))
    if not all(names):
        raise ConfigError(f"--models: {text!r} holds an empty name; give backbones like vgg16_bn,resnet18")
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice is not None:
        raise ConfigError(f"--models: {twice} is there twice")
    return names


def stages_of(model: str, image_size: tuple[int, int]) -> tuple[Stage, ...]:
    """The Goldilocks stages of a backbone, in order; nothing is computed but shapes.

    Raises:
        ConfigError: Unknown backbone, or one that does not take images of that size.
    """
    layers = [layer for layer in named_layers(model) if layer.is_stage]
    if not layers:
        raise ConfigError(f"{model} has no stages to compare.")
    network = build_skeleton(model)
    shapes = layer_shapes(network, image_size)
    fields = receptive_fields(network, image_size, [layer.node for layer in layers])
    macs = _macs_by_node(network, image_size)
    stages = []
    for number, layer in enumerate(layers, start=1):
        body = cut(network, layer.node)
        field = fields[layer.node]
        stages.append(
            Stage(
                model=model,
                number=number,
                name=layer.name,
                node=layer.node,
                channels=shapes[layer.node][1],
                is_grid=len(shapes[layer.node]) == 4,
                mean_rf=field.mean_percent,
                max_rf=field.max_percent,
                parameters=sum(parameter.numel() for parameter in body.parameters()),
                macs=sum(macs[node.name] for node in body.graph.nodes if node.op != "output"),
            )
        )
    return tuple(stages)


def _macs_by_node(network: fx.GraphModule, image_size: tuple[int, int]) -> dict[str, int]:
    """Multiply-adds of every node of the graph for one image, counted on shapes alone."""
    network = network.to("meta").eval()
    macs: dict[str, int] = {}

    class Recorder(fx.Interpreter):
        def run_node(self, n: fx.Node) -> Any:
            before = counter.get_total_flops()
            value = super().run_node(n)
            macs[n.name] = (counter.get_total_flops() - before) // 2
            return value

    with FlopCounterMode(display=False) as counter:
        Recorder(network).run(torch.empty(1, 3, *image_size, device="meta"))
    return macs
