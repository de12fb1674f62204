"""The cut network gives what the whole network gives there, and holds nothing else."""

import copy
import pickle

import pytest
import torch
from torch import fx, nn
from torch.nn import functional
from torchvision import models

from pixpnet.backbones import SmallResNet, build_backbone, cut, graph_of, named_layers
from pixpnet.backbones.backbone import ARGUMENTS

SIZES = {"inception_v3": 80}


def whole(name: str) -> nn.Module:
    """torchvision's own network, with batch norm statistics and scales that differ from layer to layer."""
    torch.manual_seed(1)
    if name == "small_resnet":
        model = SmallResNet()
    else:
        model = models.get_model(name, weights=None, **ARGUMENTS.get(name, {}))
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.normal_(module.running_mean, std=0.1)
            nn.init.uniform_(module.running_var, 0.5, 1.5)
            nn.init.normal_(module.bias, std=0.1)
    return model


def cut_like(model: nn.Module, name: str, layer: str) -> nn.Module:
    """The cut network with the tensors of the whole one."""
    nodes = {known.name: known.node for known in named_layers(name)}
    return cut(graph_of(copy.deepcopy(model)), nodes[layer])


def outputs(model: nn.Module, images: torch.Tensor, paths: list[str]) -> dict[str, torch.Tensor]:
    """Output of the (last call of the) modules, copied before later layers can overwrite it."""
    seen = {}

    def keep(path):
        return lambda module, inputs, output: seen.__setitem__(path, output.clone())

    hooks = [model.get_submodule(path).register_forward_hook(keep(path)) for path in paths]
    model(images)
    for hook in hooks:
        hook.remove()
    return seen


def module_paths(model: nn.Module, name: str) -> dict[str, str]:
    """Named layers whose place in torchvision's network can be told without the tracing code."""
    special = {
        "resnet18": {"conv1_no_act": "conv1", "conv1": "relu"},
        "densenet121": {"relu": "", "avgpool": "", "flatten": ""},
        "inception_v3": {"flatten": ""},
        "squeezenet1_1": {
            "conv1": "features.0",
            "relu1": "features.1",
            "maxpool1": "features.2",
            "fire2": "features.3",
            "maxpool3": "features.8",
            "final_conv": "classifier.1",
        },
        "vgg11_bn": {
            "conv_no_act1": "features.0",
            "bn1": "features.1",
            "conv1": "features.2",
            "maxpool1": "features.3",
            "conv_no_act2": "features.4",
            "bn2": "features.5",
            "maxpool5": "features.28",
            "classifier_1": "classifier.1",
        },
    }.get(name, {})
    known = dict(model.named_modules())
    paths = {}
    for layer in named_layers(name):
        for path in (special.get(layer.name, layer.name), f"features.{layer.name}"):
            if path in known and path and layer.name not in paths:
                paths[layer.name] = path
    return paths


@pytest.mark.parametrize(
    ("name", "least"),
    [
        ("resnet18", 10),
        ("vgg11_bn", 10),
        ("densenet121", 13),
        ("inception_v3", 20),
        ("squeezenet1_1", 7),
        ("small_resnet", 7),
        ("googlenet", 12),
        ("mobilenet_v3_small", 10),
        ("shufflenet_v2_x0_5", 5),
        ("efficientnet_b0", 8),
        ("convnext_tiny", 8),
        ("regnet_y_400mf", 5),
    ],
)
def test_the_cut_network_gives_what_the_whole_gives_there(name, least):
    model = whole(name).eval()
    images = torch.randn(1, 3, SIZES.get(name, 48), SIZES.get(name, 48) + 7)
    paths = module_paths(model, name)
    assert len(paths) >= least
    traced = graph_of(model)
    nodes = {layer.name: layer.node for layer in named_layers(name)}
    with torch.inference_mode():
        expected = outputs(model, images, list(paths.values()))
        for layer, path in paths.items():
            assert torch.equal(cut(traced, nodes[layer])(images), expected[path]), layer


