"""The receptive-field map against a loop over cells and pixels."""

from __future__ import annotations

import tracemalloc

import numpy as np
import pytest
import torch
from cell_by_cell import painted_map
from hypothesis import given, settings
from hypothesis import strategies as st
from random_fields import receptive_fields
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode

from pixpnet.pixel_space import REDUCTIONS, pixel_space_map
from pixpnet.receptive_fields import ReceptiveField, receptive_field

BLOCK = HUGE_PAGE = 1 << 21
"""Elements that are worked on at a time, and bytes that the system hands out at once."""

NETWORKS = {
    "strides differ": (nn.Sequential(nn.Conv2d(3, 2, (5, 3), stride=(3, 2), padding=(2, 1))), (14, 9)),
    "beyond the image": (nn.Sequential(*[nn.Conv2d(3, 3, 5, padding=2) for _ in range(5)]), (6, 9)),
    "sparse": (
        nn.Sequential(nn.ConvTranspose2d(3, 3, 1, stride=(3, 2)), nn.Conv2d(3, 3, 2, padding=1)),
        (4, 5),
    ),
    "global": (nn.Sequential(nn.Conv2d(3, 3, 3), nn.AdaptiveAvgPool2d(1)), (7, 9)),
    "gaps": (nn.Sequential(nn.Conv2d(3, 3, 2, stride=4)), (11, 10)),
    "one cell a pixel": (nn.Sequential(nn.Conv2d(3, 3, 1)), (5, 8)),
    "square image, other columns": (nn.Sequential(nn.Conv2d(3, 2, (5, 3), padding=(2, 1))), (8, 8)),
    "many bands": (nn.Sequential(nn.Conv2d(3, 3, 5, stride=4)), (90, 7)),
}


