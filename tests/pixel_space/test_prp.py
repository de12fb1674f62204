"""Relevance maps against the slow restatement, and what must hold for every network."""

import numpy as np
import pytest
import torch
from prp_oracle import SmallBackbone, relevance_map
from torch import nn

from distance_oracles import EVERY
from pixpnet.backbones import Backbone, TiledBackbone, build_backbone
from pixpnet.config import ModelConfig
from pixpnet.errors import UnsupportedOperationError
from pixpnet.pixel_space import pixel_space_map, prp_maps, relevance_shares
from pixpnet.prototypes import PrototypeNetwork, build_network
from pixpnet.receptive_fields import receptive_field
from pixpnet.types import Normalization

pytestmark = pytest.mark.usefixtures("l1_in_the_table")

LOWEST, HIGHEST = torch.tensor([-2.1, -2.0, -1.8]), torch.tensor([2.2, 2.4, 2.6])


def small_network(backbone=None, **options) -> PrototypeNetwork:
    """In eval mode and float64, unless options say otherwise."""
    config = ModelConfig(**{"num_prototypes": 8, "prototype_dim": 6, "distance": "l2"} | options)
    backbone = SmallBackbone() if backbone is None else backbone
    return build_network(config, num_classes=4, backbone=backbone).double().eval()


def random_images(count, size=(22, 26)):
    share = torch.rand(count, 3, *size, dtype=torch.float64)
    return LOWEST[:, None, None] + share * (HIGHEST - LOWEST)[:, None, None]


def maps_of(network, images, prototypes=None):
    prototypes = range(network.num_prototypes) if prototypes is None else prototypes
    lowest, highest = LOWEST.to(images), HIGHEST.to(images)
    return prp_maps(network, images, prototypes=prototypes, lowest=lowest, highest=highest)


@pytest.fixture(autouse=True)
def seeded():
    torch.manual_seed(3)


@pytest.mark.parametrize("distance", EVERY)
@pytest.mark.parametrize("kernel_size", [1, 2])
def test_slow_restatement(distance, kernel_size):
    network = small_network(distance=distance, prototype_kernel_size=kernel_size)
    images = random_images(2)
    maps = maps_of(network, images, prototypes=[5, 2])
    assert len(set(network(images).cells[[0, 1], [5, 2]].tolist())) > 1
    for image, (number, prototype) in enumerate([(0, 5), (1, 2)]):
        slow = relevance_map(network, images[image], prototype, lowest=LOWEST, highest=HIGHEST)
        assert slow.max() > 1e-3
        np.testing.assert_allclose(maps[image, number].numpy(), slow, rtol=1e-7, atol=1e-12)


def positive(network: PrototypeNetwork) -> PrototypeNetwork:
    """The network with weights that give every value behind the first layer a positive contribution.

    Convolutions are weighted means, and what is added to them outweighs negative inputs.
    """
    with torch.no_grad():
        for module in network.modules():
            if isinstance(module, nn.Conv2d):
                module.weight.abs_().add_(1e-3)
                module.weight.div_(module.weight.sum((1, 2, 3), keepdim=True))
            elif isinstance(module, nn.BatchNorm2d):
                module.weight.abs_().add_(0.1)
                module.running_mean.zero_()
            if isinstance(module, (nn.Conv2d, nn.BatchNorm2d)) and module.bias is not None:
                module.bias.abs_().add_(4)
    return network


@pytest.mark.parametrize("distance", EVERY)
def test_relevance_is_conserved_where_every_value_has_a_positive_contribution(distance):
    # Without that, relevance ends: at an output whose inputs all contribute negatively, and in a sum or mean
    # of (nearly) 0, where ε keeps it. The first convolution's box rule has positive contributions whatever
    # the image.
    network = positive(small_network(distance=distance, prototype_kernel_size=2))
    maps = maps_of(network, random_images(3))
    torch.testing.assert_close(maps.sum((2, 3)), torch.ones(3, 8).double(), rtol=0, atol=1e-5)
    assert (maps >= 0).all()


def test_relevance_ends_where_nothing_contributes_positively():
    network = positive(small_network())
    with torch.no_grad():
        network.add_on.conv_last.weight.neg_()
        assert (maps_of(network, random_images(1)) == 0).all()
        network.add_on.conv_last.weight[::2].neg_()
    total = maps_of(network, random_images(1)).sum((2, 3))
    assert ((total > 0.01) & (total < 0.99)).any()


