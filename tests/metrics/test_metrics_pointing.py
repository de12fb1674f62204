"""The pointing game."""

from __future__ import annotations

import pytest
import torch

from pixpnet.metrics import box_mask, energy_share, top_pixels, top_share
from pixpnet.types import Box


def test_a_box_holds_the_pixels_whose_centres_it_holds():
    mask = box_mask(Box(0.5, 1, 2.5, 2.4), image_size=(3, 4))
    assert mask.int().tolist() == [[0, 0, 0, 0], [1, 1, 0, 0], [0, 0, 0, 0]]


def test_energy_by_hand():
    maps = torch.tensor([[[3.0, 1.0], [-5.0, 4.0]], [[-1.0, 0.0], [0.0, -2.0]]])
    inside = torch.tensor([[True, False], [True, True]]).expand(2, 2, 2)
    shares, defined = energy_share(maps, inside)
    assert shares.tolist() == [7 / 8, 0]
    assert defined.tolist() == [True, False]


def test_top_pixels_by_hand():
    maps = torch.zeros(2, 4, 5)
    maps[0, 3, 4] = 1
    maps[1] = torch.arange(20.0).reshape(4, 5)
    top = top_pixels(maps)
    assert top.flatten(1).nonzero().tolist() == [[0, 0], [0, 19], [1, 18], [1, 19]]
    inside = torch.zeros(4, 5, dtype=torch.bool)
    inside[3] = True
    assert top_share(maps, inside.expand(2, 4, 5)).tolist() == [0.5, 1]
    assert top_pixels(maps[:1], share=0.001).sum() == 1


def test_other_images_change_nothing():
    generator = torch.Generator().manual_seed(0)
    maps = torch.randn(5, 7, 8, generator=generator)
    inside = torch.rand(5, 7, 8, generator=generator) < 0.5
    for measure in (lambda *pair: energy_share(*pair)[0], top_share):
        whole = measure(maps, inside)
        alone = torch.cat([measure(maps[i : i + 1], inside[i : i + 1]) for i in range(5)])
        assert whole.tolist() == pytest.approx(alone.tolist())
        assert ((whole >= 0) & (whole <= 1)).all()
