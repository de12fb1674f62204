"""Distances and the nearest patch, held against plain restatements."""

import pytest
import torch
from torch.nn import functional

from pixpnet.errors import ConfigError
from pixpnet.prototypes import nearest
from pixpnet.prototypes.distances import (
    DISTANCES,
    Embedded,
    exact_distance,
    expanded_distances,
    pairwise_sum,
    patch_rows,
    search_tolerance,
)
from pixpnet.prototypes.nearest import nearest_patches


def plain_maps(z, prototypes, distance):
    """Every distance by its definition, cell by cell, in float64."""
    k = prototypes.shape[-1]
    z, prototypes = z.double(), prototypes.double()
    height, width = (side - k + 1 for side in z.shape[-2:])
    maps = torch.empty(len(z), len(prototypes), height, width, dtype=torch.float64)
    for row in range(height):
        for column in range(width):
            patch = z[:, None, :, row : row + k, column : column + k].flatten(2)
            flat = prototypes.flatten(1)[None]
            if distance == "l2":
                maps[:, :, row, column] = (patch - flat).square().sum(-1)
            else:
                norms = patch.norm(dim=-1) * flat.norm(dim=-1)
                maps[:, :, row, column] = 1 - torch.where(norms > 0, (patch * flat).sum(-1) / norms, 0.0)
    return maps


def find_nearest(z, prototypes, distance):
    chosen = DISTANCES[distance]
    return nearest_patches(
        chosen.embed(patch_rows(z, prototypes.shape[-1])),
        chosen.embed(prototypes.flatten(1)),
        scale=chosen.scale,
    )


@pytest.mark.parametrize("kernel_size", [1, 2, 3])
@pytest.mark.parametrize("distance", DISTANCES)
def test_nearest_patch_is_that_of_the_full_map(distance, kernel_size):
    generator = torch.Generator().manual_seed(kernel_size)
    z = torch.rand(3, 5, 6, 7, generator=generator)
    prototypes = torch.rand(4, 5, kernel_size, kernel_size, generator=generator)
    smallest, cells = plain_maps(z, prototypes, distance).flatten(2).min(-1)
    distances, found = find_nearest(z, prototypes, distance)
    assert torch.equal(found, cells)
    torch.testing.assert_close(distances.double(), smallest, rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize("distance", DISTANCES)
def test_groups_of_images_don_t_change_the_result(distance, monkeypatch):
    z, prototypes = torch.rand(7, 5, 4, 4), torch.rand(6, 5, 1, 1)
    whole = find_nearest(z, prototypes, distance)
    monkeypatch.setattr(nearest, "_CHUNK", 200)
    parts = find_nearest(z, prototypes, distance)
    torch.testing.assert_close(parts[0], whole[0])
    assert torch.equal(parts[1], whole[1])


@pytest.mark.parametrize("distance", DISTANCES)
@pytest.mark.parametrize("distinct", [1, 3, 12])
def test_ties_go_to_the_first_cell(distance, distinct):
    """Also where rounding differs between the columns of equal cells."""
    generator = torch.Generator().manual_seed(distinct)
    pool = torch.rand(distinct, 193, generator=generator)
    which = torch.randint(distinct, (2, 81), generator=generator)
    z = pool[which].transpose(1, 2).reshape(2, 193, 9, 9)
    prototypes = torch.rand(5, 193, 1, 1, generator=generator)
    exact = DISTANCES[distance].scale * (
        (
            DISTANCES[distance].embed(pool).rows[:, None]
            - DISTANCES[distance].embed(prototypes.flatten(1)).rows
        )
        .square()
        .sum(-1)
    )
    for image in range(2):
        present = which[image].unique()
        for number in range(5):
            best = present[exact[present, number].argmin()]
            expected = int((which[image] == best).nonzero()[0])
            assert int(find_nearest(z, prototypes, distance)[1][image, number]) == expected


@pytest.mark.parametrize("distance", DISTANCES)
def test_ties_of_more_cells_than_are_compared(distance, monkeypatch):
    """All cells alike but the first, which is farther by less than the search can tell."""
    monkeypatch.setattr(nearest, "_CHUNK", 1)
    generator = torch.Generator().manual_seed(0)
    z = torch.rand(1, 193, 1, 1, generator=generator).repeat(1, 1, 9, 9)
    prototypes = z[:, :, :1, :1] + 0.1 * torch.rand(7, 193, 1, 1, generator=generator)
    assert find_nearest(z, prototypes, distance)[1].tolist() == [[0] * 7]
    z[0, :, 0, 0] -= 1e-7 * (prototypes[0, :, 0, 0] - z[0, :, 0, 1]).sign()
    z[0, 0, 0, 0] -= 1e-6
    monkeypatch.undo()
    assert find_nearest(z, prototypes[:1], "l2")[1].tolist() == [[1]]


@pytest.mark.parametrize("distance", DISTANCES)
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


@pytest.mark.parametrize("distance", DISTANCES)
def test_rounding_of_the_search_stays_within_its_tolerance(distance):
    generator = torch.Generator().manual_seed(0)
    z = 3 + torch.randn(2, 300, 9, 9, generator=generator)
    prototypes = 3 + torch.randn(20, 300, 1, 1, generator=generator)
    chosen = DISTANCES[distance]
    patches, embedded = chosen.embed(patch_rows(z, 1)), chosen.embed(prototypes.flatten(1))
    error = expanded_distances(patches, embedded, scale=chosen.scale).double() - plain_maps(
        z, prototypes, distance
    ).flatten(2)
    assert (error.abs().amax(-1) <= search_tolerance(patches, embedded, scale=chosen.scale) / 2).all()


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


@pytest.mark.parametrize("distance", DISTANCES)
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


def test_exact_distance_matches_torch():
    left, right = torch.rand(6, 10), torch.rand(6, 10)
    embed, scale = DISTANCES["cosine"]
    found = exact_distance(embed(left), embed(right), scale=scale)
    torch.testing.assert_close(found, 1 - functional.cosine_similarity(left, right))
    zero = Embedded(torch.zeros(1, 2), torch.tensor([0.25]))
    assert exact_distance(zero, zero, scale=1.0).tolist() == [0.5]
