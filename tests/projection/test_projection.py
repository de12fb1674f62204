"""Projection held against brute force over all assignments, on integer features full of ties."""

import itertools
import pickle

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional
from torch.utils.data import DataLoader, TensorDataset

import pixpnet
from distance_oracles import EVERY, plain_maps
from pixpnet.config import ModelConfig
from pixpnet.errors import ConfigError, DataError
from pixpnet.projection import DUPLICATE_FILTERS, PatchCandidates
from pixpnet.prototypes import build_network

pytestmark = pytest.mark.usefixtures("l1_in_the_table")


@pytest.fixture(scope="module", autouse=True)
def lists_sorted_often():
    """So that the few images of these tests meet lists that are full already."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("pixpnet.projection.best_lists._FEWEST_WAITING", 0)
        yield


def project(z, labels, prototypes, own_class, *, distance, duplicate_filter, batches=None, indices=None):
    collected = PatchCandidates(prototypes, own_class, distance=distance, duplicate_filter=duplicate_filter)
    indices = torch.arange(len(z)) if indices is None else indices
    for batch in [torch.arange(len(z))] if batches is None else batches:
        collected.update(z[batch], labels[batch], indices[batch])
    return collected


def same(left, right):
    return all(
        torch.equal(getattr(left, name), getattr(right, name))
        for name in ("image_index", "cells", "distances", "patches")
    )


def all_distances(z, prototypes, distance):
    """[p b h w] in float64, by the definition."""
    return plain_maps(z, prototypes, distance).transpose(0, 1).numpy()


def brute_force(table, labels, own_class, duplicate_filter):
    """Least total distance over all assignments without repetition; None if there is none."""
    per_prototype = []
    for number in range(len(own_class)):
        seen = [image for image, label in enumerate(labels) if own_class[number, label]]
        if duplicate_filter == "sample":
            units = {image: table[number, image].min() for image in seen}
        else:
            units = {
                (image, *cell): table[(number, image, *cell)]
                for image in seen
                for cell in np.ndindex(table.shape[2:])
            }
        per_prototype.append(units)
    if duplicate_filter == "none":
        return sum(min(units.values()) for units in per_prototype)
    totals = [
        sum(units[choice] for units, choice in zip(per_prototype, choices, strict=True))
        for choices in itertools.product(*per_prototype)
        if len(set(choices)) == len(choices)
    ]
    return min(totals, default=None)


@st.composite
def problems(draw):
    """A few prototypes and images of one to three cells, any own-class mask, three distinct values."""
    num_prototypes, num_images, num_classes = (
        draw(st.integers(2, 4)),
        draw(st.integers(1, 5)),
        draw(st.integers(1, 3)),
    )
    width = draw(st.integers(1, 3))
    values = st.integers(0, 2)

    def integers(*shape):
        count = int(np.prod(shape))
        return torch.tensor(draw(st.lists(values, min_size=count, max_size=count))).float().view(*shape)

    own_class = integers(num_prototypes, num_classes) > 0
    labels = torch.tensor(
        draw(st.lists(st.integers(0, num_classes - 1), min_size=num_images, max_size=num_images))
    )
    # Every prototype must see an image.
    own_class[~own_class[:, labels].any(1), labels[0]] = True
    return integers(num_images, 2, 1, width), labels, integers(num_prototypes, 2, 1, 1), own_class


@pytest.mark.parametrize("duplicate_filter", DUPLICATE_FILTERS)
@pytest.mark.parametrize("distance", EVERY)
@settings(max_examples=40, deadline=None)
@given(problem=problems(), data=st.data())
def test_least_total_distance(distance, duplicate_filter, problem, data):
    z, labels, prototypes, own_class = problem
    table = all_distances(z, prototypes, distance)
    options = {"distance": distance, "duplicate_filter": duplicate_filter}
    found = project(*problem[:3], own_class, **options).assign()
    picked = table[np.arange(len(prototypes)), found.image_index, found.cells[:, 0], found.cells[:, 1]]
    np.testing.assert_allclose(found.distances, picked, atol=1e-6)
    assert torch.equal(found.patches[:, :, 0, 0], z[found.image_index, :, 0, found.cells[:, 1]])
    assert own_class[torch.arange(len(prototypes)), labels[found.image_index]].all()
    best = brute_force(table, labels.tolist(), own_class, duplicate_filter)
    if best is not None:
        assert picked.sum() == pytest.approx(best, abs=1e-6)
        assert not found.warnings
    else:
        assert found.warnings
    order = torch.tensor(data.draw(st.permutations(range(len(z)))))
    shuffled = project(*problem[:3], own_class, **options, batches=order.split(data.draw(st.integers(1, 3))))
    assert same(shuffled.assign(), found)


@pytest.mark.parametrize("duplicate_filter", DUPLICATE_FILTERS)
@settings(max_examples=40, deadline=None)
@given(problem=problems())
def test_without_competition_ties_go_to_the_first_image_and_cell(duplicate_filter, problem):
    z, labels, prototypes, _ = problem
    found = project(
        z,
        labels,
        prototypes[:1],
        torch.ones(1, 3, dtype=torch.bool),
        distance="l2",
        duplicate_filter=duplicate_filter,
    ).assign()
    table = all_distances(z, prototypes[:1], "l2")[0, :, 0]
    first = np.argmin(table)
    assert (int(found.image_index[0]), int(found.cells[0, 1])) == divmod(int(first), table.shape[1])


@pytest.fixture
def crowded():
    """Real-valued images, more than are searched at once, and prototypes, six of each class, that want the
    same few patches.
    """
    generator = torch.Generator().manual_seed(0)
    z = torch.rand(210, 64, 4, 5, generator=generator)
    labels = torch.arange(210) % 3
    wanted = z[:3, :, 1, 1].repeat_interleave(6, dim=0)
    prototypes = (wanted + 0.05 * torch.rand(18, 64, generator=generator))[..., None, None]
    return z, labels, prototypes, functional.one_hot(torch.arange(3).repeat_interleave(6), 3).bool()


@pytest.mark.parametrize("agnostic", [False, True])
@pytest.mark.parametrize("duplicate_filter", DUPLICATE_FILTERS)
@pytest.mark.parametrize("distance", EVERY)
def test_the_bits_depend_on_the_images_alone(distance, duplicate_filter, agnostic, crowded):
    """Batch size, order, chunks, processes, merging order, images seen twice: nothing changes."""
    z, labels, prototypes, own_class = crowded
    own_class = own_class | agnostic
    options = {"distance": distance, "duplicate_filter": duplicate_filter}
    whole = project(z, labels, prototypes, own_class, **options).assign()
    order = torch.randperm(len(z), generator=torch.Generator().manual_seed(1))
    batches = [*order[:10].split(1), *order[10:].split(20)]
    assert same(project(z, labels, prototypes, own_class, **options, batches=batches).assign(), whole)
    shares = [
        project(z, labels, prototypes, own_class, **options, batches=order[start::3].split(24))
        for start in range(3)
    ]
    shares.append(project(z, labels, prototypes, own_class, **options, batches=order[:5].split(5)))
    shares = [pickle.loads(pickle.dumps(share)) for share in shares]
    first, *rest = (shares[number] for number in (2, 0, 3, 1))
    for share in rest:
        first.merge(share)
    assert same(first.assign(), whole)
    assert same(first.assign(), whole)


@pytest.mark.parametrize("kernel_size", [1, 2])
@pytest.mark.parametrize("distance", EVERY)
def test_distances_and_patches_of_any_kernel(distance, kernel_size):
    generator = torch.Generator().manual_seed(0)
    z = torch.rand(9, 6, 4, 5, generator=generator)
    prototypes = torch.rand(4, 6, kernel_size, kernel_size, generator=generator)
    labels = torch.zeros(9, dtype=torch.int64)
    found = project(
        z, labels, prototypes, torch.ones(4, 1, dtype=torch.bool), distance=distance, duplicate_filter="none"
    ).assign()
    table = all_distances(z, prototypes, distance).reshape(4, 9, -1)
    np.testing.assert_allclose(found.distances, table.min((1, 2)), rtol=1e-5)
    for number in range(4):
        image, (row, column) = int(found.image_index[number]), found.cells[number].tolist()
        patch = z[image, :, row : row + kernel_size, column : column + kernel_size]
        assert torch.equal(found.patches[number], patch)


def test_feature_maps_may_differ_in_size():
    prototypes = torch.tensor([5.0, 9.0])[:, None, None, None]
    own_class = torch.ones(2, 1, dtype=torch.bool)
    collected = PatchCandidates(prototypes, own_class, distance="l2", duplicate_filter="sample")
    collected.update(torch.arange(6.0).view(1, 1, 2, 3), torch.tensor([0]), torch.tensor([7]))
    collected.update(torch.arange(12.0).view(1, 1, 6, 2), torch.tensor([0]), torch.tensor([3]))
    found = collected.assign()
    assert found.image_index.tolist() == [7, 3]
    assert found.cells.tolist() == [[1, 2], [4, 1]]


def test_two_prototypes_want_one_patch():
    """The nearer one does not always get it: the total decides."""
    z = torch.tensor([[0.0, 1.0, 10.0]]).view(1, 1, 1, 3)
    prototypes = torch.tensor([0.0, -1.0])[:, None, None, None]
    found = project(
        z,
        torch.tensor([0]),
        prototypes,
        torch.ones(2, 1, dtype=torch.bool),
        distance="l2",
        duplicate_filter="patch",
    ).assign()
    assert found.cells[:, 1].tolist() == [1, 0]
    assert found.distances.tolist() == [1, 1]


@pytest.mark.parametrize("duplicate_filter", DUPLICATE_FILTERS)
def test_prototypes_of_a_class_need_not_be_neighbours(duplicate_filter):
    z = torch.tensor([1.0, 2.0, 3.0, 4.0]).view(4, 1, 1, 1)
    own_class = torch.tensor([[1, 0], [0, 1], [1, 0], [0, 1]], dtype=torch.bool)
    prototypes = torch.tensor([1.0, 4.0, 2.0, 3.0])[:, None, None, None]
    found = project(
        z, torch.tensor([0, 0, 1, 1]), prototypes, own_class, distance="l2", duplicate_filter=duplicate_filter
    ).assign()
    assert found.image_index.tolist() == [0, 3, 1, 2]
    assert found.patches.flatten().tolist() == [1, 4, 2, 3]


def test_fewer_patches_than_prototypes_are_shared_with_a_warning(caplog):
    z = torch.tensor([3.0, 4.0]).view(1, 1, 1, 2)
    prototypes = torch.tensor([1.0, 2.0, 5.0])[:, None, None, None]
    own_class = torch.ones(3, 1, dtype=torch.bool)
    collected = project(z, torch.tensor([0]), prototypes, own_class, distance="l2", duplicate_filter="sample")
    found = collected.assign(class_names=["wren"])
    assert found.patches.flatten().tolist() == [3, 3, 4]
    assert [text.split(": ", 1)[1] for text in found.warnings] == [
        "class wren: too few images for one prototype each; "
        "the prototypes get distinct patches of the same images.",
        "class wren: too few patches for one prototype each; the prototypes get the same patches.",
    ]
    assert all(text in caplog.text for text in found.warnings)


def test_only_the_starved_class_falls_back():
    z = torch.rand(4, 3, 2, 2, generator=torch.Generator().manual_seed(0))
    own_class = torch.tensor([[1, 0], [1, 0], [0, 1], [0, 1]], dtype=torch.bool)
    prototypes = z[[0, 0, 3, 3], :, 0, 0][..., None, None] + 0.01
    found = project(
        z, torch.tensor([0, 0, 0, 1]), prototypes, own_class, distance="l2", duplicate_filter="sample"
    ).assign()
    assert len(found.image_index[:2].unique()) == 2
    assert found.image_index[2:].tolist() == [3, 3]
    assert not torch.equal(found.cells[2], found.cells[3])
    assert len(found.warnings) == 1


def test_a_fallback_reaches_all_that_shared_classes_link():
    """One of three has images enough, but its competitors' class has one image: all three need patches."""
    z = torch.rand(7, 3, 1, 4, generator=torch.Generator().manual_seed(0))
    own_class = torch.tensor([[1, 1], [0, 1], [0, 1]], dtype=torch.bool)
    prototypes = z[6, :, 0, :3].T[..., None, None] + 0.01
    found = project(
        z,
        torch.tensor([0, 0, 0, 0, 0, 0, 1]),
        prototypes,
        own_class,
        distance="l2",
        duplicate_filter="sample",
        batches=torch.arange(7).split(1),
    ).assign()
    assert found.image_index.tolist() == [6, 6, 6]
    assert found.cells[:, 1].tolist() == [0, 1, 2]
    assert found.warnings == (
        "projection: classes 0, 1: too few images for one prototype each; "
        "the prototypes get distinct patches of the same images.",
    )


