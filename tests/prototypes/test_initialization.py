import math
import pickle

import pytest
import torch

from distance_oracles import EVERY
from pixpnet.errors import DataError
from pixpnet.prototypes import PatchSample, kmeans, patch_purity, random_keys, regular_own_class

pytestmark = pytest.mark.usefixtures("l1_in_the_table")

TWO_CLASSES = regular_own_class(6, 2, class_specific=True)


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def clustered_images(centres, *, cells=16, noise=0.01):
    """Per class four images whose patches lie around that class's centres [c m d]."""
    generator = seeded(5)
    num_classes, count, channels = centres.shape
    labels = torch.arange(num_classes).repeat(4)
    which = torch.randint(count, (len(labels), cells), generator=generator)
    which[:, :count] = torch.arange(count)
    z = centres[labels[:, None], which] + noise * torch.randn(
        len(labels), cells, channels, generator=generator
    )
    return z.transpose(1, 2).unflatten(2, (4, cells // 4)), labels


def sample_of(z, labels, own_class=TWO_CLASSES, *, kernel_size=1, batches=None, indices=None):
    sample = PatchSample(own_class, kernel_size=kernel_size, generator=seeded())
    indices = torch.arange(len(z)) if indices is None else indices
    for batch in batches or [torch.arange(len(z))]:
        sample.update(z[batch], labels[batch], indices[batch])
    return sample


@pytest.mark.parametrize("distance", EVERY)
def test_centres_of_the_own_class(distance):
    centres = torch.rand(2, 3, 8, generator=seeded(2)) * 2
    z, labels = clustered_images(centres)
    found = sample_of(z, labels).centres(distance=distance).flatten(1)
    assert found.shape == (6, 8)
    for label in range(2):
        gaps = torch.cdist(found[3 * label : 3 * label + 3], centres[label])
        assert sorted(gaps.argmin(1).tolist()) == [0, 1, 2]
        assert (gaps.amin(1) < 0.03).all()


@pytest.mark.parametrize("distance", EVERY)
def test_pure_starts_are_patches_of_distinct_images_and_none_that_classes_share(distance):
    centres = torch.rand(2, 4, 8, generator=seeded(2)) * 2
    centres[1, :2] = centres[0, :2]  # sky and water
    z, labels = clustered_images(centres)
    found = sample_of(z, labels).centres(distance=distance, pure=True).flatten(1)
    gaps = torch.cdist(found, centres.flatten(0, 1)).argmin(1).view(2, 3)
    assert set(gaps[0].tolist()) == {2, 3}
    assert set(gaps[1].tolist()) == {6, 7}
    patches = z.flatten(2).transpose(1, 2)
    image = (patches[None] == found[:, None, None]).all(dim=3).any(dim=2).nonzero()[:, 1]
    assert sorted(image.tolist()) == sorted(set(image.tolist()))
    assert (labels[image] == torch.arange(2).repeat_interleave(3)).all()


def test_pure_starts_of_few_images_are_distinct_patches():
    z = torch.rand(1, 8, 4, 4, generator=seeded(1))
    found = sample_of(z, torch.zeros(1, dtype=torch.int64), torch.ones(6, 1) > 0).centres(
        distance="l2", pure=True
    )
    assert len(found.flatten(1).unique(dim=0)) == 6


def test_purity_is_the_share_of_the_nearest_patches_in_other_images_of_the_same_class():
    rows = torch.randn(60, 3, generator=seeded(1))
    images, labels = torch.arange(60) // 4, torch.arange(60) // 4 % 3
    found = patch_purity(rows, images=images, labels=labels)
    for row in range(60):
        others = [other for other in range(60) if images[other] != images[row]]
        others.sort(key=lambda other: float((rows[other] - rows[row]).square().sum()))
        wanted = sum(bool(labels[other] == labels[row]) for other in others[:10]) / 10
        assert float(found[row]) == pytest.approx(wanted)
    few = patch_purity(rows[:8], images=images[:8], labels=torch.zeros(8, dtype=torch.int64))
    assert few.tolist() == [pytest.approx(0.4)] * 8


@pytest.mark.parametrize("pure", [False, True])
@pytest.mark.parametrize("kernel_size", [1, 2])
def test_any_batches_order_and_processes(kernel_size, pure):
    """Of more patches than are kept."""
    z, labels = torch.rand(12, 5, 16, 16, generator=seeded(1)), torch.arange(12) % 2
    whole = sample_of(z, labels, kernel_size=kernel_size).centres(distance="l2", pure=pure)
    assert whole.shape == (6, 5, kernel_size, kernel_size)
    shuffled = torch.randperm(12, generator=seeded(3)).split(5)
    other = sample_of(z, labels, kernel_size=kernel_size, batches=shuffled)
    assert torch.equal(other.centres(distance="l2", pure=pure), whole)
    first = sample_of(z, labels, kernel_size=kernel_size, batches=[torch.arange(0, 12, 3)])
    rest = [torch.tensor([index for index in range(12) if index % 3])]
    second = sample_of(z, labels, kernel_size=kernel_size, batches=rest)
    first.merge(pickle.loads(pickle.dumps(second)))
    assert torch.equal(first.centres(distance="l2", pure=pure), whole)
    assert all(len(rows) == 1024 for rows in first.rows)


def test_shared_prototypes_see_all_their_classes():
    own_class = torch.tensor([[1, 0], [1, 1], [0, 1]], dtype=torch.bool)
    z = torch.tensor([0.0, 1.0]).repeat_interleave(2)[:, None, None, None].expand(4, 1, 2, 2)
    sample = sample_of(z, torch.tensor([0, 0, 1, 1]), own_class)
    centres = sample.centres(distance="l2").flatten()
    torch.testing.assert_close(centres, torch.tensor([0, 0.5, 1.0]))


def test_class_agnostic_pools_all_images():
    z, labels = clustered_images(torch.rand(2, 3, 8, generator=seeded(2)))
    own_class = regular_own_class(6, 2, class_specific=False)
    found = sample_of(z, labels, own_class).centres(distance="l2").flatten(1)
    expected = sample_of(z, labels).centres(distance="l2").flatten(1)
    torch.testing.assert_close(found.sort(0).values, expected.sort(0).values, rtol=0, atol=0.03)


@pytest.mark.parametrize("distance", EVERY)
def test_fewer_patches_than_centres(distance):
    z = torch.tensor([1.0, 2.0, 2.0, 1.0]).view(2, 1, 1, 2).repeat(1, 3, 1, 1)
    z[:, 0] *= -1
    centres = sample_of(z, torch.tensor([0, 1])).centres(distance=distance)
    assert centres.isfinite().all()
    assert centres.flatten(1).norm(dim=1).min() > 1


def test_a_class_without_images_is_named():
    sample = sample_of(torch.rand(1, 3, 2, 2), torch.tensor([0]))
    with pytest.raises(DataError, match="no training image of class wren"):
        sample.centres(distance="l2", class_names=["tern", "wren"])


@pytest.mark.parametrize(("centres", "patches"), [(1, 1024), (50, 3200), (2000, 16384), (10000, 40000)])
def test_sample_sizes(centres, patches):
    side = math.isqrt(patches) + 1
    own_class = torch.ones(centres, 1, dtype=torch.bool)
    sample = sample_of(torch.zeros(1, 1, side, side), torch.tensor([0]), own_class)
    assert [len(rows) for rows in sample.rows] == [patches]


def test_random_keys_look_random():
    keys = random_keys(torch.arange(200)[:, None], torch.arange(200)[None], seed=7)
    assert len(keys.unique()) == 40000
    assert abs((keys > 0).float().mean() - 0.5) < 0.01
    halves = (keys & 1).float()
    assert (halves.mean(0) - 0.5).abs().max() < 0.2
    assert not torch.equal(keys, random_keys(torch.arange(200)[:, None], torch.arange(200)[None], seed=8))


def test_kmeans_ends_at_the_means_of_its_members():
    rows = torch.rand(300, 4, generator=seeded(1))
    result = kmeans(rows, 5, generator=seeded(2), iterations=200)
    assert torch.equal(torch.cdist(rows, result.centres).argmin(1), result.members)
    means = torch.stack([rows[result.members == number].mean(0) for number in range(5)])
    torch.testing.assert_close(result.centres, means)
    again = kmeans(rows, 5, generator=seeded(2), iterations=200)
    assert torch.equal(again.centres, result.centres)


def test_no_cluster_stays_empty():
    """One that loses all its rows, as here on the way, moves to the row farthest from its centre."""
    rows = torch.nn.functional.normalize(torch.randn(12, 2, generator=seeded(934)))
    members = kmeans(rows, 4, generator=seeded(934), spherical=True).members
    assert (members.bincount(minlength=4) > 0).all()


def test_spherical_kmeans_centres_are_unit_vectors():
    rows = torch.nn.functional.normalize(torch.randn(100, 3, generator=seeded(1)))
    result = kmeans(rows, 4, generator=seeded(2), spherical=True)
    torch.testing.assert_close(result.centres.norm(dim=1), torch.ones(4))
    opposite = torch.tensor([[1.0, 0.0], [-1.0, 0.0]])
    assert kmeans(opposite, 1, generator=seeded(), spherical=True).centres.isfinite().all()


def test_kmeans_start_takes_distinct_rows():
    """k-means++ never draws a row that is a centre already while others remain."""
    rows = torch.tensor([[0.0], [0.0], [0.0], [0.0], [1.0], [5.0]])
    for seed in range(10):
        assert kmeans(rows, 3, generator=seeded(seed)).centres.flatten().sort().values.tolist() == [0, 1, 5]
