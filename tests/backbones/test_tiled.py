"""A tiled backbone sees tiles and nothing else, whatever its network is made of."""

import math

import numpy as np
import pytest
import timm
import torch
from accelerate import init_empty_weights
from torch import nn
from torch.nn import functional

from pixpnet.backbones import SmallResNet, TiledBackbone, build_backbone, build_tiled, tile_starts
from pixpnet.errors import ConfigError
from pixpnet.receptive_fields import ReceptiveField, receptive_field

SIZE = (64, 80)

NETWORKS = {
    "cut nowhere": lambda: build_tiled("small_resnet", tile=32, tile_input=48, pretrained=False),
    "a share": lambda: build_tiled("small_resnet", tile=0.5, tile_stride=0.4, pretrained=False),
    "two networks": lambda: build_tiled(
        "small_resnet+squeezenet1_1", tile=32, tile_input=64, pretrained=False
    ),
    "grids": lambda: build_tiled("small_resnet", tile=32, layer="layer2", pretrained=False),
    "grids of resized tiles": lambda: build_tiled(
        "small_resnet", tile=40, tile_input=24, layer="stem", pretrained=False
    ),
    "timm's transformer": lambda: build_tiled(
        "timm/vit_tiny_patch16_224", tile=32, tile_stride=32, pretrained=False
    ),
    "a user's own": lambda: TiledBackbone(BranchesOnValues(), tile=24, stride=20),
}


