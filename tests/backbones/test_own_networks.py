"""Any module that makes feature maps is a backbone: by a name, on tiles, or as it is."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch
from torch import nn

from pixpnet import ConfigError, build_backbone, build_tiled, receptive_field
from pixpnet.backbones import NETWORKS, channels_of, list_backbones
from pixpnet.config import ModelConfig
from pixpnet.prototypes import build_network


class Forked(nn.Module):
    """Cannot be traced by torch.fx: what it does depends on the values of the image."""

    def __init__(self, channels: int = 5) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Conv2d(3, channels, 4, stride=4), nn.BatchNorm2d(channels))

    def forward(self, images):
        if len(images) > 10_000:
            raise RuntimeError("too many")
        return self.layers(images).relu()


@pytest.fixture
def named() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(NETWORKS, "forked", Forked)
        yield


def test_channels_are_found_by_a_trial_that_changes_nothing() -> None:
    network = Forked(7).train()
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    assert channels_of(network) == 7
    assert network.layers.training
    assert all(torch.equal(before[name], tensor) for name, tensor in network.state_dict().items())
    network.out_channels = 6
    assert channels_of(network) == 6


@pytest.mark.parametrize(
    ("network", "said"),
    [
        (nn.Sequential(nn.Flatten()), r"Sequential gives no feature map: .* it makes \[1, 150528\]; wanted"),
        (nn.Conv2d(4, 5, 3), None),
        (nn.Sequential(nn.Conv2d(4, 5, 3)), "Sequential does not take images of 224x224"),
        (nn.LSTM(224, 8), "LSTM does not take images of 224x224|LSTM gives no feature map"),
    ],
)
def test_what_makes_no_feature_map_is_said(network: nn.Module, said: str | None) -> None:
    if said is None:  # it says its own
        assert channels_of(network) == 5
        return
    with pytest.raises(ConfigError, match=said):
        build_network(ModelConfig(num_prototypes=4, prototype_dim=3), num_classes=2, backbone=network)


def test_prototypes_on_a_module_as_it_is() -> None:
    torch.manual_seed(0)
    network = build_network(
        ModelConfig(num_prototypes=4, prototype_dim=3), num_classes=2, backbone=Forked(9)
    ).eval()
    assert network(torch.randn(2, 3, 20, 24)).logits.shape == (2, 2)
    assert receptive_field(network.backbone, (20, 24)).box(1, 2) == (8, 4, 12, 8)


@pytest.mark.usefixtures("named")
def test_a_network_by_its_name() -> None:
    assert "forked" in list_backbones()
    backbone = build_backbone("forked", pretrained=False).eval()
    assert (backbone.out_channels, backbone.layer) == (5, "feature map")
    images = torch.randn(2, 3, 20, 24)
    torch.testing.assert_close(backbone(images), backbone.body(images))
    assert receptive_field(backbone, (20, 24)).box(1, 2) == (8, 4, 12, 8)
    tiled = build_tiled("forked", tile=16, pretrained=False)
    assert tiled.out_channels == 5
    assert tiled.receptive_field((32, 32)).box(0, 0) == (0, 0, 4, 4)
    with pytest.raises(ConfigError, match="forked has no published weights"):
        build_backbone("forked")
