"""Networks that turn images into feature grids, cut where their receptive field is still small."""

from pixpnet.backbones.backbone import Backbone
from pixpnet.backbones.build import build_backbone, build_model, build_skeleton, list_backbones, named_layers
from pixpnet.backbones.names import NamedLayer

__all__ = [
    "Backbone",
    "NamedLayer",
    "build_backbone",
    "build_model",
    "build_skeleton",
    "list_backbones",
    "named_layers",
]
