"""Small stand-ins for the tests of the network."""

import torch
from torch import nn

from pixpnet.config import ModelConfig
from pixpnet.prototypes import PrototypeNetwork, build_network


class TinyBackbone(nn.Sequential):
    """One strided convolution."""

    out_channels = 12

    def __init__(self) -> None:
        super().__init__(nn.Conv2d(3, self.out_channels, 3, stride=2), nn.ReLU())


def tiny_network(*, num_classes: int = 4, own_class=None, **options) -> PrototypeNetwork:
    """A network of 8 prototypes of 16 channels, unless options say otherwise."""
    torch.manual_seed(0)
    config = ModelConfig(**{"num_prototypes": 8, "prototype_dim": 16} | options)
    return build_network(config, num_classes=num_classes, backbone=TinyBackbone(), own_class=own_class)
