"""The stages of each backbone: what can be said of them beforehand, and one pass that reads them all."""

from __future__ import annotations

import copy
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, cast

import torch
from jaxtyping import Float
from torch import Tensor, fx, nn
from torch.utils.flop_counter import FlopCounterMode

from pixpnet.backbones import (
    FAMILIES,
    Backbone,
    build_skeleton,
    build_tiled,
    cut,
    family_of,
    layer_shapes,
    list_backbones,
    named_layers,
    usual_tile_input,
)
from pixpnet.errors import ConfigError
from pixpnet.receptive_fields import receptive_fields

PAPER_FAMILIES = ("resnet", "vgg", "densenet", "inception", "squeezenet")
"""Those of the paper's Goldilocks experiments."""

TILE = "tile"
"""What the name of a stage begins with that is no layer, but the whole network on tiles."""


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
    tile: int | None
    """Side of the tiles that the whole network is run on, in place of a cut."""
    mean_rf: float
    """Mean receptive field of its cells, percent of the image's area."""
    max_rf: float
    """Largest receptive field, percent of the image's area."""
    parameters: int
    """What the network has up to there."""
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
                tile=None,
                mean_rf=field.mean_percent,
                max_rf=field.max_percent,
                parameters=sum(parameter.numel() for parameter in body.parameters()),
                macs=sum(macs[node.name] for node in body.graph.nodes if node.op != "output"),
            )
        )
    return tuple(stages)


def tile_stages(
    model: str, image_size: tuple[int, int], tiles: Sequence[int], *, tile_input: int | None = None
) -> tuple[Stage, ...]:
    """The whole network on tiles of each size, as stages that are named ``tile80``, from small to large.

    Args:
        model: Any network of torchvision or timm.
        image_size: (height, width).
        tiles: Their sides in pixels; they lie about half a tile apart.
        tile_input: Side that tiles are resized to; None: `usual_tile_input`.

    Raises:
        ConfigError: An unknown network, tiles that don't fit into the image, or an input that it can't take.
    """
    stages = []
    for number, tile in enumerate(sorted(tiles), start=1):
        side = tile_input or usual_tile_input(tile)
        backbone = build_tiled(model, tile=tile, tile_input=side, pretrained=False)
        field = backbone.receptive_field(image_size)
        with FlopCounterMode(display=False) as counter:
            backbone.network.to("meta").eval()(torch.empty(1, 3, side, side, device="meta"))
        stages.append(
            Stage(
                model=model,
                number=number,
                name=f"{TILE}{tile}",
                node="",
                channels=backbone.out_channels,
                is_grid=True,
                tile=tile,
                mean_rf=field.mean_percent,
                max_rf=field.max_percent,
                parameters=sum(parameter.numel() for parameter in backbone.parameters()),
                macs=math.prod(field.grid_size) * counter.get_total_flops() // 2,
            )
        )
    return tuple(stages)


def tile_of(stage: str) -> int | None:
    """Side of the tiles that a stage's name tells; None: it is a layer.

    >>> tile_of("tile80"), tile_of("layer2")
    (80, None)
    """
    side = stage.removeprefix(TILE)
    return int(side) if side != stage and side.isdecimal() else None


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


class StageReaders(nn.Module):
    """A backbone that hands the features of each stage to a reader, and returns what these make of them.

    A reader sees the features before anything behind the stage runs (an activation in place, say), so what it
    reads is what the network cut at the stage gives. The weights are the backbone's own, not copies.
    """

    scale: Tensor
    shift: Tensor

    def __init__(self, backbone: Backbone, stages: Sequence[Stage], readers: Sequence[nn.Module]) -> None:
        super().__init__()
        graph = copy.deepcopy(backbone.body.graph)
        body = fx.GraphModule(backbone.body, graph)
        nodes = {node.name: node for node in graph.nodes}
        read = []
        for stage, reader in zip(stages, readers, strict=True):
            path = f"reader_{stage.number}"
            body.add_submodule(path, reader)
            with graph.inserting_after(nodes[stage.node]):
                read.append(graph.call_module(path, (nodes[stage.node],)))
        next(node for node in graph.nodes if node.op == "output").args = (tuple(read),)
        body.recompile()
        self.body = body
        self.register_buffer("scale", cast(Tensor, backbone.input_scale), persistent=False)
        self.register_buffer("shift", cast(Tensor, backbone.input_shift), persistent=False)

    def forward(self, images: Float[Tensor, "b 3 H W"]) -> tuple[Tensor, ...]:
        return self.body(images * self.scale + self.shift)


class AverageReader(nn.Module):
    """The average over the cells of a grid; vectors stay."""

    def forward(self, features: Float[Tensor, "b d *grid"]) -> Float[Tensor, "b d"]:
        return features.flatten(2).mean(dim=2) if features.dim() > 2 else features


class LargestReader(nn.Module):
    """The largest value of each channel over the cells of a grid; vectors stay."""

    def forward(self, features: Float[Tensor, "b d *grid"]) -> Float[Tensor, "b d"]:
        # A copy: an activation in place behind the stage would overwrite what the gradient needs.
        kept = features.clone()
        return kept.flatten(2).amax(dim=2) if kept.dim() > 2 else kept
