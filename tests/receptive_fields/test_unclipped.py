"""The receptive field without the image's border."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from random_networks import STEPS, small_networks
from torch import Tensor, nn
from torch.nn import functional as F

from pixpnet.errors import UnsupportedOperationError
from pixpnet.receptive_fields import receptive_field

SETTINGS = settings(deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow])


class Layer(nn.Module):
    """A convolution or pool, with the numbers of the textbook's recurrence."""

    def __init__(self, kernel: int, stride: int, padding: int, dilation: int, *, pool: bool) -> None:
        super().__init__()
        self.kernel, self.stride, self.padding, self.dilation = kernel, stride, padding, dilation
        options = {"stride": stride, "padding": padding, "dilation": dilation}
        self.layer = nn.MaxPool2d(kernel, **options) if pool else nn.Conv2d(3, 3, kernel, **options)

    def forward(self, x: Tensor) -> Tensor:
        return self.layer(x)


@st.composite
def layers(draw) -> Layer:
    kernel, pool = draw(st.integers(1, 5)), draw(st.booleans())
    padding = draw(st.integers(0, kernel // 2 if pool else 3))
    return Layer(kernel, draw(st.integers(1, 2)), padding, draw(st.integers(1, 3)), pool=pool)


@settings(SETTINGS, max_examples=60)
@given(st.lists(layers(), min_size=1, max_size=5))
def test_chains_follow_the_recurrence_of_start_jump_and_size(chain: list[Layer]):
    field = receptive_field(nn.Sequential(*chain), (500, 450))
    start, jump, size = 0, 1, 1
    for layer in chain:
        start -= layer.padding * jump
        size += layer.dilation * (layer.kernel - 1) * jump
        jump *= layer.stride
    for intervals in (field.unclipped_rows, field.unclipped_columns):
        index = np.arange(len(intervals))
        np.testing.assert_array_equal(intervals[:, 0], start + jump * index)
        np.testing.assert_array_equal(np.diff(intervals)[:, 0], size)
    assert field.full_size == (size, size)
    assert field.strides == (jump, jump)
    assert field.centers[0, 1].tolist() == [start + jump + size / 2, start + size / 2]


BESIDES = ("padding", "joined_places")
ZERO_PADDED = tuple(name for name in STEPS if name not in BESIDES)


@settings(SETTINGS, max_examples=100)
@given(small_networks(ZERO_PADDED))
def test_unclipped_holds_clipped(case: tuple[nn.Module, tuple[int, int]]):
    network, size = case
    for module in network.modules():
        if isinstance(module, nn.Conv2d) and module.padding_mode != "zeros":
            return  # sees the image's other end, which an image without border does not have
    try:
        field = receptive_field(network, size)
    except UnsupportedOperationError:
        return
    for clipped, unclipped in (
        (field.rows, field.unclipped_rows),
        (field.columns, field.unclipped_columns),
    ):
        seen = np.diff(clipped)[:, 0] > 0
        assert (unclipped[seen, 0] <= clipped[seen, 0]).all()
        assert (unclipped[seen, 1] >= clipped[seen, 1]).all()


def test_in_the_middle_of_the_image_both_are_one():
    network = nn.Sequential(nn.Conv2d(3, 1, 5, padding=2), nn.MaxPool2d(2), nn.Conv2d(1, 1, 3, padding=1))
    field = receptive_field(network, (40, 40))
    np.testing.assert_array_equal(field.rows[3:-3], field.unclipped_rows[3:-3])
    np.testing.assert_array_equal(field.rows, np.clip(field.unclipped_rows, 0, 40))


# Steps of a power of 2: elsewhere torch's rounding decides where a window ends that ends on a whole pixel.
CORNERS, EDGES = ((65, 17), (33, 17), (17, 33)), ((64, 16), (32, 16), (16, 32))
INTERPOLATIONS = [
    ({"mode": "nearest"}, EDGES),
    ({"mode": "nearest-exact"}, EDGES),
    *(
        ({"mode": mode, "align_corners": aligned, "antialias": antialias}, CORNERS if aligned else EDGES)
        for mode in ("bilinear", "bicubic")
        for aligned in (False, True)
        for antialias in (False, True)
    ),
]


@pytest.mark.parametrize(
    ("options", "sizes"), [(options, sizes) for options, every in INTERPOLATIONS for sizes in every], ids=str
)
def test_interpolation_reads_the_same_far_from_the_border(options: dict, sizes: tuple[int, int]):
    inputs, outputs = sizes

    class Net(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return F.interpolate(x, size=(outputs, outputs), **options)

    field = receptive_field(Net(), (inputs, inputs))
    inner = slice(outputs // 3, outputs - outputs // 3)
    np.testing.assert_array_equal(field.rows[inner], field.unclipped_rows[inner])
    np.testing.assert_array_equal(field.columns[inner], field.unclipped_columns[inner])


def unclipped_rows(function, size: int = 8) -> list[list[int]]:
    class Net(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return function(x)

    return receptive_field(Net(), (size, 6)).unclipped_rows.tolist()


def blurred(x: Tensor) -> Tensor:
    return F.avg_pool2d(x, 3, 1, 1)


def doubled(x: Tensor, mode: str = "nearest") -> Tensor:
    return F.interpolate(x, scale_factor=2, mode=mode)


def corners(x: Tensor) -> Tensor:
    return F.interpolate(x, size=(3, 3), mode="bilinear", align_corners=True)


@pytest.mark.parametrize(
    ("about", "function", "expected"),
    [
        ("global", lambda x: F.adaptive_avg_pool2d(blurred(x), 1), [[0, 8]]),
        ("global over rows", lambda x: blurred(x).mean(2, keepdim=True), [[0, 8]]),
        ("global seen by all", lambda x: blurred(x) * x.mean(), [[-1, 8], *[[0, 8]] * 6, [0, 9]]),
        ("hull of windows", lambda x: F.adaptive_max_pool2d(blurred(x), (3, 2)), [[-1, 4], [1, 7], [4, 9]]),
        ("nearest", lambda x: doubled(blurred(x))[:, :, :4], [[-1, 2], [-1, 2], [0, 3], [0, 3]]),
        ("nearest, then a window", lambda x: blurred(doubled(x))[:, :, :3], [[-1, 1], [0, 2], [0, 2]]),
        ("bilinear", lambda x: doubled(x, "bilinear")[:, :, :3], [[-1, 1], [0, 2], [0, 2]]),
        ("corners", corners, [[0, 1], [3, 5], [7, 8]]),
        ("zeros", lambda x: F.pad(x, (0, 0, 2, -7)), [[-2, -1], [-1, 0], [0, 1]]),
        ("reflection", lambda x: F.pad(x, (0, 0, 2, 0), "reflect")[:, :, :3], [[-2, -1], [-1, 0], [0, 1]]),
        ("crop", lambda x: blurred(x)[:, :, 6:], [[5, 8], [6, 9]]),
        ("stride", lambda x: blurred(x)[:, :, ::3], [[-1, 2], [2, 5], [5, 8]]),
        ("flip", lambda x: blurred(x).flip(2)[:, :, :2], [[6, 9], [5, 8]]),
        ("flip, then a window", lambda x: blurred(x.flip(2))[:, :, :2], [[6, 9], [5, 8]]),
        ("repeat", lambda x: x[:, :, :2].repeat_interleave(2, 2), [[0, 1], [0, 1], [1, 2], [1, 2]]),
        ("end to end", lambda x: torch.cat([blurred(x)[:, :, :1], x[:, :, 7:]], 2), [[-1, 2], [7, 8]]),
        (
            "put together again, then a window",
            lambda x: blurred(torch.cat([x[:, :, :3], x[:, :, 3:]], 2)),
            [[row - 1, row + 2] for row in range(8)],
        ),
        (
            "one row for all",
            lambda x: blurred(x[:, :, 3:4].expand(-1, -1, 4, -1)),
            [[3, 4]] * 4,
        ),
    ],
)  # fmt: skip
def test_rule_of_an_endless_image(about: str, function, expected: list[list[int]]):
    assert unclipped_rows(function) == expected


def test_transposed_convolutions():
    network = nn.ConvTranspose2d(3, 1, (3, 1), stride=(2, 1), padding=(1, 0))
    assert receptive_field(network, (3, 3)).unclipped_rows.tolist() == [
        [0, 1],
        [0, 2],
        [1, 2],
        [1, 3],
        [2, 3],
    ]
    network = nn.ConvTranspose2d(3, 1, 1, stride=2)
    field = receptive_field(network, (3, 3))
    assert field.unclipped_rows.tolist() == [[0, 1], [0, 0], [1, 2], [0, 0], [2, 3]]
    assert field.box(1, 0) == (0, 0, 0, 0)
    assert field.strides == (1.0, 1.0)


def test_a_deep_layer_is_larger_than_the_image():
    chain = nn.Sequential(*[nn.Conv2d(3, 3, 3, padding=1) for _ in range(10)])
    field = receptive_field(chain, (8, 8))
    assert field.full_size == (21, 21)
    assert field.centers[0, 0].tolist() == [0.5, 0.5]
    assert all(a[0] + 1 == b[0] for a, b in pairwise(field.unclipped_rows.tolist()))
