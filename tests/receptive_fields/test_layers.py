"""Naming layers, what is left unchanged, and errors."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest
import timm
import torch
import torchvision
from torch import Tensor, fx, nn

from pixpnet.errors import ConfigError, UnsupportedOperationError
from pixpnet.receptive_fields import receptive_field, receptive_fields


class Twice(nn.Module):
    """A pool that is called twice, between convolutions."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, 4, 3, padding=1), nn.ReLU())
        self.pool = nn.MaxPool2d(2)
        self.tail = nn.Conv2d(4, 2, 3)
        self.register_buffer("scale", torch.tensor(2.0))

    def forward(self, x: Tensor) -> Tensor:
        x = self.pool(self.stem(x))
        return self.pool(self.tail(x)) * self.scale * torch.tensor(1.0)


class Flat(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x.reshape(1, 600)


SIZE = (16, 14)


def rows_of(network: nn.Module, layer: str | None) -> int:
    return receptive_field(network, SIZE, layer).grid_size[0]


def test_a_layer_is_a_node_or_the_last_call_of_a_module():
    network = Twice()
    assert rows_of(network, "stem_0") == rows_of(network, "stem.0") == rows_of(network, "stem") == 16
    assert rows_of(network, "pool") == 8  # the node of that name, not the last call of the module
    assert rows_of(network, "pool_1") == rows_of(network, None) == 3
    nested = nn.Sequential(network)
    assert rows_of(nested, "0.pool") == 3  # several calls: the last


def test_a_traced_network_gives_the_same_and_so_does_a_wrapper_around_it():
    network = Twice().eval()
    traced = fx.symbolic_trace(network)

    class Wrapper(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.network = traced

        def forward(self, images: Tensor) -> Tensor:
            return self.network(images)

    plain, graph = receptive_fields(network, SIZE), receptive_fields(traced, SIZE)
    assert list(plain) == list(graph)
    assert list(plain) == [name for name in (node.name for node in traced.graph.nodes) if name in plain]
    for layer, field in plain.items():
        np.testing.assert_array_equal(field.boxes, graph[layer].boxes)
    expected = receptive_field(network, SIZE).boxes
    np.testing.assert_array_equal(receptive_field(Wrapper(), SIZE).boxes, expected)
    np.testing.assert_array_equal(receptive_field(traced, SIZE, "tail").boxes, plain["tail"].boxes)
    np.testing.assert_array_equal(receptive_field(traced, SIZE, "stem.1").boxes, plain["stem_1"].boxes)
    np.testing.assert_array_equal(
        receptive_field(Wrapper(), SIZE, "network.stem.1").boxes, plain["stem_1"].boxes
    )


def test_modules_in_a_graph_that_have_no_rule_are_traced():
    graph = fx.Graph()
    output = graph.call_module("0", (graph.placeholder("x"),))
    graph.output(output)
    network = fx.GraphModule(nn.Sequential(Twice()), graph)
    np.testing.assert_array_equal(receptive_field(network, SIZE).boxes, receptive_field(Twice(), SIZE).boxes)


def test_nodes_are_named_as_torch_fx_names_them():
    for name in ("resnet18", "densenet121", "shufflenet_v2_x0_5", "mobilenet_v3_small"):
        with torch.device("meta"):
            network = torchvision.models.get_model(name, weights=None).eval()
        maps = receptive_fields(network, (64, 64))
        assert set(maps) <= {node.name for node in fx.symbolic_trace(network).graph.nodes}
        assert len(maps) > 60


def test_nothing_of_the_network_is_changed():
    network = nn.Sequential(Twice(), nn.Dropout(), nn.BatchNorm2d(2)).train()
    network[1].eval()
    modes = [module.training for module in network.modules()]
    attributes = [sorted(vars(module)) for module in network.modules()]
    receptive_fields(network, SIZE)
    assert [module.training for module in network.modules()] == modes
    assert [sorted(vars(module)) for module in network.modules()] == attributes


def test_modes_are_restored_after_an_error():
    network = nn.Sequential(nn.Conv2d(3, 1, 3), nn.Unfold(2)).train()
    with pytest.raises(UnsupportedOperationError):
        receptive_field(network, SIZE)
    assert network.training


def test_training_mode_is_not_looked_at():
    class AuxiliaryInTraining(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return x.mean((2, 3), keepdim=True) if self.training else x

    assert not receptive_field(AuxiliaryInTraining().train(), SIZE).is_global


def test_no_data_flows():
    with torch.device("meta"):
        network = torchvision.models.resnet18(weights=None)
    assert receptive_field(network, (64, 64), "layer1").grid_size == (16, 16)


def test_many_layers_share_one_propagation_and_equal_single_ones():
    network = torchvision.models.vgg11_bn(weights=None, init_weights=False)
    fields = receptive_fields(network, (64, 48), ["features.3", "avgpool", "classifier.6"])
    assert list(fields) == ["features.3", "avgpool", "classifier.6"]
    for layer, field in fields.items():
        np.testing.assert_array_equal(field.boxes, receptive_field(network, (64, 48), layer).boxes)
    assert fields["classifier.6"].boxes.tolist() == [[[0, 0, 48, 64]]]


def test_channels_last_and_tuples_are_no_maps():
    class Split(nn.Module):
        def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
            y = x.permute(0, 2, 3, 1)
            return y, x

    fields = receptive_fields(Split(), (4, 4))
    assert fields == {}
    with pytest.raises(ConfigError, match="output is not one tensor"):
        receptive_field(Split(), (4, 4))


@pytest.mark.parametrize(
    ("about", "function"),
    [
        ("1, 2", lambda x: x.permute(0, 2, 3, 1)),
        ("2, 3", lambda x: x.transpose(2, 3)),
        ("0, 1", lambda x: x[0].permute(1, 2, 0)),
        ("1", lambda x: x.flatten(2).transpose(1, 2)),
        ("2", lambda x: x.mean(3)),
    ],
)
def test_rows_and_columns_elsewhere_are_no_grid_of_one_cell(about: str, function):
    class Moves(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return function(x)

    with pytest.raises(ConfigError, match=rf"dimensions {about}, where .* permute it"):
        receptive_field(Moves(), (4, 5))
    assert receptive_fields(Moves(), (4, 5)) == {}


def test_layers_before_what_is_not_known_are_known():
    network = nn.Sequential(nn.Conv2d(3, 1, 3), nn.Unfold(2), nn.Linear(3, 2))
    assert receptive_field(network, SIZE, "0").box(0, 0) == (0, 0, 3, 3)
    for call in (lambda: receptive_field(network, SIZE), lambda: receptive_fields(network, SIZE)):
        with pytest.raises(UnsupportedOperationError, match=r"operation Unfold \(node '_1' in module '1'\)"):
            call()


class DependsOnValues(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 1, 3)

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        return x if x.mean() > 0 else -x


def test_control_flow_over_values_is_refused_with_a_way_out():
    with pytest.raises(UnsupportedOperationError, match=r"depends on the values of 'gt'.*GraphModule"):
        receptive_field(DependsOnValues(), SIZE)
    with pytest.raises(UnsupportedOperationError):
        receptive_fields(DependsOnValues(), SIZE)
    assert receptive_field(DependsOnValues(), SIZE, "stem").grid_size == (14, 12)
    with pytest.raises(UnsupportedOperationError):
        receptive_field(DependsOnValues(), SIZE, "no_such_layer")


@pytest.mark.parametrize("name", ["vit_b_16", "swin_t", "maxvit_t"])
def test_transformers_of_torchvision_are_refused(name: str):
    with torch.device("meta"):
        network = torchvision.models.get_model(name, weights=None)
    with pytest.raises(
        UnsupportedOperationError, match=r"operation .* \(node '.*' in (module '.*'|the network itself)\)"
    ):
        receptive_field(network, (224, 224))


@pytest.mark.parametrize("name", ["vit_tiny_patch16_224", "swin_tiny_patch4_window7_224"])
def test_transformers_of_timm_are_refused(name: str):
    with torch.device("meta"):
        network = timm.create_model(name)
    with pytest.raises(UnsupportedOperationError, match="is not known"):
        receptive_field(network, (224, 224))


def test_unknown_layer_lists_the_nearest():
    with pytest.raises(ConfigError, match=r"no layer 'stem.2'.*nearest: .*stem\.0"):
        receptive_field(Twice(), SIZE, "stem.2")
    with pytest.raises(ConfigError, match="no layer 'output'"):
        receptive_field(Twice(), SIZE, "output")


@pytest.mark.parametrize(
    ("network", "size", "channels", "message"),
    [
        (Twice(), (4, 16), 3, r"image of this size: operation Conv2d \(node '_0_tail' in module '0.tail'"),
        (nn.MaxPool2d(5), (4, 4), 3, "does not fit 4 cells"),
        (nn.ConvTranspose2d(3, 1, 1, padding=3), (4, 4), 3, "leaves nothing of 4"),
        (Twice(), SIZE, 1, "takes 3 channels and gets 1"),
        (nn.Sequential(nn.Flatten(), nn.Linear(10, 2)), SIZE, 3, "takes 10 features and gets 672"),
        (nn.ReflectionPad2d(9), (4, 4), 3, "[Pp]adding"),
        (Twice(), (0, 4), 3, "must be positive"),
        (
            nn.Conv2d(1, 4, 3),
            SIZE,
            3,
            "takes 1 channels and gets 3. For an image of 1 channels pass channels=1",
        ),
        (nn.PixelUnshuffle(3), SIZE, 3, "3 does not divide 16x14"),
        (fx.symbolic_trace(Flat()), SIZE, 3, r"image of this size: operation reshape .* has no view"),
    ],
)
def test_images_that_do_not_fit(network: nn.Module, size: tuple[int, int], channels: int, message: str):
    with pytest.raises(ConfigError, match=message):
        receptive_field(nn.Sequential(network), size, channels=channels)


WRONG_SIZES = """
from torch import nn
from pixpnet.errors import ConfigError
from pixpnet.receptive_fields import receptive_field
for size in (64, (3, 64, 64), (64,), "64", (64.5, 64), None):
    try:
        receptive_field(nn.Conv2d(3, 4, 3), size)
    except ConfigError as error:
        assert "image_size is (height, width) in pixels, as in (224, 224)" in str(error), error
    else:
        raise AssertionError(size)
"""


def test_sizes_that_are_none():
    """In a process of its own, where the tests' checker of types does not come first."""
    done = subprocess.run([sys.executable, "-c", WRONG_SIZES], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_a_traced_network_with_a_second_input():
    class TwoInputs(nn.Module):
        def forward(self, x: Tensor, y: Tensor) -> Tensor:
            return x + y

    with pytest.raises(ConfigError, match="input 'y' has no default"):
        receptive_field(fx.symbolic_trace(TwoInputs()), SIZE)
    with pytest.raises(UnsupportedOperationError, match="missing 1 required positional argument"):
        receptive_field(TwoInputs(), SIZE)


def test_optional_inputs_keep_their_defaults():
    class Optional(nn.Module):
        def forward(self, x: Tensor, mask: Tensor | None = None, power: int = 2) -> Tensor:
            return x**power if mask is None else x * mask

    for network in (Optional(), fx.symbolic_trace(Optional(), concrete_args={"mask": None})):
        assert receptive_field(network, (2, 2)).box(1, 1) == (1, 1, 2, 2)


def test_one_channel():
    assert receptive_field(nn.Conv2d(1, 2, 3), (5, 5), channels=1).grid_size == (3, 3)
