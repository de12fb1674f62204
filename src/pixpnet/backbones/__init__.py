"""Networks that turn images into feature grids, cut where their receptive field is still small."""

from pixpnet.backbones.build import Backbone, build_backbone, build_model, list_backbones, named_layers
from pixpnet.backbones.names import NamedLayer

__all__ = ["Backbone", "NamedLayer", "build_backbone", "build_model", "list_backbones", "named_layers"]
