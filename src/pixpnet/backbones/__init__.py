"""Networks that turn images into feature grids: cut where their receptive field is small, or run on tiles."""

from pixpnet.backbones.backbone import (
    JOINT,
    NETWORKS,
    Backbone,
    SmallResNet,
    backbone_of,
    build_backbone,
    build_model,
    build_skeleton,
    build_tiled,
    channels_of,
    list_backbones,
    named_layers,
)
from pixpnet.backbones.names import FAMILIES, NamedLayer, family_of
from pixpnet.backbones.tiled import TiledBackbone, tile_starts, usual_tile_input
from pixpnet.backbones.timm_models import trace_with_timm
from pixpnet.backbones.tracing import cut, find_node, graph_of, layer_shapes
from pixpnet.backbones.weights import is_on_disk

__all__ = [
    "FAMILIES",
    "JOINT",
    "NETWORKS",
    "Backbone",
    "NamedLayer",
    "SmallResNet",
    "TiledBackbone",
    "backbone_of",
    "build_backbone",
    "build_model",
    "build_skeleton",
    "build_tiled",
    "channels_of",
    "cut",
    "family_of",
    "find_node",
    "graph_of",
    "is_on_disk",
    "layer_shapes",
    "list_backbones",
    "named_layers",
    "tile_starts",
    "trace_with_timm",
    "usual_tile_input",
]