def test_a_class_without_images_is_named():
    own_class = torch.eye(3, dtype=torch.bool)
    collected = project(
        torch.rand(1, 2, 2, 2),
        torch.tensor([1]),
        torch.rand(3, 2, 1, 1),
        own_class,
        distance="l2",
        duplicate_filter="sample",
    )
    with pytest.raises(DataError, match="classes tern, gull was seen, so 2 prototypes"):
        collected.assign(class_names=["tern", "wren", "gull"])
    own_class[:] = False
    nothing = PatchCandidates(torch.rand(3, 2, 1, 1), own_class, distance="l2", duplicate_filter="none")
    nothing.update(torch.rand(1, 2, 2, 2), torch.tensor([1]), torch.tensor([0]))
    with pytest.raises(DataError, match="of no class was seen, so 3 prototypes"):
        nothing.assign()


@pytest.mark.parametrize("value", [torch.nan, torch.inf])
def test_features_that_are_not_finite(value):
    z = torch.rand(2, 2, 2, 2)
    z[1, 0, 1, 1] = value
    with pytest.raises(DataError, match="training image number 6 are not finite"):
        project(
            z,
            torch.tensor([0, 0]),
            torch.rand(1, 2, 1, 1),
            torch.ones(1, 1, dtype=torch.bool),
            distance="l2",
            duplicate_filter="none",
            indices=torch.tensor([5, 6]),
        )


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"distance": "l3"}, "distance='l3' is none of l2, cosine"),
        ({"duplicate_filter": "image"}, "push-duplicate-filter='image' is none of sample, patch, none"),
    ],
)
def test_bad_arguments(options, message):
    arguments = {
        "own_class": torch.ones(2, 1, dtype=torch.bool),
        "distance": "l2",
        "duplicate_filter": "none",
    } | options
    with pytest.raises(ConfigError, match=message):
        PatchCandidates(torch.rand(2, 2, 1, 1), **arguments)


