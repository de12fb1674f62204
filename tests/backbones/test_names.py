"""Layer names: the paper's, node names, module paths, and what is said about names that do not exist."""

import re

import numpy as np
import pytest

from pixpnet.backbones import (
    FAMILIES,
    build_backbone,
    build_skeleton,
    family_of,
    find_node,
    layer_shapes,
    list_backbones,
    named_layers,
)
from pixpnet.errors import ConfigError

RESNET = "conv1_no_act bn1 *conv1 *maxpool *layer1 *layer2 *layer3 *layer4 *avgpool flatten *fc"
DENSENET = (
    "*conv0 *norm0 *relu0 *pool0 *denseblock1 *transition1 *denseblock2 *transition2 *denseblock3 "
    "*transition3 *denseblock4 *norm5 relu *avgpool flatten *classifier"
)
VGG_END = (
    "*avgpool flatten classifier_0 classifier_1 classifier_2 classifier_3 classifier_4 classifier_5 "
    "*classifier"
)

NAMES = {
    "resnet18": RESNET,
    "wide_resnet50_2": RESNET,
    "resnext50_32x4d": RESNET,
    "densenet121": DENSENET,
    "densenet201": DENSENET,
    "vgg11": (
        "conv_no_act1 *conv1 *maxpool1 conv_no_act2 conv2 *maxpool2 conv_no_act3 conv3 conv_no_act4 "
        "conv4 *maxpool3 conv_no_act5 conv5 conv_no_act6 conv6 *maxpool4 conv_no_act7 conv7 "
        "conv_no_act8 conv8 *maxpool5 " + VGG_END
    ),
    "vgg11_bn": (
        "conv_no_act1 bn1 *conv1 *maxpool1 conv_no_act2 bn2 conv2 *maxpool2 conv_no_act3 bn3 conv3 "
        "conv_no_act4 bn4 conv4 *maxpool3 conv_no_act5 bn5 conv5 conv_no_act6 bn6 conv6 *maxpool4 "
        "conv_no_act7 bn7 conv7 conv_no_act8 bn8 conv8 *maxpool5 " + VGG_END
    ),
    "inception_v3": (
        "*Conv2d_1a_3x3 *Conv2d_2a_3x3 *Conv2d_2b_3x3 *maxpool1 *Conv2d_3b_1x1 *Conv2d_4a_3x3 "
        "*maxpool2 *Mixed_5b *Mixed_5c *Mixed_5d *Mixed_6a *Mixed_6b *Mixed_6c *Mixed_6d *Mixed_6e "
        "Mixed_7a Mixed_7b *Mixed_7c *avgpool flatten *fc"
    ),
    "squeezenet1_0": (
        "*conv1 relu1 *maxpool1 fire2 fire3 fire4 *maxpool2 fire5 fire6 fire7 fire8 *maxpool3 "
        "*features dropout *final_conv final_relu flatten"
    ),
    "squeezenet1_1": (
        "*conv1 relu1 *maxpool1 fire2 fire3 *maxpool2 fire4 fire5 *maxpool3 fire6 fire7 fire8 "
        "*features dropout *final_conv final_relu flatten"
    ),
    "small_resnet": "*stem *layer1 *layer2 *layer3 *avgpool flatten *fc",
}


@pytest.mark.parametrize("name", NAMES)
def test_families_name_their_layers_as_the_paper_does(name):
    starred = [f"{'*' * layer.is_stage}{layer.name}" for layer in named_layers(name)]
    assert starred == NAMES[name].split()


@pytest.mark.parametrize("name", list_backbones())
def test_every_backbone_has_named_layers_in_order(name):
    layers = named_layers(name)
    assert len({layer.name for layer in layers}) == len(layers) > 5
    assert sum(layer.is_stage for layer in layers) >= 4
    default = family_of(name).default
    assert default is None or default in {layer.name for layer in layers}


def test_list_backbones_holds_all_families_but_no_transformers():
    names = list_backbones()
    for family in FAMILIES.values():
        assert any(re.fullmatch(family.pattern, name) for name in names)
    assert not any("vit" in name or "swin" in name for name in names)


