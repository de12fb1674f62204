"""Left and right: merging, and the mirror."""

import numpy as np
import pytest

from pixpnet.data import merge_sides, met, mirror_order

CUB = (
    *("back", "beak", "belly", "breast", "crown", "forehead", "left eye", "left leg", "left wing"),
    *("nape", "right eye", "right leg", "right wing", "tail", "throat"),
)
FUNNYBIRDS = ("beak", "eye01", "eye02", "foot01", "foot02", "wing01", "wing02", "tail", "body")


def test_cubs_fifteen_parts_become_twelve():
    groups = merge_sides(CUB)
    assert groups.names == (
        *("back", "beak", "belly", "breast", "crown", "forehead", "eye", "leg", "wing"),
        *("nape", "tail", "throat"),
    )
    assert groups.members[6:9] == ((6, 10), (7, 11), (8, 12))
    assert sorted(part for members in groups.members for part in members) == list(range(15))


@pytest.mark.parametrize(
    ("names", "wanted"),
    [
        (FUNNYBIRDS, ("beak", "eye", "foot", "wing", "tail", "body")),
        (("wing_left", "Tail", "wing_right"), ("wing", "Tail")),
        (("Left Front Leg", "Right Front Leg"), ("Front Leg",)),
        (("left eye", "tail"), ("left eye", "tail")),
        (("part 1", "part 2", "part 01", "part 02"), ("part 1", "part 2", "part 01", "part 02")),
        (("cleft", "bright", "left", "right"), ("cleft", "bright", "left", "right")),
        ((), ()),
    ],
)
def test_sides_are_read_off_the_names(names, wanted):
    assert merge_sides(names).names == wanted


def test_a_merged_part_is_met_if_either_is():
    parts = np.eye(15, dtype=bool)
    merged = met(parts, merge_sides(CUB))
    assert merged.shape == (15, 12)
    np.testing.assert_array_equal(merged.sum(axis=1), np.ones(15))
    assert merged[6].argmax() == merged[10].argmax() == 6
    assert not met(np.zeros((2, 15), dtype=bool), merge_sides(CUB)).any()
    np.testing.assert_array_equal(met(np.ones(15, dtype=bool), merge_sides(CUB)), np.ones(12, dtype=bool))


@pytest.mark.parametrize("names", [CUB, FUNNYBIRDS])
def test_a_mirror_swaps_the_sides(names):
    order = mirror_order(names)
    np.testing.assert_array_equal(order[order], np.arange(len(names)))
    swap = {"left": "right", "right": "left", "01": "02", "02": "01"}
    for name, other in zip(names, order, strict=True):
        wanted = name
        for side, opposite in swap.items():
            if side in name:
                wanted = name.replace(side, opposite)
        assert names[other] == wanted


def test_merged_parts_do_not_see_the_mirror():
    seen = np.random.default_rng(0).random((20, 15)) < 0.5
    groups = merge_sides(CUB)
    np.testing.assert_array_equal(met(seen[:, mirror_order(CUB)], groups), met(seen, groups))
