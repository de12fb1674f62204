"""Passes over the training images, on a network of one convolution."""

import pytest
import torch
from accelerate import Accelerator
from torch import nn

from pixpnet.config import ModelConfig
from pixpnet.data import Sample
from pixpnet.errors import DataError
from pixpnet.prototypes import build_network
from pixpnet.receptive_fields import receptive_field
from pixpnet.training import project_prototypes, start_prototypes
from pixpnet.types import ImageRecord

CLASS_NAMES = ("tern", "wren")


@pytest.fixture
def network():
    backbone = nn.Conv2d(3, 8, 3, stride=2)
    backbone.out_channels = 8
    return build_network(ModelConfig(num_prototypes=4, prototype_dim=4), num_classes=2, backbone=backbone)


def batch(*labels):
    generator = torch.Generator().manual_seed(0)
    images = torch.rand(len(labels), 3, 9, 9, generator=generator)
    return Sample(images, torch.tensor(labels), torch.arange(len(labels)))


def test_the_warning_names_the_class_that_has_too_few_images(network, tmp_path, caplog):
    file = tmp_path / "image.png"
    file.touch()
    labels = (0, 0, 1)
    sources = project_prototypes(
        network,
        [batch(*labels)],
        records=[ImageRecord(str(number), file, label) for number, label in enumerate(labels)],
        class_names=CLASS_NAMES,
        root=tmp_path,
        field=receptive_field(network.backbone, (9, 9)),
        duplicate_filter="sample",
        accelerator=Accelerator(cpu=True),
    )
    assert "class wren: too few images" in caplog.text
    assert [source.class_name for source in sources] == ["tern", "tern", "wren", "wren"]


def test_the_error_names_the_class_that_has_no_image_to_start_from(network):
    with pytest.raises(DataError, match="no training image of class wren"):
        start_prototypes(
            network,
            [batch(0, 0)],
            class_names=CLASS_NAMES,
            generator=torch.Generator().manual_seed(0),
            accelerator=Accelerator(cpu=True),
        )
