"""Distances and the nearest patch, held against plain restatements."""

import math

import pytest
import torch

from distance_oracles import ERRORS, EVERY, IGNORES_LENGTH, LINEAR_AT_ZERO, ORACLES, plain_maps
from pixpnet.errors import ConfigError, UnsupportedOperationError
from pixpnet.prototypes import (
    DISTANCES,
    SIMILARITIES,
    Distance,
    Embedded,
    LogSimilarity,
    SquaredL2,
    find_distance,
    pairwise_sum,
    patch_rows,
)

pytestmark = pytest.mark.usefixtures("l1_in_the_table")


def find_nearest(z, prototypes, distance):
    chosen = DISTANCES[distance]
    patches = chosen.embed(patch_rows(z, prototypes.shape[-1]))
    return chosen.nearest(patches, chosen.embed(prototypes.flatten(1)))


@pytest.mark.parametrize("kernel_size", [1, 2, 3])
@pytest.mark.parametrize("distance", EVERY)
def test_nearest_patch_is_that_of_the_full_map(distance, kernel_size):
    generator = torch.Generator().manual_seed(kernel_size)
    z = torch.rand(3, 5, 6, 7, generator=generator)
    prototypes = torch.rand(4, 5, kernel_size, kernel_size, generator=generator)
    smallest, cells = plain_maps(z, prototypes, distance).flatten(2).min(-1)
    nearest, found = find_nearest(z, prototypes, distance)
    assert torch.equal(found, cells)
    torch.testing.assert_close(nearest.double(), smallest, rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize("distance", EVERY)
def test_groups_of_images_don_t_change_the_result(distance, monkeypatch):
    z, prototypes = torch.rand(7, 5, 4, 4), torch.rand(6, 5, 1, 1)
    whole = find_nearest(z, prototypes, distance)
    monkeypatch.setattr("pixpnet.prototypes.distances._CHUNK", 200)
    parts = find_nearest(z, prototypes, distance)
    torch.testing.assert_close(parts[0], whole[0])
    assert torch.equal(parts[1], whole[1])


@pytest.mark.parametrize("distance", EVERY)
@pytest.mark.parametrize("distinct", [1, 3, 12])
def test_ties_go_to_the_first_cell(distance, distinct):
    """Also where rounding differs between the columns of equal cells."""
    generator = torch.Generator().manual_seed(distinct)
    pool = torch.rand(distinct, 193, generator=generator)
    which = torch.randint(distinct, (2, 81), generator=generator)
    z = pool[which].transpose(1, 2).reshape(2, 193, 9, 9)
    prototypes = torch.rand(5, 193, 1, 1, generator=generator)
    pairs = pool[:, None].expand(-1, 5, -1), prototypes.flatten(1).expand(distinct, -1, -1)
    exact = DISTANCES[distance].pair(*pairs)
    for image in range(2):
        present = which[image].unique()
        for number in range(5):
            best = present[exact[present, number].argmin()]
            expected = int((which[image] == best).nonzero()[0])
            assert int(find_nearest(z, prototypes, distance)[1][image, number]) == expected


@pytest.mark.parametrize("distance", EVERY)
def test_ties_of_more_cells_than_are_compared(distance, monkeypatch):
    """All cells alike but the first, which is farther by less than the search can tell."""
    monkeypatch.setattr("pixpnet.prototypes.distances._CHUNK", 1)
    generator = torch.Generator().manual_seed(0)
    z = torch.rand(1, 193, 1, 1, generator=generator).repeat(1, 1, 9, 9)
    prototypes = z[:, :, :1, :1] + 0.1 * torch.rand(7, 193, 1, 1, generator=generator)
    assert find_nearest(z, prototypes, distance)[1].tolist() == [[0] * 7]
    z[0, :, 0, 0] -= 1e-7 * (prototypes[0, :, 0, 0] - z[0, :, 0, 1]).sign()
    z[0, 0, 0, 0] -= 1e-6
    monkeypatch.undo()
    assert find_nearest(z, prototypes[:1], "l2")[1].tolist() == [[1]]


@pytest.mark.parametrize("distance", EVERY)
@pytest.mark.parametrize("kernel_size", [1, 2])
def test_a_patch_is_at_distance_zero_from_itself_amid_near_copies(distance, kernel_size):
    generator = torch.Generator().manual_seed(1)
    near_copies = torch.rand(1, 96, 1, 1, generator=generator) + 1e-6 * torch.randn(
        2, 96, 8, 8, generator=generator
    )
    prototypes = near_copies[:, :, 5 : 5 + kernel_size, 3 : 3 + kernel_size].clone()
    distances, cells = find_nearest(near_copies, prototypes, distance)
    width = 8 - kernel_size + 1
    assert distances.diagonal().tolist() == [0, 0]
    assert cells.diagonal().tolist() == [5 * width + 3] * 2
    assert (distances >= 0).all()


ROUNDING = {"l2": 0.0, "cosine": 0.0, "l1": 1e-3}
"""What a search that makes sure of `exact` itself has of that one's rounding."""


@pytest.mark.parametrize("distance", EVERY)
def test_rounding_of_the_search_stays_within_its_tolerance(distance):
    generator = torch.Generator().manual_seed(0)
    z = 3 + torch.randn(2, 300, 9, 9, generator=generator)
    prototypes = 3 + torch.randn(20, 300, 1, 1, generator=generator)
    chosen = DISTANCES[distance]
    patches, embedded = chosen.embed(patch_rows(z, 1)), chosen.embed(prototypes.flatten(1))
    error = chosen.search(patches, embedded).double() - plain_maps(z, prototypes, distance).flatten(2)
    assert (error.abs().amax(-1) <= chosen.search_tolerance(patches, embedded) / 2 + ROUNDING[distance]).all()
    own = Embedded(embedded.rows.repeat(2, 1, 1), embedded.offsets.repeat(2, 1))
    assert torch.equal(chosen.search(patches, own), chosen.search(patches, embedded))


def test_cosine_of_a_zero_vector_is_one_and_has_no_gradient():
    z = torch.zeros(1, 3, 1, 2)
    z[0, :, 0, 1] = torch.tensor([-1.0, 0.0, 0.0])
    z.requires_grad_()
    prototypes = torch.tensor([[1.0, 0, 0], [0, 0, 0], [0, 2, 0]])[..., None, None].requires_grad_()
    distances, cells = find_nearest(z, prototypes, "cosine")
    assert distances.tolist() == [[1, 1, 1]]
    assert cells.tolist() == [[0, 0, 0]]
    distances.sum().backward()
    assert z.grad is not None
    assert prototypes.grad is not None
    assert (z.grad == 0).all()
    assert (prototypes.grad == 0).all()


@pytest.mark.parametrize("size", [1e-11, 1e-3, 1e15])
def test_cosine_of_small_and_large_vectors(size):
    direction = torch.tensor([1.0, 2.0, -2.0])
    distances, _ = find_nearest(
        (size * direction)[None, :, None, None], torch.tensor([2.0, 2.0, -1.0])[None, :, None, None], "cosine"
    )
    torch.testing.assert_close(distances, torch.tensor([[1 - 8 / 9]]))


@pytest.mark.parametrize("distance", EVERY)
@pytest.mark.parametrize("kernel_size", [1, 2])
def test_gradient_is_that_of_the_full_map(distance, kernel_size):
    generator = torch.Generator().manual_seed(3)
    weights = torch.rand(3, 4, dtype=torch.float64, generator=generator)
    gradients = []
    for function in (
        lambda z, p: plain_maps(z, p, distance).flatten(2).amin(-1),
        lambda z, p: find_nearest(z, p, distance)[0],
    ):
        generator.manual_seed(4)
        z = torch.rand(3, 5, 4, 4, dtype=torch.float64, generator=generator).requires_grad_()
        prototypes = torch.rand(
            4, 5, kernel_size, kernel_size, dtype=torch.float64, generator=generator
        ).requires_grad_()
        (function(z, prototypes) * weights).sum().backward()
        gradients.append((z.grad, prototypes.grad))
    torch.testing.assert_close(gradients[0], gradients[1])


def test_a_patch_larger_than_the_map_is_an_error():
    with pytest.raises(ConfigError, match="prototype-kernel-size=3 does not fit the 2x5 feature map"):
        patch_rows(torch.rand(1, 4, 2, 5), 3)


@pytest.mark.parametrize("width", [1, 2, 3, 7, 8, 192])
def test_pairwise_sum(width):
    values = torch.rand(5, width)
    torch.testing.assert_close(pairwise_sum(values), values.sum(-1))
    assert torch.equal(pairwise_sum(values)[2:3], pairwise_sum(values[2:3]))


@pytest.mark.parametrize("distance", EVERY)
def test_pairs_by_the_definition(distance):
    patches, prototypes = torch.rand(6, 10), torch.rand(6, 10)
    prototypes[0] = 0
    found = DISTANCES[distance].pair(patches, prototypes)
    expected = ORACLES[distance](patches.double(), prototypes.double())
    torch.testing.assert_close(found.double(), expected, rtol=1e-5, atol=1e-6)
    assert torch.equal(DISTANCES[distance].pair(patches[2:3], prototypes[2:3]), found[2:3])
    assert (found >= DISTANCES[distance].least).all()


@pytest.mark.parametrize("distance", EVERY)
def test_parts_by_the_definition(distance):
    patches, prototypes = torch.rand(2, 6, 10).double(), torch.rand(6, 10).double()
    found = DISTANCES[distance].errors(patches, prototypes)
    torch.testing.assert_close(found, ERRORS[distance](patches, prototypes))


@pytest.mark.parametrize("distance", EVERY)
def test_what_a_distance_says_of_itself(distance):
    chosen = DISTANCES[distance]
    assert chosen.at_zero == LINEAR_AT_ZERO[distance]
    row = torch.rand(1, 5)
    assert chosen.pair(row, row).tolist() == pytest.approx([0], abs=1e-6)
    assert bool((chosen.pair(row, 3 * row) < 1e-6).all()) == chosen.ignores_length == IGNORES_LENGTH[distance]


class Product(Distance):
    """-⟨z, p⟩, as PIP-Net compares."""

    least = -torch.inf

    def exact(self, left, right):
        return -pairwise_sum(left.rows * right.rows)


def test_a_distance_below_zero():
    z, prototypes = torch.randn(2, 4, 3, 3), torch.randn(5, 4)
    product = Product()
    patches = product.embed(patch_rows(z, 1))
    found, cells = product.nearest(patches, product.embed(prototypes))
    products = torch.einsum("pd,bdhw->bphw", prototypes, z).flatten(2)
    torch.testing.assert_close(found, -products.amax(-1))
    assert torch.equal(cells, products.argmax(-1))
    with pytest.raises(ConfigError, match="never negative, which Product may be; use prototype-activ"):
        SIMILARITIES["log"](product, 1e-6)
    assert SIMILARITIES["linear"](product, 1e-6)(found).min() > 0
    with pytest.raises(UnsupportedOperationError, match="Product has none"):
        product.errors(patches.rows, prototypes)


def test_offsets_are_added():
    zero = Embedded(torch.zeros(1, 2), torch.tensor([0.25]))
    assert SquaredL2().exact(zero, zero).tolist() == [0.5]


def test_a_distance_by_name_or_as_it_is():
    product = Product()
    assert find_distance(product) is product
    assert find_distance("cosine") is DISTANCES["cosine"]
    with pytest.raises(ConfigError, match=r"distance='l3' is none of l2, cosine, l1; did you mean l2\?"):
        find_distance("l3")


@pytest.mark.parametrize("distance", EVERY)
@pytest.mark.parametrize("name", SIMILARITIES)
def test_similarities_fall(name, distance):
    similarity = SIMILARITIES[name](DISTANCES[distance], 1e-6)
    assert (similarity(torch.tensor([0, 1e-7, 1e-3, 0.5, 1.0, 2.0])).diff() < 0).all()


@pytest.mark.parametrize("epsilon", [1e-6, 1e-4])
def test_log_by_its_definition(epsilon):
    values = torch.logspace(-9, 6, 200)
    plain = ((values.double() + 1 + epsilon) / (values.double() + epsilon)).log()
    torch.testing.assert_close(LogSimilarity(epsilon)(values).double(), plain, rtol=1e-6, atol=0)
    zero = LogSimilarity(epsilon)(torch.zeros(1)).item()
    assert zero == pytest.approx(math.log(1 / epsilon + 1), rel=1e-6)


@pytest.mark.parametrize("distance", EVERY)
def test_linear(distance):
    similarity, start = SIMILARITIES["linear"](DISTANCES[distance], 1e-6), LINEAR_AT_ZERO[distance]
    assert similarity(torch.tensor([0.0, 0.25])).tolist() == [start, start - 0.25]


@pytest.mark.parametrize("distance", EVERY)
def test_an_exported_search_tells_what_rounding_hides(distance):
    """Four patches so near that their squared lengths hide which is nearest; the others are far away."""

    class Nearest(torch.nn.Module):
        def forward(self, z, prototypes):
            return find_nearest(z, prototypes, distance)

    generator = torch.Generator().manual_seed(3)
    prototypes = 300 * torch.rand(5, 6, 1, 1, generator=generator)
    z = -300 * torch.rand(2, 6, 3, 3, generator=generator)
    for place, step in enumerate((0.04, 0.02, 0.005, 0.03)):
        z[:, :, place // 3, place % 3] = prototypes[0, :, 0, 0]
        z[:, place, place // 3, place % 3] += step
    program = torch.export.export(Nearest(), (z, prototypes)).module()
    nearest, found = program(z, prototypes)
    smallest, cells = plain_maps(z, prototypes, distance).flatten(2).min(-1)
    assert torch.equal(found[:, 0], cells[:, 0])
    torch.testing.assert_close(nearest[:, 0].double(), smallest[:, 0], rtol=1e-3, atol=1e-8)
