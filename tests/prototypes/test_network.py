import math

import pytest
import torch
from networks import TinyBackbone, tiny_network

from distance_oracles import EVERY
from pixpnet.config import ModelConfig
from pixpnet.errors import ConfigError
from pixpnet.prototypes import (
    HEADS,
    SIMILARITIES,
    PrototypeNetwork,
    build_network,
    regular_own_class,
)

pytestmark = pytest.mark.usefixtures("l1_in_the_table")


@pytest.mark.parametrize("kernel_size", [1, 2])
@pytest.mark.parametrize("readout_type", HEADS)
@pytest.mark.parametrize("prototype_activation", SIMILARITIES)
@pytest.mark.parametrize("distance", EVERY)
def test_forward(distance, prototype_activation, readout_type, kernel_size):
    network = tiny_network(
        distance=distance,
        prototype_activation=prototype_activation,
        readout_type=readout_type,
        prototype_kernel_size=kernel_size,
    )
    images = torch.rand(3, 3, 13, 17)
    output = network(images)
    assert output.logits.shape == (3, 4)
    assert (output.min_distances >= 0).all()
    assert torch.equal(output.similarities, network.similarity(output.min_distances))
    assert torch.equal(output.logits, network.head(output.similarities))
    z = network.features(images)
    assert torch.equal(network.from_features(z).min_distances, output.min_distances)
    output.logits.square().sum().backward()
    assert all(parameter.grad is not None for parameter in network.parameters())


@pytest.mark.parametrize("kernel_size", [1, 3])
@pytest.mark.parametrize("distance", EVERY)
def test_maps_agree_with_the_output(distance, kernel_size):
    network = tiny_network(distance=distance, prototype_kernel_size=kernel_size)
    # Equal rows, and columns that differ by about a rounding error.
    z = torch.rand(3, 16, 1, 1) + 1e-7 * torch.randn(3, 16, 6, 8)
    z[:, :, 3:] = z[:, :, :3]
    output = network.from_features(z)
    maps = network.distance_maps(z)
    assert maps.shape == (3, 8, 7 - kernel_size, 9 - kernel_size)
    assert torch.equal(maps.flatten(2).amin(-1), output.min_distances)
    assert torch.equal(maps.flatten(2).argmin(-1), output.cells)
    similarities = network.similarity_maps(z).flatten(2)
    assert torch.equal(similarities.amax(-1), output.similarities)


