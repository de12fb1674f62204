"""Propagated receptive fields against where NaN really arrives."""

from __future__ import annotations

import os

import numpy as np
import pytest
import timm
import torch
import torchvision
from hypothesis import HealthCheck, given, settings
from random_networks import small_networks
from torch import nn

from pixpnet.errors import UnsupportedOperationError
from pixpnet.receptive_fields import (
    ReceptiveField,
    probe_receptive_field,
    probe_receptive_fields,
    receptive_field,
    receptive_fields,
)

SETTINGS = settings(
    max_examples=int(os.environ.get("RANDOM_NETWORKS", "100")),  # 3000 after a change of the rules
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.too_slow],
)
REFUSED = ("interleaves", "antialiasing")
"""A pixel shuffle of channels that see different things; an error of torch's antialiasing."""

TORCHVISION = {
    "alexnet": (67, 63),
    "inception_v3": (81, 75),
    **dict.fromkeys(
        (
            *("vgg11_bn", "resnet18", "resnext50_32x4d", "densenet121", "googlenet"),
            *("squeezenet1_0", "squeezenet1_1", "mobilenet_v2", "mobilenet_v3_small", "mnasnet0_5"),
            *("efficientnet_b0", "efficientnet_v2_s", "regnet_x_400mf", "regnet_y_400mf"),
            *("shufflenet_v2_x0_5", "convnext_tiny"),
        ),
        (37, 33),
    ),
}
TIMM = (
    "tf_efficientnet_lite0",  # dynamic 'same' padding
    "resnest14d",  # split attention
    "skresnet18",  # selective kernels
    "convnext_atto",
    "lcnet_050",
    "mixnet_s",  # channels in unequal splits
)


def assert_equal(ours: ReceptiveField, probed: ReceptiveField) -> None:
    np.testing.assert_array_equal(ours.boxes, probed.boxes)
    np.testing.assert_array_equal(ours.rows, probed.rows)
    np.testing.assert_array_equal(ours.columns, probed.columns)


def assert_layers_equal(network: nn.Module, size: tuple[int, int]) -> None:
    """Compare about a dozen feature maps, up to where the last ones see everything."""
    ours = receptive_fields(network, size)
    local = [index for index, field in enumerate(ours.values()) if not field.is_global]
    layers = list(ours)[: local[-1] + 5]
    layers = layers[:: max(1, len(layers) // 12)]
    assert len(local) >= 5
    probed = probe_receptive_fields(network, size, layers)
    for layer in layers:
        assert_equal(ours[layer], probed[layer])


@SETTINGS
@given(small_networks())
def test_random_networks_see_what_the_probe_finds(case: tuple[nn.Module, tuple[int, int]]):
    network, size = case
    try:
        ours = receptive_field(network, size)
    except UnsupportedOperationError as error:
        if any(reason in str(error) for reason in REFUSED):
            return
        raise
    assert_equal(ours, probe_receptive_field(network, size))


@pytest.mark.parametrize("name", TORCHVISION)
def test_torchvision_families_see_what_the_probe_finds(name: str):
    options = {"init_weights": False} if name in ("inception_v3", "googlenet") else {}
    # The probe gives it weights; RegNet alone cannot do without its own at first.
    device = "cpu" if name.startswith("regnet") else "meta"
    with torch.device(device):
        network = torchvision.models.get_model(name, weights=None, **options)
    network = network.to_empty(device="cpu")
    assert_layers_equal(network, TORCHVISION[name])


def test_inception_that_transforms_its_input():
    network = torchvision.models.inception_v3(transform_input=True, aux_logits=False, init_weights=False)
    field = receptive_field(network, (81, 75), "Conv2d_2b_3x3")
    assert_equal(field, probe_receptive_field(network, (81, 75), "Conv2d_2b_3x3"))


@pytest.mark.parametrize("name", TIMM)
def test_timm_networks_see_what_the_probe_finds(name: str):
    assert_layers_equal(timm.create_model(name), (37, 33))


def test_the_probe_leaves_the_network_as_it_is():
    network = nn.Sequential(nn.Conv2d(3, 2, 3), nn.BatchNorm2d(2)).train()
    before = {key: value.clone() for key, value in network.state_dict().items()}
    probe_receptive_field(network, (6, 6), "0")
    assert network.training
    assert all(torch.equal(value, before[key]) for key, value in network.state_dict().items())


class EachImageAlone(nn.Module):
    """Works on single images only, and says so by mixing a batch."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return nn.functional.max_pool2d(x.reshape(1, -1, *x.shape[-2:]), 2)


def test_the_probe_runs_networks_that_mix_a_batch_image_by_image():
    assert_equal(
        receptive_field(EachImageAlone(), (6, 4)),
        probe_receptive_field(EachImageAlone(), (6, 4)),
    )


class DividesByZero(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return (x - x) / (x - x)


def test_the_probe_refuses_networks_that_make_nan_themselves():
    with pytest.raises(UnsupportedOperationError, match="DividesByZero cannot be probed"):
        probe_receptive_field(DividesByZero(), (4, 4))


@pytest.mark.parametrize(
    "activation",
    [
        *(nn.ReLU(), nn.ReLU6(), nn.Hardtanh(), nn.Hardswish(), nn.Hardsigmoid(), nn.LeakyReLU(), nn.ELU()),
        *(nn.GELU(), nn.SiLU(), nn.Mish(), nn.Softplus(), nn.Threshold(0.5, 0.0), nn.PReLU(), nn.Sigmoid()),
    ],
    ids=lambda module: type(module).__name__,
)
def test_activations_let_nan_through_everywhere(activation: nn.Module):
    """What the probe stands on; odd sizes, so that vectorised and scalar code both run."""
    assert_equal(receptive_field(activation, (7, 5)), probe_receptive_field(activation, (7, 5)))
