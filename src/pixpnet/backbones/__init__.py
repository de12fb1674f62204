"""Networks that turn images into feature grids, cut where their receptive field is still small."""

from pixpnet.backbones.backbone import (
    Backbone,
    SmallResNet,
    build_backbone,
    build_model,
    build_skeleton,
    list_backbones,
    named_layers,
)
from pixpnet.backbones.names import FAMILIES, NamedLayer, family_of
from pixpnet.backbones.tracing import cut, find_node, graph_of, layer_shapes

__all__ = [
    "FAMILIES",
    "Backbone",
    "NamedLayer",
    "SmallResNet",
    "build_backbone",
    "build_model",
    "build_skeleton",
    "cut",
    "family_of",
    "find_node",
    "graph_of",
    "layer_shapes",
    "list_backbones",
    "named_layers",
]