def test_layers_lie_where_the_original_has_them(golden):
    files = sorted((golden / "rf").glob("*.npz"))
    assert files
    for file in files:
        name, height, width = re.fullmatch(r"(\w+)_(\d+)x(\d+)", file.stem).groups()
        nodes = {layer.name: layer.node for layer in named_layers(name)}
        shapes = layer_shapes(build_skeleton(name), (int(height), int(width)))
        for layer, boxes in np.load(file).items():
            if layer.endswith("@ch0") or (name, layer) == ("squeezenet1_1", "avgpool"):
                continue
            grid = shapes[nodes[layer]][2:] or (1, 1)
            assert grid == boxes.shape[:2], f"{name} {layer}"


@pytest.mark.parametrize(
    ("name", "default", "channels"),
    [
        ("resnet18", "layer4", 512),
        ("vgg11_bn", "maxpool5", 512),
        ("densenet121", "relu", 1024),
        ("inception_v3", "Mixed_7c", 2048),
        ("squeezenet1_1", "features", 512),
        ("small_resnet", "layer3", 128),
        ("alexnet", "features", 256),
        ("googlenet", "inception5b", 1024),
        ("mobilenet_v2", "features", 1280),
        ("mobilenet_v3_small", "features", 576),
        ("efficientnet_b0", "features", 1280),
        ("mnasnet0_5", "layers", 1280),
        ("regnet_y_400mf", "trunk_output", 440),
        ("shufflenet_v2_x0_5", "conv5", 1024),
        ("convnext_tiny", "features", 768),
    ],
)
def test_the_default_is_the_last_feature_layer(name, default, channels):
    backbone = build_backbone(name, pretrained=False)
    assert (backbone.name, backbone.layer, backbone.out_channels) == (name, default, channels)


def test_other_networks_have_the_last_layer_of_each_size_as_stage():
    starred = [f"{'*' * layer.is_stage}{layer.name}" for layer in named_layers("mobilenet_v3_small")]
    last_of_size = {0, 1, 3, 8}
    assert starred[:12] == [f"{'*' * (index in last_of_size)}features.{index}" for index in range(12)]
    assert starred[12:] == ["*features"]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"name": "resnt18"}, ["'resnt18'", "nearest: resnet18"]),
        ({"name": "timm/resnt18"}, ["'timm/resnt18'", "timm/resnet18"]),
        ({"name": "zzzz"}, ["unknown backbone 'zzzz'."]),
        ({"name": "resnet18", "layer": "layr2"}, ["no layer 'layr2'", "layer2"]),
        ({"name": "resnet18", "layer": "layer2.0.conv3"}, ["layer2.0.conv2"]),
        ({"name": "vgg11", "layer": "bn1"}, ["no layer 'bn1'", "conv1"]),
        ({"name": "shufflenet_v2_x0_5", "layer": "size"}, ["layer size gives no feature grid"]),
        ({"name": "small_resnet", "pretrained": True}, ["no published weights", "--model.no-pretrained"]),
    ],
)
def test_names_that_do_not_work_are_one_line_with_the_nearest(arguments, words):
    with pytest.raises(ConfigError) as error:
        build_backbone(**{"pretrained": False, **arguments})
    assert "\n" not in str(error.value)
    assert all(word in str(error.value) for word in words), str(error.value)


@pytest.mark.parametrize(
    ("layer", "channels"),
    [
        ("layer2.0", 128),
        ("layer2_0_relu_1", 128),
        ("layer2.0.relu", 128),
        ("layer1_1_bn2", 64),
        ("add_2", 128),
    ],
)
def test_nodes_and_module_paths_are_layers_too(layer, channels):
    assert build_backbone("resnet18", layer=layer, pretrained=False).out_channels == channels


def test_a_module_path_means_the_modules_last_call_and_a_node_name_that_call():
    network = build_skeleton("resnet18")
    found = {
        layer: find_node(network, layer).name for layer in ("layer2.0.relu", "layer2_0_relu", "layer2.0")
    }
    assert found == {
        "layer2.0.relu": "layer2_0_relu_1",
        "layer2_0_relu": "layer2_0_relu",
        "layer2.0": "layer2_0_relu_1",
    }