@pytest.mark.parametrize("kernel_size", [1, 3])
@pytest.mark.parametrize("distance", EVERY)
def test_pairs_of_a_patch_and_a_prototype(distance, kernel_size):
    network = tiny_network(distance=distance, prototype_kernel_size=kernel_size)
    z = torch.rand(3, 16, 6, 8)
    images, prototypes, cells = torch.arange(3), torch.tensor([7, 0, 4]), torch.tensor([5, 0, 9])
    found = network.pair_similarities(network.patches_at(z, cells), prototypes)
    maps = network.similarity_maps(z).flatten(2)
    torch.testing.assert_close(found, maps[images, prototypes, cells], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("distance", EVERY)
def test_a_prototype_that_is_a_patch(distance):
    """Near zero: exactly 0, and so the largest similarity, also in bf16."""
    network = tiny_network(distance=distance, prototype_dim=192)
    z = torch.sigmoid(torch.randn(4, 192, 7, 7, generator=torch.Generator().manual_seed(0)))
    network.prototypes.data[:4, :, 0, 0] = z[range(4), :, 2, range(4)]
    output = network.from_features(z)
    assert output.min_distances.diagonal().tolist() == [0] * 4
    assert output.cells.diagonal().tolist() == [14, 15, 16, 17]
    best = math.log(1 / 1e-6 + 1)
    assert output.similarities.diagonal().tolist() == pytest.approx([best] * 4, rel=1e-6)
    assert network.distance_maps(z)[3, 3, 2, 3] == 0


@pytest.mark.parametrize("distance", EVERY)
def test_bf16_autocast_leaves_distances_in_float32(distance):
    network = tiny_network(distance=distance)
    images = torch.rand(2, 3, 33, 33)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        z = network.features(images)
        output = network.from_features(z)
        maps = network.distance_maps(z)
    assert z.dtype == torch.bfloat16
    reference = network.from_features(z.float())
    assert torch.equal(output.min_distances, reference.min_distances)
    assert torch.equal(output.logits, reference.logits)
    assert torch.equal(output.cells, reference.cells)
    assert torch.equal(maps, network.distance_maps(z.float()))


def test_any_similarity():
    network = tiny_network()
    free = PrototypeNetwork(
        network.backbone,
        network.add_on,
        prototypes=network.prototypes.detach(),
        head=network.head,
        distance="l2",
        similarity=lambda distances: (-distances).exp(),
    )
    output = free(torch.rand(1, 3, 9, 9))
    torch.testing.assert_close(output.similarities, (-output.min_distances).exp())


def test_start_of_the_prototypes():
    network = tiny_network(num_prototypes=400, learn_prototypes=False)
    assert network.prototypes.shape == (400, 16, 1, 1)
    assert 0 <= network.prototypes.min() < 0.01
    assert 0.99 < network.prototypes.max() < 1
    assert not network.prototypes.requires_grad


def test_the_generator_decides():
    def state(seed):
        torch.manual_seed(seed + 10)
        return build_network(
            ModelConfig(num_prototypes=8, prototype_dim=4, class_specific=False),
            num_classes=2,
            backbone=TinyBackbone(),
            generator=torch.Generator().manual_seed(seed),
        ).state_dict()

    first, again, other = state(0), state(0), state(1)
    first = {name: tensor for name, tensor in first.items() if not name.startswith("backbone")}
    assert all(torch.equal(first[name], again[name]) for name in first)
    assert not torch.equal(first["prototypes"], other["prototypes"])


@pytest.mark.parametrize("readout_type", HEADS)
def test_one_class(readout_type):
    network = tiny_network(num_classes=1, readout_type=readout_type)
    assert network(torch.rand(5, 3, 9, 9)).logits.shape == (5, 1)


def test_own_masks_of_any_shape():
    own_class = torch.tensor([[1, 0], [1, 0], [1, 1]], dtype=torch.bool)
    network = tiny_network(num_classes=2, own_class=own_class, readout_type="proto")
    output = network(torch.rand(2, 3, 9, 9))
    torch.testing.assert_close(output.logits[:, 0], output.similarities.sum(1))
    torch.testing.assert_close(output.logits[:, 1], output.similarities[:, 2])


def test_class_agnostic_mask():
    assert tiny_network(class_specific=False, num_prototypes=7).own_class.all()


@pytest.mark.parametrize("distance", EVERY)
@pytest.mark.parametrize("readout_type", HEADS)
@pytest.mark.parametrize(
    "keep",
    [
        torch.tensor([0, 1, 0, 0, 1, 1, 0, 0], dtype=torch.bool),
        torch.tensor([5, 1, 4]),
        [1, 4, 5],
    ],
    ids=["mask", "indices", "list"],
)
def test_pruning(keep, readout_type, distance):
    network = tiny_network(readout_type=readout_type, distance=distance)
    network.prototypes.requires_grad_(False)
    images = torch.rand(3, 3, 13, 13)
    before = network(images)
    indices = torch.as_tensor(keep)
    indices = indices.nonzero().flatten() if indices.dtype == torch.bool else indices
    weights = network.own_class.float()
    if readout_type == "linear":
        weights = network.head.weight.detach().T.clone()
    if readout_type == "mean":  # over the prototypes that each class has left
        weights = weights / weights[indices].sum(0).clamp(min=1)
    network.prune(keep)
    after = network(images)
    torch.testing.assert_close(after.min_distances, before.min_distances[:, indices])
    assert torch.equal(after.cells, before.cells[:, indices])
    torch.testing.assert_close(after.logits, before.similarities[:, indices] @ weights[indices])
    assert network.num_prototypes == 3
    assert network.num_classes == 4
    assert not network.prototypes.requires_grad
    again = tiny_network(readout_type=readout_type, distance=distance, own_class=network.own_class)
    again.load_state_dict(network.state_dict())
    assert torch.equal(again(images).logits, after.logits)


@pytest.mark.parametrize(
    ("keep", "message"),
    [
        ([], "at least one"),
        (torch.zeros(8, dtype=torch.bool), "at least one"),
        ([0, 8], "0..7"),
        ([-1], "0..7"),
        ([2, 2], "distinct"),
        (torch.ones(3, dtype=torch.bool), "mask of 8"),
    ],
)
def test_pruning_errors_leave_the_network_alone(keep, message):
    network = tiny_network()
    with pytest.raises(ConfigError, match=message):
        network.prune(keep)
    assert network.num_prototypes == 8


def test_a_class_has_ten_prototypes_where_nothing_is_said():
    network = build_network(ModelConfig(), num_classes=3, backbone=TinyBackbone())
    assert network.own_class.sum(0).tolist() == [10, 10, 10]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"num_prototypes": 9}, "9 does not divide among 4 classes; try 8, or"),
        ({"num_prototypes": 11}, "try 12"),
        ({"num_prototypes": 1}, "try 4"),
        ({"num_prototypes": 0}, "at least one"),
        ({"prototype_dim": 0}, "at least 1"),
        ({"prototype_kernel_size": 0}, "at least 1"),
        ({"class_specific": False, "readout_type": "proto"}, "readout-type=proto"),
        ({"own_class": torch.ones(3, 5, dtype=torch.bool)}, "own_class is for 5 classes, but there are 4"),
    ],
)
def test_options_that_cannot_work(options, message):
    with pytest.raises(ConfigError, match=message):
        tiny_network(**options)


@pytest.mark.parametrize(
    ("num_prototypes", "distance", "message"),
    [
        (2, "l2", "head is for 8 prototypes, but there are 2"),
        (8, "l3", "distance='l3' is none of l2, cosine"),
    ],
)
def test_parts_that_do_not_fit(num_prototypes, distance, message):
    network = tiny_network()
    with pytest.raises(ConfigError, match=message):
        PrototypeNetwork(
            TinyBackbone(),
            network.add_on,
            prototypes=torch.rand(num_prototypes, 16, 1, 1),
            head=network.head,
            distance=distance,
            similarity=network.similarity,
        )


def test_regular_mask():
    mask = regular_own_class(6, 3, class_specific=True)
    assert mask.int().argmax(1).tolist() == [0, 0, 1, 1, 2, 2]
    assert (mask.sum(1) == 1).all()