@pytest.mark.parametrize("duplicate_filter", ["sample", "patch"])
def test_the_state_stays_small(duplicate_filter):
    """As many rows as prototypes compete, however many images come; no patches once images suffice."""
    own_class = torch.ones(6, 1, dtype=torch.bool)
    collected = PatchCandidates(
        torch.rand(6, 3, 1, 1), own_class, distance="l2", duplicate_filter=duplicate_filter
    )
    for start in range(0, 200, 20):
        z = torch.rand(20, 3, 8, 8)
        collected.update(z, torch.zeros(20, dtype=torch.int64), torch.arange(start, start + 20))
        waiting = sum(map(len, collected.patches.waiting))
        assert len(collected.patches.rows) + waiting <= 36 + 36
    collected.assign()
    kept = collected.patches if collected.images is None else collected.images
    assert len(kept.rows) == 36
    assert len(kept.rows.vectors) <= 36
    if duplicate_filter == "sample":
        collected.update(z, torch.zeros(20, dtype=torch.int64), torch.arange(200, 220))
        assert len(collected.patches.compact()) == 0


@pytest.mark.parametrize("duplicate_filter", DUPLICATE_FILTERS)
def test_a_network_is_projected_over_any_loader(duplicate_filter):
    torch.manual_seed(0)
    backbone = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 2, stride=2), torch.nn.BatchNorm2d(4))
    options = ModelConfig(num_prototypes=6, prototype_dim=4)
    network = build_network(options, num_classes=3, backbone=backbone).train()
    images, labels = torch.randn(15, 3, 8, 10), torch.arange(15) % 3
    state = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    with torch.no_grad():
        z = network.eval().features(images)
    expected = project(
        z,
        labels,
        network.prototypes,
        network.own_class,
        distance=network.distance,
        duplicate_filter=duplicate_filter,
    ).assign()
    network.train()
    loader = DataLoader(TensorDataset(images, labels), batch_size=4)
    found = pixpnet.project(network, loader, duplicate_filter=duplicate_filter)
    assert torch.equal(found.image_index, expected.image_index)
    assert torch.equal(found.cells, expected.cells)
    assert torch.equal(network.prototypes.detach(), found.patches)
    assert network.training
    assert network.own_class[torch.arange(6), labels[found.image_index]].all()
    changed = {name for name, tensor in network.state_dict().items() if not torch.equal(tensor, state[name])}
    assert changed == {"prototypes"}
    order = torch.randperm(15)
    network.load_state_dict(state)
    numbered = DataLoader(TensorDataset(images[order], labels[order], order), batch_size=15)
    assert torch.equal(
        pixpnet.project(network, numbered, duplicate_filter=duplicate_filter).image_index, found.image_index
    )


def test_a_projection_that_can_not_be_is_said():
    network = build_network(
        ModelConfig(num_prototypes=2, prototype_dim=4), num_classes=2, backbone=torch.nn.Conv2d(3, 4, 2)
    )
    with pytest.raises(ConfigError, match="push-duplicate-filter"):
        pixpnet.project(network, [], duplicate_filter="images")
    with pytest.raises(DataError, match=r"no (training )?image"):
        pixpnet.project(network, [(torch.randn(2, 3, 8, 8), torch.zeros(2, dtype=torch.int64))])
