"""Spatial misalignment: attacks from outside of what is shown."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from pixpnet.errors import ConfigError, DataError
from pixpnet.metrics import (
    Observation,
    attack_outside,
    box_mask,
    require_positive_similarity,
    spatial_misalignment,
    top_region,
)
from pixpnet.receptive_fields import receptive_field

SHOWN = torch.zeros(2, 5, 5, dtype=torch.bool)
SHOWN[:, 1:3, 1:4] = True


def images():
    return torch.rand(2, 3, 5, 5, generator=torch.Generator().manual_seed(1))


def test_the_attack_stays_within_its_limits():
    attacked = attack_outside(lambda x: x.sum(dim=(1, 2, 3)), images(), displayed=SHOWN)
    inside = SHOWN[:, None].expand(2, 3, 5, 5)
    assert attacked[inside].equal(images()[inside])
    # A linear similarity falls as far as ε and [0, 1] allow, in ten of the twenty steps.
    want = (images() - 0.1).clamp(min=0)
    assert torch.allclose(attacked[~inside], want[~inside], atol=1e-6)
    risen = attack_outside(lambda x: -x.sum(dim=(1, 2, 3)), images(), displayed=SHOWN, iterations=3)
    assert torch.allclose(risen[~inside], (images() + 0.03).clamp(max=1)[~inside], atol=1e-6)


def test_nothing_happens_where_nothing_else_counts():
    def looks_inside(x):
        return (x * SHOWN[:, None]).square().sum(dim=(1, 2, 3))

    attacked = attack_outside(looks_inside, images(), displayed=SHOWN)
    assert attacked.equal(images())
    assert not attacked.requires_grad


def test_what_the_receptive_field_shows_cannot_change():
    torch.manual_seed(0)
    network = nn.Sequential(nn.Conv2d(3, 4, 3, padding=1), nn.ReLU(), nn.Conv2d(4, 1, 3, stride=2))
    field = receptive_field(network, (13, 13))
    image = torch.rand(1, 3, 13, 13)

    def at_cell(x):
        return network(x)[:, 0, 2, 3].exp()

    exact = field.box(2, 3)
    shown = box_mask(exact, image_size=(13, 13))[None]
    attacked = attack_outside(at_cell, image, displayed=shown)
    assert attacked.equal(image)
    less = box_mask(exact._replace(left=exact.left + 1), image_size=(13, 13))[None]
    assert at_cell(attack_outside(at_cell, image, displayed=less)) < at_cell(image)


def test_each_image_is_attacked_alone():
    def squared(x):
        return (x - 0.5).square().sum(dim=(1, 2, 3))

    together = attack_outside(squared, images(), displayed=SHOWN)
    alone = [attack_outside(squared, images()[i : i + 1], displayed=SHOWN[i : i + 1]) for i in range(2)]
    assert together.equal(torch.cat(alone))


def test_what_upsampling_shows():
    maps = torch.zeros(2, 30, 40)
    maps[0, 15, 18:22] = 1
    maps[0, 16, 20] = 2
    maps[1, 0, :8] = 1
    top = top_region(maps, share=5 / 1200)
    want = torch.zeros_like(top)
    want[0, 5:27, 8:32] = True
    want[1, :11, :15] = True
    assert top.equal(want)


def observation(similarity, similarities, right, predicted):
    displayed = torch.zeros(len(similarity), 4, 4, dtype=torch.bool)
    displayed[:, :2, :right] = True
    return Observation(
        torch.tensor(similarity), torch.tensor(similarities), displayed, torch.tensor(predicted)
    )


CLASSES = torch.tensor([0, 0, 1, 1])
BEFORE = observation([4.0, 2.0, 5.0], [[4.0, 9, 5, 1], [4, 2, 1, 1], [1, 1, 5, 0]], 2, [0, 0, 1])
AFTER = observation([1.0, 2.0, 4.0], [[1.0, 9, 5, 2], [4, 2, 1, 1], [5, 1, 4, 9]], 4, [1, 0, 1])
PAIRS = {
    "prototypes": torch.tensor([0, 0, 2]),
    "labels": torch.tensor([0, 0, 0]),
}


def test_by_hand():
    got = spatial_misalignment(BEFORE, AFTER, prototype_classes=CLASSES, resamples=50, **PAIRS)
    # Prototype 0 loses 75 % and 0 %; prototype 2 loses 20 %; 1 and 3 have no pair.
    assert got.pac.value == pytest.approx((37.5 + 20) / 2)
    assert got.plc.value == pytest.approx(50)
    # In the first pair one of two prototypes of the other class was above it, then both; in the third none,
    # then prototype 0.
    assert got.prc.value == pytest.approx((0.5 + 1) / 2)
    assert got.pac[3:] == got.plc[3:] == got.prc[3:] == (2, 2)
    assert got.accuracy_before.value == pytest.approx(200 / 3)
    assert got.accuracy_after.value == pytest.approx(100 / 3)
    assert got.accuracy_after.count == 3


def test_a_prototype_without_a_class_is_above_nothing():
    classes = torch.tensor([0, 0, 1, -1])
    got = spatial_misalignment(BEFORE, AFTER, prototype_classes=classes, resamples=50, **PAIRS)
    assert got.prc.value == pytest.approx((0 + 1) / 2)


def test_the_order_of_pairs_changes_nothing():
    order = [2, 0, 1]
    got = [
        spatial_misalignment(
            Observation(*(part[order] for part in BEFORE)),
            Observation(*(part[order] for part in AFTER)),
            prototype_classes=CLASSES,
            resamples=50,
            prototypes=PAIRS["prototypes"][order],
            labels=PAIRS["labels"][order],
        ),
        spatial_misalignment(BEFORE, AFTER, prototype_classes=CLASSES, resamples=50, **PAIRS),
    ]
    assert got[0] == got[1]


def test_regions_that_are_empty_are_the_same():
    empty = torch.zeros(3, 4, 4, dtype=torch.bool)
    pair = BEFORE._replace(displayed=empty), AFTER._replace(displayed=empty)
    got = spatial_misalignment(*pair, prototype_classes=CLASSES, resamples=50, **PAIRS)
    assert got.plc.value == 0


def test_refused_where_percentages_mean_nothing():
    with pytest.raises(ConfigError, match="linear L2"):
        require_positive_similarity(0.0)
    require_positive_similarity(1.0)
    below = BEFORE._replace(similarity=torch.tensor([1.0, 0.0, torch.nan]))
    with pytest.raises(DataError, match="2 of 3"):
        spatial_misalignment(below, AFTER, prototype_classes=CLASSES, **PAIRS)
