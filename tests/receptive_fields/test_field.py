"""The data class."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from torch import nn

from pixpnet.errors import ConfigError
from pixpnet.receptive_fields import ReceptiveField, probe_receptive_field, receptive_field
from pixpnet.types import Box


def field_of(*layers: nn.Module, size: tuple[int, int] = (8, 10)) -> ReceptiveField:
    return receptive_field(nn.Sequential(*layers), size)


SPARSE = (nn.ConvTranspose2d(3, 3, 1, stride=(3, 2)), nn.Conv2d(3, 3, 2, padding=1))
"""Cells between the pixels see nothing."""


def union_field() -> ReceptiveField:
    """Boxes that rows × columns cannot say: a sparse map joined with another."""

    class Joined(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a, self.b = (
                nn.ConvTranspose2d(3, 3, 1, stride=2),
                nn.ConvTranspose2d(3, 3, 3, stride=2, padding=1),
            )

        def forward(self, x):
            y = self.a(x)
            return y + y.flip(3) + self.b(x)[:, :, ::1] * 0 + nn.functional.pad(y, (1, -1, 0, 0))

    return receptive_field(Joined(), (4, 5))


def test_boxes_are_left_top_right_bottom():
    field = field_of(nn.Conv2d(3, 1, (3, 1), padding=(1, 0)))
    assert field.grid_size == (8, 10)
    assert field.boxes[0, 9].tolist() == [9, 0, 10, 2]
    assert field.box(0, 9) == Box(9, 0, 10, 2)
    assert field.rows[0].tolist() == [0, 2]
    assert field.columns[9].tolist() == [9, 10]
    assert field.image_size == (8, 10)


def test_percentages_and_cells_that_see_nothing():
    field = field_of(nn.Conv2d(3, 1, 2, stride=2))
    assert field.mean_percent == pytest.approx(5.0)
    assert field.max_percent == pytest.approx(5.0)
    sparse = field_of(nn.ConvTranspose2d(3, 1, 1, stride=2))
    assert sparse.mean_percent == pytest.approx(100 / 80)
    assert sparse.box(1, 0) == sparse.box(0, 1) == Box(0, 0, 0, 0)
    blind = field_of(nn.ZeroPad2d((0, 0, 9, -8)))
    assert blind.rows.tolist()[:2] == [[0, 0], [0, 0]]
    nothing = receptive_field(nn.ZeroPad2d((3, -12, 0, 0)), (8, 10))
    assert nothing.mean_percent == nothing.max_percent == 0.0
    assert not nothing.is_global


def test_is_global():
    assert field_of(nn.AdaptiveAvgPool2d(1)).is_global
    assert field_of(nn.AdaptiveAvgPool2d(1), nn.Upsample(scale_factor=3)).is_global
    assert not field_of(nn.AdaptiveAvgPool2d((1, None))).is_global


def test_strides():
    assert field_of(nn.Conv2d(3, 1, 1, stride=(2, 3))).strides == (2.0, 3.0)
    assert field_of(nn.AdaptiveAvgPool2d(1)).strides == (8.0, 10.0)


@pytest.mark.parametrize("kernel_size", [1, 2, 3])
@pytest.mark.parametrize(
    "field",
    [
        field_of(nn.Conv2d(3, 1, 3, stride=2, padding=1)),
        field_of(*SPARSE),
        field_of(nn.ConvTranspose2d(3, 3, 1, stride=(2, 3))),
        union_field(),
        probe_receptive_field(nn.ConvTranspose2d(3, 3, 1, stride=2), (4, 5)),
    ],
)
def test_patches_see_what_their_cells_see(field: ReceptiveField, kernel_size: int):
    patches = field.for_kernel(kernel_size)
    height, width = field.grid_size
    assert patches.grid_size == (height - kernel_size + 1, width - kernel_size + 1)
    for row, column in np.ndindex(*patches.grid_size):
        boxes = field.boxes[row : row + kernel_size, column : column + kernel_size].reshape(-1, 4)
        seeing = boxes[boxes[:, 2] > boxes[:, 0]]
        expected = [0, 0, 0, 0]
        if len(seeing):
            expected = [*seeing[:, :2].min(axis=0).tolist(), *seeing[:, 2:].max(axis=0).tolist()]
        assert patches.boxes[row, column].tolist() == expected
    assert patches.mean_percent == pytest.approx(
        np.mean([area for area in areas(patches.boxes) if area]) * 100 / np.prod(field.image_size)
    )


def areas(boxes: np.ndarray) -> list[int]:
    return [(right - left) * (bottom - top) for left, top, right, bottom in boxes.reshape(-1, 4).tolist()]


def test_unclipped_of_patches():
    patches = field_of(nn.Conv2d(3, 1, 3, padding=1)).for_kernel(2)
    assert patches.unclipped_rows[0].tolist() == [-1, 3]
    assert patches.centers[0, 0].tolist() == [1.0, 1.0]


@pytest.mark.parametrize("kernel_size", [0, 9])
def test_patches_that_do_not_fit(kernel_size: int):
    with pytest.raises(ConfigError, match="take 1 to 8"):
        field_of(nn.Identity()).for_kernel(kernel_size)


def test_json_round_trip():
    field = field_of(nn.MaxPool2d(4))
    assert json.loads(json.dumps(field.to_dict())) == {
        "rows": [[0, 4], [4, 8]],
        "columns": [[0, 4], [4, 8]],
    }


def test_inference_mode_changes_nothing():
    network = nn.Sequential(nn.Conv2d(3, 4, 3, padding=1), nn.BatchNorm2d(4), nn.ReLU(), nn.MaxPool2d(2))
    expected = receptive_field(network, (8, 8))
    with torch.inference_mode():
        assert (receptive_field(network, (8, 8)).boxes == expected.boxes).all()