def random_similarities(field: ReceptiveField, *leading: int, seed: int = 0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn((*leading, *field.grid_size), generator=generator, dtype=torch.float64)


def ours(similarities: torch.Tensor, field: ReceptiveField, **options) -> torch.Tensor:
    return pixel_space_map("receptive_field", similarities, field, field.image_size, **options)


def theirs(similarities: torch.Tensor, field: ReceptiveField, **options) -> np.ndarray:
    values = similarities.double().flatten(0, 1).numpy()
    maps = np.stack([painted_map(one, field, **options) for one in values])
    return maps.reshape(*similarities.shape[:2], *field.image_size)


@settings(max_examples=60, deadline=None)
@given(
    field=receptive_fields(),
    shift=st.sampled_from([-9.0, 0.0, 9.0]),
    sigma_factor=st.sampled_from([1.0, 0.25, 0.01, 3.0]),
    narrowest=st.sampled_from([1, 28]),
    seed=st.integers(0, 2**31),
)
@pytest.mark.parametrize("reduction", REDUCTIONS)
def test_any_field_any_similarities(reduction, field, shift, sigma_factor, narrowest, seed):
    similarities = random_similarities(field, 1, 2, seed=seed) + shift
    options = {"reduction": reduction, "sigma_factor": sigma_factor}
    expected = theirs(similarities, field, **options)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("pixpnet.pixel_space.receptive_field.NARROWEST", narrowest)
        maps, single = (ours(values, field, **options) for values in (similarities, similarities.float()))
    np.testing.assert_allclose(maps.numpy(), expected, rtol=1e-11, atol=1e-13)
    assert single.dtype == torch.float32
    np.testing.assert_allclose(single.numpy(), expected, rtol=2e-5, atol=1e-5)


@pytest.mark.parametrize("reduction", REDUCTIONS)
@pytest.mark.parametrize("kernel_size", [1, 2])
@pytest.mark.parametrize("name", NETWORKS)
def test_networks(name, kernel_size, reduction):
    network, size = NETWORKS[name]
    field = receptive_field(network, size)
    if kernel_size > min(field.grid_size):
        kernel_size = 1
    field = field.for_kernel(kernel_size)
    similarities = random_similarities(field, 2, 2)
    options = {"reduction": reduction, "sigma_factor": 1.0}
    maps = ours(similarities, field, **options)
    np.testing.assert_allclose(maps.numpy(), theirs(similarities, field, **options), rtol=1e-11, atol=1e-13)


def test_the_networks_are_what_they_are_called():
    fields = {name: receptive_field(*case) for name, case in NETWORKS.items()}
    assert fields["strides differ"].strides == (3, 2)
    assert min(fields["beyond the image"].full_size) > max(fields["beyond the image"].image_size)
    assert (fields["sparse"].percents == 0).any()
    assert fields["global"].is_global
    many = fields["many bands"]
    assert min(many.grid_size[0], many.image_size[0] // 28) == 3, "bands are 28 pixels or more"
    assert max(bottom - top for top, bottom in many.rows) < 28


def test_by_hand():
    """Two cells on a strip of four pixels, overlapping in the middle two; the Gaussian of three pixels."""
    field = receptive_field(nn.Sequential(nn.Conv2d(3, 1, (1, 3))), (1, 4))
    similarities = torch.tensor([2.0, -1.0], dtype=torch.float64).view(1, 1, 1, 2)
    near = np.exp(-1 / 18)
    painted = {
        "sum": [2 * near, 2 - near, 2 * near - 1, -near],
        "mean": [2 * near, 1 - near / 2, near - 0.5, -near],
        "max": [2 * near, 2, 2 * near, -near],
    }
    for reduction, expected in painted.items():
        np.testing.assert_allclose(ours(similarities, field, reduction=reduction)[0, 0, 0], expected)


def test_no_cell_sees_anything():
    rows = np.zeros((2, 2), dtype=np.int64)
    for cells in (None, np.zeros((2, 2, 4), dtype=np.int64)):
        blind = ReceptiveField((5, 4), rows, rows, rows, rows, cells)
        for reduction in REDUCTIONS:
            maps = ours(torch.full((1, 3, 2, 2), -2.0), blind, reduction=reduction)
            assert maps.shape == (1, 3, 5, 4)
            assert (maps == 0).all()


@pytest.mark.parametrize("reduction", REDUCTIONS)
def test_blocks_images_and_chosen_prototypes_change_nothing(reduction):
    """72 maps are more than are worked on at once."""
    field = receptive_field(NETWORKS["strides differ"][0], (210, 180))
    similarities = random_similarities(field, 3, 24).float()
    whole = ours(similarities, field, reduction=reduction)
    for image in range(3):
        alone = ours(similarities[image, None], field, reduction=reduction)
        torch.testing.assert_close(alone, whole[image, None])
    chosen = ours(similarities, field, reduction=reduction, prototypes=[4, 0, 23])
    torch.testing.assert_close(chosen, whole[:, [4, 0, 23]])


@pytest.mark.parametrize("reduction", REDUCTIONS)
def test_memory_is_that_of_the_maps(reduction):
    """No tensor on the way is larger than a block, apart from the maps themselves."""
    field = receptive_field(nn.Sequential(nn.Conv2d(3, 3, 9, stride=4, padding=4)), (112, 112))
    similarities = torch.rand(1, 400, *field.grid_size)
    sizes: list[int] = []

    class Watch(TorchDispatchMode):
        def __torch_dispatch__(self, function, types, args=(), kwargs=None):
            result = function(*args, **(kwargs or {}))
            if isinstance(result, torch.Tensor) and result.untyped_storage().data_ptr() != maps_memory:
                sizes.append(result.untyped_storage().nbytes() // 4)
            return result

    maps_memory = 0
    tracemalloc.start()  # NumPy's
    try:
        with Watch():
            maps = ours(similarities, field, reduction=reduction)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    whole = maps.untyped_storage().nbytes() // 4
    assert maps.numel() == 400 * 112 * 112
    assert maps.data_ptr() % HUGE_PAGE == 0
    assert sorted(sizes)[-1] == whole
    assert max(size for size in sizes if size != whole) <= BLOCK
    assert peak <= maps.nbytes + 2 * HUGE_PAGE + 4 * BLOCK


@pytest.mark.parametrize("method", ["receptive_field", "upsampling", "random"])
@pytest.mark.parametrize("reduction", REDUCTIONS)
@pytest.mark.parametrize("name", ["strides differ", "sparse"])
def test_everything_moves_to_the_device_of_the_similarities(method, reduction, name):
    """Torch refuses to mix devices, also this one without memory."""
    network, size = NETWORKS[name]
    field = receptive_field(network, size)
    cells = field.boxes.copy()
    cells[0, 0] = 0
    uneven = ReceptiveField(
        size, field.rows, field.columns, field.unclipped_rows, field.unclipped_columns, cells
    )
    for one in (field, uneven):
        similarities = torch.rand(2, 3, *one.grid_size, device="meta")
        maps = pixel_space_map(
            method, similarities, one, size, reduction=reduction, generator=torch.Generator()
        )
        assert maps.device.type == "meta"
        assert maps.shape == (2, 3, *size)


def test_half_precision_is_computed_in_single_also_under_autocast():
    field = receptive_field(*NETWORKS["strides differ"])
    similarities = random_similarities(field, 1, 2).bfloat16()
    expected = ours(similarities.float(), field, reduction="sum")
    with torch.autocast("cpu", dtype=torch.bfloat16):
        maps = ours(similarities, field, reduction="sum")
    assert maps.dtype == torch.float32
    torch.testing.assert_close(maps, expected)


def test_gradient_and_inference_mode_do_no_harm():
    field = receptive_field(*NETWORKS["strides differ"])
    similarities = random_similarities(field, 1, 2)
    for reduction in REDUCTIONS:
        maps = ours(similarities.clone().requires_grad_(), field, reduction=reduction)
        assert not maps.requires_grad
        with torch.inference_mode():
            torch.testing.assert_close(ours(similarities.clone(), field, reduction=reduction), maps)