@pytest.mark.parametrize("value", ["beyond the range", "lowest", "highest"])
def test_images_at_the_ends_of_the_range(value):
    network = positive(small_network())
    with torch.no_grad():  # positive and negative weights, so that both ends contribute something
        network.backbone.conv1.weight[:, :, ::2] *= -0.1
    images = random_images(2)
    images = {
        "beyond the range": images * 3,
        "lowest": LOWEST[:, None, None].expand_as(images).double(),
        "highest": HIGHEST[:, None, None].expand_as(images).double(),
    }[value]
    maps = maps_of(network, images)
    assert (maps >= 0).all()
    torch.testing.assert_close(maps.sum((2, 3)), torch.ones(2, 8).double(), rtol=0, atol=1e-4)


NETWORKS = [
    ("small_resnet", "layer2", 64),
    ("resnet18", "layer1", 64),
    ("resnet50", "layer1", 64),
    ("vgg11_bn", "maxpool3", 64),
    ("densenet121", "denseblock1", 64),
    ("squeezenet1_0", "fire3", 64),
    ("googlenet", "conv3", 64),
    ("inception_v3", "Mixed_5b", 80),
    ("shufflenet_v2_x0_5", "stage2", 64),
    ("timm/tf_efficientnet_lite0", "blocks.1", 64),
]


@pytest.mark.parametrize(("name", "layer", "size"), NETWORKS, ids=[name for name, *_ in NETWORKS])
def test_known_networks_keep_relevance_in_the_best_cells_receptive_field(name, layer, size):
    backbone = build_backbone(name, layer=layer, pretrained=False)
    network = positive(small_network(backbone)).float()
    images = random_images(2, (size, size + 8)).float()
    maps = maps_of(network, images, prototypes=[1, 6])
    field = receptive_field(nn.Sequential(backbone, network.add_on), (size, size + 8))
    assert field.mean_percent < 90
    for image, cells in enumerate(network(images).cells[:, [1, 6]].tolist()):
        for prototype, cell in enumerate(cells):
            left, top, right, bottom = map(int, field.box(*divmod(cell, field.grid_size[1])))
            relevance = maps[image, prototype].clone()
            assert relevance[top:bottom, left:right].sum().item() == pytest.approx(1, abs=1e-3)
            relevance[top:bottom, left:right] = 0
            assert (relevance == 0).all()


def test_prototypes_and_images_one_by_one():
    """Also of more images than are worked on at once."""
    network, images = small_network(), random_images(10)
    maps = maps_of(network, images, prototypes=[4, 0, 4])
    assert torch.equal(maps[:, 0], maps[:, 2])
    assert not torch.allclose(maps[:, 0], maps[:, 1])
    for index in (0, 7, 8, 9):
        for number, prototype in enumerate([4, 0]):
            alone = maps_of(network, images[index, None], prototypes=[prototype])[0, 0]
            torch.testing.assert_close(maps[index, number], alone, rtol=1e-9, atol=1e-12)
    assert maps_of(network, images, prototypes=[]).shape == (10, 0, 22, 26)
    assert maps_of(network, images[:0]).shape == (0, 8, 22, 26)


def test_mapping_by_name():
    network, images = small_network(), random_images(2)
    with torch.no_grad():
        similarities = network.similarity_maps(network.features(images))
    field = receptive_field(network.backbone, (22, 26))
    asked = {"network": network, "images": images, "prototypes": [3, 1]}
    maps = pixel_space_map("prp", similarities, field, (22, 26), **asked, lowest=LOWEST, highest=HIGHEST)
    assert torch.equal(maps, maps_of(network, images, prototypes=[3, 1]))
    own_range = {"lowest": images.amin((0, 2, 3)), "highest": images.amax((0, 2, 3))}
    assert torch.equal(
        pixel_space_map("prp", similarities, field, (22, 26), **asked),
        prp_maps(network, images, prototypes=[3, 1], **own_range),
    )
    with pytest.raises(Exception, match="network= and images="):
        pixel_space_map("prp", similarities, field, (22, 26), network=network)


@pytest.mark.parametrize("distance", EVERY)
def test_shares_of_a_patch(distance):
    patch = torch.tensor([[[0.6, 0.8, 0.0]]])
    prototype = torch.tensor([[0.6, 0.0, 0.8]])
    errors = {"l2": [0.0, 0.64, 0.64], "cosine": [1 - 0.36, 1.0, 1.0], "l1": [0.0, 0.8, 0.8]}[distance]
    closeness = 1 / (torch.tensor(errors).double() ** 2 + 1e-12)
    shares = relevance_shares(patch, prototype, distance=distance)
    torch.testing.assert_close(shares[0, 0].double(), closeness / closeness.sum(), rtol=1e-5, atol=1e-13)
    of_zero = relevance_shares(torch.zeros(1, 1, 3), prototype, distance="cosine")
    torch.testing.assert_close(of_zero, torch.full((1, 1, 3), 1 / 3))


