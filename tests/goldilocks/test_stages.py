"""The stages of the backbones, against the networks cut there."""

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from pixpnet.backbones import build_backbone
from pixpnet.errors import ConfigError
from pixpnet.goldilocks import split_models, stages_of, zoo
from pixpnet.receptive_fields import receptive_field

SIZE = (64, 96)


@pytest.mark.parametrize("model", ["small_resnet", "squeezenet1_1"])
def test_stages_are_those_of_the_cut_networks(model):
    stages = stages_of(model, SIZE)
    assert [stage.number for stage in stages] == list(range(1, len(stages) + 1))
    for stage in stages[::2]:
        backbone = build_backbone(model, layer=stage.name, pretrained=False).to("meta").eval()
        with FlopCounterMode(display=False) as counter:
            features = backbone(torch.empty(1, 3, *SIZE, device="meta"))
        field = receptive_field(build_backbone(model, layer=stage.name, pretrained=False), SIZE)
        assert stage.macs == counter.get_total_flops() // 2
        assert stage.parameters == sum(parameter.numel() for parameter in backbone.parameters())
        assert stage.channels == features.shape[1]
        assert stage.is_grid == (stage.name != "fc")
        assert (stage.mean_rf, stage.max_rf) == (field.mean_percent, field.max_percent)


def test_the_papers_names():
    names = [stage.name for stage in stages_of("resnet18", SIZE)]
    assert names == ["conv1", "maxpool", "layer1", "layer2", "layer3", "layer4", "avgpool", "fc"]


def test_zoo_is_five_families_of_torchvision():
    names = zoo()
    for name in ("resnet152", "resnext50_32x4d", "wide_resnet50_2", "vgg19_bn", "vgg11", "densenet201"):
        assert name in names
    assert {"inception_v3", "squeezenet1_0"} <= set(names)
    assert not {"small_resnet", "alexnet", "mobilenet_v2"} & set(names)


@pytest.mark.parametrize("text", ["", "resnet18,", "resnet18,vgg11,resnet18"])
def test_lists_of_models_that_cannot_be_meant(text):
    with pytest.raises(ConfigError, match="--models"):
        split_models(text)
    assert split_models(" resnet18, vgg11 ") == ("resnet18", "vgg11")


def test_images_that_are_too_small():
    with pytest.raises(ConfigError, match="does not take images of 16x16"):
        stages_of("inception_v3", (16, 16))