@pytest.mark.parametrize(("name", "layer"), [("inception_v3", "maxpool1"), ("googlenet", "maxpool2")])
def test_networks_with_their_own_normalisation_convert_from_imagenets(name, layer):
    """As torchvision does for its published weights (transform_input)."""
    model = whole(name).eval()
    backbone = build_backbone(name, layer=layer, pretrained=False).eval()
    state = model.state_dict()
    backbone.load_state_dict({key: state[key.removeprefix("body.")] for key in backbone.state_dict()})
    images = torch.randn(1, 3, 80, 80)
    with torch.inference_mode():
        plain = outputs(model, images, [layer])[layer]
        model.transform_input = True
        converted = outputs(model, images, [layer])[layer]
        scale = converted.std()
        assert (plain - converted).abs().max() > 0.05 * scale
        torch.testing.assert_close(backbone(images) / scale, converted / scale, rtol=0.0, atol=1e-4)


def test_densenet_ends_with_a_relu_that_is_a_function():
    model = whole("densenet121").eval()
    images = torch.randn(1, 3, 64, 64)
    with torch.inference_mode():
        expected = functional.relu(model.features(images))
        torch.testing.assert_close(cut_like(model, "densenet121", "relu").eval()(images), expected)


@pytest.mark.parametrize(
    ("name", "layer", "is_negative"),
    [
        ("resnet18", "conv1_no_act", True),
        ("resnet18", "bn1", True),
        ("resnet18", "conv1", False),
        ("squeezenet1_1", "conv1", True),
        ("squeezenet1_1", "relu1", False),
    ],
)
def test_cuts_before_an_in_place_activation_keep_negative_values(name, layer, is_negative):
    backbone = build_backbone(name, layer=layer, pretrained=False)
    assert bool((backbone(torch.randn(1, 3, 32, 32)) < 0).any()) == is_negative


@pytest.mark.parametrize("name", ["resnet18", "squeezenet1_1", "efficientnet_b0", "convnext_tiny"])
def test_training_mode_is_that_of_the_whole_network(name):
    """Batch statistics, dropout and stochastic depth: the same under the same random numbers."""
    layer, path = {
        "resnet18": ("layer2", "layer2"),
        "squeezenet1_1": ("final_conv", "classifier.1"),
        "efficientnet_b0": ("features", "features"),
        "convnext_tiny": ("features", "features"),
    }[name]
    model = whole(name).train()
    backbone = cut_like(model, name, layer).train()
    images = torch.randn(2, 3, 64, 64)
    torch.manual_seed(3)
    expected = outputs(model, images, [path])[path]
    torch.manual_seed(3)
    torch.testing.assert_close(backbone(images), expected)
    state = model.state_dict()
    for key, tensor in backbone.state_dict().items():
        torch.testing.assert_close(tensor, state[key])
    backbone.eval()
    assert torch.equal(backbone(images), backbone(images))


def test_a_backbone_holds_only_the_part_that_runs():
    backbone = build_backbone("resnet18", layer="layer2.0", pretrained=False)
    keys = list(backbone.state_dict())
    assert keys[0] == "body.conv1.weight"
    assert keys[-1] == "body.layer2.0.downsample.1.num_batches_tracked"
    assert not any("layer2.1" in key or "layer3" in key or "fc" in key for key in keys)
    assert sum(p.numel() for p in backbone.parameters()) == 387_648


def test_backbones_can_be_traced_copied_and_pickled():
    backbone = build_backbone("resnet18", layer="layer1", pretrained=False).eval()
    images = torch.randn(1, 3, 32, 32)
    expected = backbone(images)
    for other in (fx.symbolic_trace(backbone), copy.deepcopy(backbone), pickle.loads(pickle.dumps(backbone))):
        assert torch.equal(other(images), expected)
    copied = copy.deepcopy(backbone)
    nn.init.zeros_(copied.body.conv1.weight)
    assert torch.equal(backbone(images), expected)


@pytest.mark.parametrize("layer", ["flatten", "fc"])
def test_vectors_are_grids_of_one_cell(layer):
    backbone = build_backbone("small_resnet", layer=layer, pretrained=False)
    assert backbone(torch.zeros(2, 3, 32, 32)).shape == (2, backbone.out_channels, 1, 1)


def test_the_small_resnet_sees_less_than_a_third_of_128_pixels():
    """Changes of a corner of the image reach only the cells whose 71 pixels hold it."""
    backbone = build_backbone("small_resnet", pretrained=False).eval()
    images = torch.randn(1, 3, 128, 128)
    images.requires_grad_()
    backbone(images)[0, :, 8, 8].sum().backward()
    rows, columns = images.grad.abs().sum((0, 1)).nonzero(as_tuple=True)
    height, width = (int(axis.max() - axis.min()) + 1 for axis in (rows, columns))
    assert height * width / 128**2 < 0.31
    assert height == width == 71