class Converted(nn.Module):
    """A network behind operations on the image itself."""

    out_channels = 9

    def __init__(self, convert) -> None:
        super().__init__()
        self.inner, self.convert = SmallBackbone(), convert

    def forward(self, images):
        return self.inner(self.convert(images))


def test_first_convolution_has_the_range_of_what_it_sees():
    scale, shift = torch.tensor([2.0, -1.0, 0.5]).view(3, 1, 1), torch.tensor([0.1, 0.2, -1.0]).view(3, 1, 1)
    network = small_network(Converted(lambda images: images * scale + shift))
    images = random_images(2)
    maps = maps_of(network, images)
    inner = PrototypeNetwork(
        network.backbone.inner,
        network.add_on,
        prototypes=network.prototypes.data,
        head=network.head,
        distance="l2",
        similarity=network.similarity,
    ).eval()
    ends = torch.stack([end[:, None, None] * scale + shift for end in (LOWEST, HIGHEST)]).flatten(1)
    lowest, highest = ends.amin(0).double(), ends.amax(0).double()
    expected = prp_maps(inner, images * scale + shift, prototypes=range(8), lowest=lowest, highest=highest)
    torch.testing.assert_close(maps, expected)


def test_backbone_that_converts_its_input():
    backbone = build_backbone("small_resnet", layer="layer1", pretrained=False)
    normalization = Normalization((0.5, 0.5, 0.5), (0.5, 0.5, 0.5))
    converting = Backbone(
        backbone.body, name="x", layer="layer1", shape=(1, 64, 16, 16), normalization=normalization
    )
    images = random_images(1, (32, 32))
    maps = maps_of(small_network(converting), images)
    torch.testing.assert_close(maps.sum((2, 3)), torch.ones(1, 8).double(), rtol=0, atol=0.2)


def test_padding_before_the_convolution_is_padding_in_it():
    network = small_network()
    images = random_images(1)
    maps = maps_of(network, images)
    network.backbone.conv1.padding = (0, 0)
    padding = Converted(lambda images: nn.functional.pad(images, (1, 1, 1, 1)))
    padding.inner = network.backbone
    network.backbone = padding
    torch.testing.assert_close(maps_of(network, images), maps)


class ResizedAndPooled(nn.Module):
    """A tile as a picture of its own: resized, read, pooled to one cell."""

    def __init__(self, body: nn.Module, side: int) -> None:
        super().__init__()
        self.body, self.side = body, side
        self.out_channels = 9

    def forward(self, tiles):
        tiles = nn.functional.interpolate(tiles, size=(self.side, self.side), mode="bilinear")
        return self.body(tiles).mean((2, 3), keepdim=True)


class Pooled(nn.Module):
    layer = "pooled"

    def __init__(self, body: nn.Module) -> None:
        super().__init__()
        self.body = body

    def forward(self, tiles):
        return self.body(tiles).mean((2, 3))


def test_on_tiles_relevance_is_that_of_the_best_tile_alone():
    body = SmallBackbone()
    tiled = small_network(TiledBackbone(Pooled(body), tile=12, stride=7, tile_input=18), distance="cosine")
    alone = small_network(ResizedAndPooled(body, 18), distance="cosine")
    alone.load_state_dict({k: v for k, v in tiled.state_dict().items() if "backbone" not in k}, strict=False)
    images = random_images(2)
    field, cells = tiled.backbone.receptive_field((22, 26)), tiled(images).cells
    assert len(cells.unique()) > 1
    maps = maps_of(tiled, images)
    for image, prototype in np.ndindex(2, 8):
        left, top, right, bottom = field.boxes.reshape(-1, 4)[cells[image, prototype]]
        tile = images[image : image + 1, :, top:bottom, left:right]
        wanted = torch.zeros_like(maps[image, prototype])
        wanted[top:bottom, left:right] = maps_of(alone, tile, [prototype])[0, 0]
        assert wanted.sum() > 0.1
        torch.testing.assert_close(maps[image, prototype], wanted)


def test_on_tiles_of_several_cells_it_is_refused():
    network = small_network(TiledBackbone(SmallBackbone(), tile=20, stride=6))
    with pytest.raises(UnsupportedOperationError, match="more than one cell"):
        maps_of(network, random_images(1))


def test_on_tiles_prototypes_of_several_are_refused():
    backbone = TiledBackbone(Pooled(SmallBackbone()), tile=12, stride=7)
    network = small_network(backbone, prototype_kernel_size=2)
    with pytest.raises(UnsupportedOperationError, match="of several"):
        maps_of(network, random_images(1))