class BranchesOnValues(nn.Module):
    """What torch.fx can't trace: it branches, tile by tile."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Conv2d(3, 8, 3)

    def forward(self, images):
        features = self.layer(images).mean((2, 3))
        if features.is_meta:
            return features
        return torch.stack([-one if one.mean() > 0 else one for one in features])


def at_random(network: nn.Module) -> nn.Module:
    """In eval mode, with weights and statistics that tell all inputs apart."""
    generator = torch.Generator().manual_seed(3)
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.normal_(module.running_mean, std=0.1, generator=generator)
    return network.eval()


@pytest.fixture(params=NETWORKS)
def backbone(request):
    torch.manual_seed(0)
    return at_random(NETWORKS[request.param]())


@torch.no_grad()
def test_nothing_outside_a_cells_box_reaches_it_and_its_ends_do(backbone):
    field = receptive_field(backbone, SIZE)
    images = torch.randn(2, 3, *SIZE)
    features = backbone(images)
    assert tuple(features.shape[1:]) == (backbone.out_channels, *field.grid_size)
    rows, columns = field.grid_size
    for row, column in {(0, 0), (rows // 2, columns // 2), (rows - 1, columns - 1), (0, columns - 1)}:
        left, top, right, bottom = (round(side) for side in field.box(row, column))
        changed = torch.randn(2, 3, *SIZE)
        changed[:, :, top:bottom, left:right] = images[:, :, top:bottom, left:right]
        assert torch.equal(backbone(changed)[:, :, row, column], features[:, :, row, column])
        for y, x in ((top, left), (bottom - 1, right - 1)):
            changed = images.clone()
            changed[:, :, y, x] += 50
            assert not torch.equal(backbone(changed)[:, :, row, column], features[:, :, row, column])


@torch.no_grad()
def test_the_network_is_given_the_same_parts_of_an_image_in_any_batch():
    """On a CPU, which may round otherwise beside other tiles; no part is larger than sixteen of them."""
    backbone = build_tiled("small_resnet", tile=16, pretrained=False).eval()
    receptive_field(backbone, SIZE)  # for which the network is asked what it gives
    images, parts = torch.randn(3, 3, *SIZE), []
    backbone.network.register_forward_pre_hook(lambda _, given: parts.append(given[0]))
    backbone(images)
    together, parts[:] = [*parts], []
    for image in images:
        backbone(image[None])
    assert len(together) == len(parts)
    assert all(torch.equal(one, other) for one, other in zip(together, parts, strict=True))
    assert max(map(len, parts)) == 16


@torch.no_grad()
@pytest.mark.parametrize("side", [16, 32, 48], ids=["smaller", "as it is", "larger"])
def test_each_tile_is_resized_by_itself_and_without_aliasing(side):
    backbone = build_tiled("small_resnet", tile=32, tile_input=side, pretrained=False).eval()
    image = torch.randn(1, 3, 32, 32)
    resized = functional.interpolate(image, (side, side), mode="bilinear", antialias=True)
    torch.testing.assert_close(backbone(image), backbone.network(resized), rtol=0, atol=1e-5)


@torch.no_grad()
def test_an_images_features_do_not_depend_on_its_batch_to_the_last_bit(backbone):
    images = torch.randn(5, 3, *SIZE)
    together = backbone(images)
    for number in range(5):
        assert torch.equal(backbone(images[number : number + 1])[0], together[number])


def test_every_pixel_is_in_a_tile_and_fields_are_not_clipped(backbone):
    field = receptive_field(backbone, SIZE)
    covered = np.zeros(SIZE, dtype=bool)
    for top in backbone.layout(SIZE).tops:
        for left in backbone.layout(SIZE).lefts:
            side = backbone.layout(SIZE).tile
            covered[top : top + side, left : left + side] = True
    assert covered.all()
    assert np.array_equal(field.rows, field.unclipped_rows)
    assert np.all(np.diff(field.centers[:, 0, 1]) >= 0)


@torch.no_grad()
def test_a_cell_is_what_the_whole_network_says_of_the_tile_alone():
    torch.manual_seed(0)
    backbone = at_random(
        build_tiled("small_resnet", tile=32, tile_stride=16, tile_input=48, pretrained=False)
    )
    whole = SmallResNet().eval()
    state = {key.removeprefix("network.body."): value for key, value in backbone.state_dict().items()}
    whole.load_state_dict({**whole.state_dict(), **state})
    whole.fc = nn.Identity()
    images = torch.randn(2, 3, *SIZE)
    features, field = backbone(images), receptive_field(backbone, SIZE)
    assert field.grid_size == (3, 4)
    for row in range(3):
        for column in range(4):
            tile = images[:, :, 16 * row : 16 * row + 32, 16 * column : 16 * column + 32]
            alone = whole(functional.interpolate(tile, (48, 48), mode="bilinear"))
            assert torch.allclose(features[:, :, row, column], alone, atol=1e-4)
            assert field.box(row, column) == (16 * column, 16 * row, 16 * column + 32, 16 * row + 32)


@torch.no_grad()
def test_cells_of_grids_within_tiles_are_those_of_the_cut_network_in_the_order_of_their_middles():
    torch.manual_seed(0)
    backbone = at_random(build_tiled("small_resnet", tile=32, layer="stem", pretrained=False))
    images = torch.randn(1, 3, *SIZE)
    field, inside = receptive_field(backbone, SIZE), receptive_field(backbone.network, (32, 32))
    expected = {}
    for top in (0, 16, 32):
        for left in (0, 16, 32, 48):
            cells = backbone.network(images[:, :, top : top + 32, left : left + 32])[0]
            for row in range(cells.shape[1]):
                for column in range(cells.shape[2]):
                    box = inside.boxes[row, column] + np.array([left, top, left, top])
                    expected.setdefault(tuple(box), []).append(cells[:, row, column])
    features = backbone(images)[0]
    for row in range(features.shape[1]):
        for column in range(features.shape[2]):
            known = expected[tuple(field.boxes[row, column])]
            assert any(torch.allclose(features[:, row, column], cell, atol=1e-4) for cell in known)
    assert len({tuple(box) for box in field.boxes.reshape(-1, 4)}) == len(expected)


def test_boxes_that_are_no_rows_times_columns_are_shifted_one_by_one():
    class Odd(nn.Module):
        def forward(self, images):
            return torch.cat([images[:, :1, :2, :2], images[:, :1, 2:4, 2:4]], dim=1)[:, :, :2, :2]

    backbone = TiledBackbone(Odd(), tile=8, stride=8)
    field, inside = receptive_field(backbone, (16, 16)), receptive_field(Odd(), (8, 8))
    assert isinstance(field, ReceptiveField)
    for tile_row in range(2):
        for tile_column in range(2):
            shift = np.array([8 * tile_column, 8 * tile_row] * 2)
            part = field.boxes[2 * tile_row : 2 * tile_row + 2, 2 * tile_column : 2 * tile_column + 2]
            assert np.array_equal(part, inside.boxes + shift)


@pytest.mark.parametrize(("side", "tile", "stride"), [(64, 32, 16), (64, 30, 30), (65, 32, 32), (64, 64, 9)])
def test_tiles_reach_from_border_to_border_without_a_gap(side, tile, stride):
    starts = tile_starts(side, tile, stride)
    assert starts[0] == 0
    assert starts[-1] == side - tile
    assert all(0 < gap <= tile for gap in np.diff(starts))
    assert len(starts) - 1 in (round((side - tile) / stride), math.ceil((side - tile) / tile))


def test_learning_through_tiles_gives_the_gradients_of_plain_ones():
    torch.manual_seed(0)
    network = nn.Sequential(nn.Conv2d(3, 4, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten())
    backbone = TiledBackbone(network, tile=8, stride=8)
    images = torch.randn(3, 3, 16, 16)
    backbone(images).square().sum().backward()
    found = network[0].weight.grad.clone()
    network.zero_grad()
    tiles = images.unfold(2, 8, 8).unfold(3, 8, 8).permute(0, 2, 3, 1, 4, 5).reshape(-1, 3, 8, 8)
    network(tiles).square().sum().backward()
    assert torch.allclose(found, network[0].weight.grad, rtol=1e-4)


def test_transformers_positions_are_interpolated_to_the_tiles_input(tmp_path):
    torch.manual_seed(0)
    whole = timm.create_model("vit_tiny_patch16_224", pretrained=False)
    torch.save(whole.state_dict(), tmp_path / "weights.pth")
    backbone = build_tiled(
        "timm/vit_tiny_patch16_224", tile=24, tile_input=32, weights=str(tmp_path / "weights.pth")
    )
    assert backbone.network.body.pos_embed.shape[1] == 5
    whole.set_input_size(img_size=(32, 32))
    assert torch.equal(backbone.network.body.pos_embed, whole.pos_embed)
    assert torch.equal(backbone.network.body.blocks[3].mlp.fc1.weight, whole.blocks[3].mlp.fc1.weight)


@pytest.mark.parametrize(
    ("name", "channels"),
    [("vgg11", 4096), ("squeezenet1_1", 512), ("densenet121", 1024), ("vit_b_32", 768), ("swin_t", 768)],
)
def test_torchvisions_networks_lose_their_classifier_only(name, channels):
    with init_empty_weights():
        assert build_tiled(name, tile=32, pretrained=False).out_channels == channels


@torch.no_grad()
def test_a_cell_holds_what_each_of_several_networks_gives():
    torch.manual_seed(0)
    names = ("small_resnet", "squeezenet1_1")
    joint = at_random(build_tiled("+".join(names), tile=32, tile_input=48, pretrained=False))
    images = torch.randn(1, 3, *SIZE)
    each = [TiledBackbone(one, tile=32, tile_input=48)(images) for one in joint.network.networks]
    assert [len(one[0]) for one in each] == [128, 512]
    assert torch.equal(joint(images), torch.cat(each, dim=1))


def test_weights_of_a_whole_network_fill_the_tiled_one(tmp_path):
    torch.manual_seed(1)
    whole = SmallResNet()
    torch.save(whole.state_dict(), tmp_path / "weights.pth")
    backbone = build_tiled("small_resnet", tile=32, weights=str(tmp_path / "weights.pth"))
    own = backbone.network.body.state_dict()
    assert set(own) == {key for key in whole.state_dict() if not key.startswith("fc.")}
    assert all(torch.equal(own[key], whole.state_dict()[key]) for key in own)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"tile": 96}, "a tile of 96 pixels does not fit into an image whose side is 64"),
        ({"tile": 16, "tile_stride": 20}, "leave pixels out; take 1 to 16"),
    ],
)
def test_tiles_that_cannot_be_laid_are_refused(options, said):
    with pytest.raises(ConfigError, match=said):
        receptive_field(build_tiled("small_resnet", pretrained=False, **options), SIZE)


@pytest.mark.parametrize(
    ("name", "options", "said"),
    [
        ("resnet18x", {"tile": 32}, "unknown backbone 'resnet18x'; nearest: resnet18"),
        ("vgg11", {"tile": 16}, "does not take images of 16x16"),
        ("small_resnet+resnet18x", {"tile": 32}, "unknown backbone 'resnet18x'"),
        ("small_resnet+resnet18", {"tile": 32, "layer": "layer2"}, "can't share a layer"),
        ("small_resnet+resnet18", {"tile": 32, "weights": "file.pth"}, "or a file of weights"),
    ],
)
def test_networks_that_do_not_take_tiles_are_refused(name, options, said):
    with init_empty_weights(), pytest.raises(ConfigError, match=said):
        build_tiled(name, pretrained=False, **options)


def test_several_networks_are_for_tiles():
    with pytest.raises(ConfigError, match=r"several networks, .* give model.tile too"):
        build_backbone("small_resnet+resnet18", pretrained=False)


def test_a_cut_backbone_is_still_traced():
    backbone = build_backbone("small_resnet", layer="stem", pretrained=False)
    assert receptive_field(backbone, (64, 64)).full_size == (7, 7)
