"""Consistency and stability: by hand on birds in CUB's layout, and against plain restatements."""

from __future__ import annotations

import tarfile

import metrics_oracles as oracle
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from pixpnet.data import DATASETS, merge_sides, read_cub
from pixpnet.errors import DataError
from pixpnet.metrics import (
    PartCounts,
    consistency,
    count_parts,
    count_stable,
    merge_parts,
    part_presence,
    parts_in_boxes,
    square_regions,
    stability,
)

CUB_PARTS = (
    *("back", "beak", "belly", "breast", "crown", "forehead", "left eye", "left leg", "left wing", "nape"),
    *("right eye", "right leg", "right wing", "tail", "throat"),
)
GROUPS = merge_sides(CUB_PARTS).members
EYE, LEG, WING = (merge_sides(CUB_PARTS).names.index(name) for name in ("eye", "leg", "wing"))
SIZE = (512, 512)  # points of the files, as if no image were larger


@pytest.fixture
def read(golden, tmp_path):
    """Points, visibility and labels of the tiny set, from one of its two tables of parts."""
    with tarfile.open(golden / "metrics" / "cub_tiny.tar.gz") as archive:
        archive.extractall(tmp_path, filter="data")

    def read_table(part_locations="parts/part_locs.txt"):
        spec = DATASETS["CUB200"]
        records = read_cub(tmp_path / "CUB_200_2011", spec=spec, part_locations=part_locations).test
        points = torch.stack([torch.from_numpy(record.part_points) for record in records])
        visible = torch.stack([torch.from_numpy(record.part_visible) for record in records])
        return points, visible, torch.tensor([record.label for record in records])

    return read_table


def met_at(centers, points, visible):
    """Parts met by prototypes whose centres are [p 2] (the same in every image) or [b p 2]."""
    centers = torch.tensor(centers, dtype=torch.float64)
    centers = centers.expand(len(points), -1, 2) if centers.dim() == 2 else centers
    boxes = square_regions(centers, half_size=36, image_size=SIZE)
    return parts_in_boxes(boxes, points, visible)


def test_presence_by_hand(read):
    points, visible, labels = read()
    # Prototype 0, of class 0 (images 1, 5, 9): the region is [34, 106) × [84, 156). In image 1 it holds belly
    # (93.5, 132.5), crown, forehead, left eye, left wing, right eye and tail; in image 5 back, belly (35.5,
    # 155.5), breast, forehead and left eye. Image 9 shows no part.
    # Prototype 1, of class 1 (images 2, 6, 10): [64, 136) × [64, 136). Image 2: back, beak, left leg,
    # right eye, right wing, tail; image 6: right wing; image 10: right leg (128.5, 84.5).
    met = met_at([[70, 120], [100, 100]], points, visible)
    own = labels[:, None] == torch.tensor([0, 1])
    presence, defined = part_presence(count_parts(met, visible, own))
    half = 1 / 2
    assert presence[0].tolist() == [half, 0, 1, half, half, 1, 1, 0, 1, 0, half, 0, 0, 1, 0]
    third = pytest.approx(1 / 3)
    two_thirds = pytest.approx(2 / 3)
    assert presence[1].tolist() == [half, third, 0, 0, 0, 0, 0, half, 0, 0, third, half, two_thirds, half, 0]
    assert defined.all()
    got = consistency(count_parts(met, visible, own), resamples=50)
    assert (got.hard.value, got.soft.value) == (50, pytest.approx(250 / 3))
    assert (got.soft.count, got.soft.left_out) == (2, 0)


def test_merged_presence_by_hand(read):
    points, visible, labels = read()
    met = merge_parts(met_at([[70, 120], [100, 100]], points, visible), GROUPS)
    shown = merge_parts(visible, GROUPS)
    own = labels[:, None] == torch.tensor([0, 1])
    presence, _ = part_presence(count_parts(met, shown, own))
    # Image 5 shows no left wing, and the right one lies outside; both images show an eye inside.
    assert presence[0, [EYE, LEG, WING]].tolist() == [1, 0, 1 / 2]
    # Left leg in image 2, right leg in image 10; image 6 has the left leg elsewhere.
    assert presence[1, [EYE, LEG, WING]].tolist() == pytest.approx([1 / 3, 2 / 3, 2 / 3])


def test_missing_parts_are_left_out(read):
    points, visible, labels = read("parts/part_locs_sparse.txt")
    # Class 3 (images 4, 8, 12), region [104, 176) × [74, 146). Image 4: forehead, left eye, throat; image 8:
    # right leg; image 12: none. Nobody sees its nape; the throat is seen once, and met.
    met = met_at([[140, 110]], points, visible)
    counts = count_parts(met, visible, (labels == 3)[:, None])
    presence, defined = part_presence(counts)
    assert presence[0].nonzero()[0].tolist() == [5, 6, 11, 14]
    assert presence[0, [5, 6, 11, 14]].tolist() == pytest.approx([1 / 2, 1 / 3, 1 / 2, 1])
    assert (~defined[0]).nonzero()[0].tolist() == [9]
    assert consistency(counts, resamples=50).hard.value == 100


def test_a_prototype_that_meets_no_visible_part_is_counted(read):
    points, visible, labels = read()
    met = met_at([[70, 120], [70, 120], [500, 500]], points, visible)
    own = (labels == 0)[:, None].repeat(1, 3)
    own[:, 1] = torch.arange(12) == 8  # only image 9, which shows nothing
    got = consistency(count_parts(met, visible, own), resamples=50)
    # The third lies beside all parts: measured, and found inconsistent.
    assert got.hard[0] == got.soft[0] == 50
    assert got.hard[3:] == got.soft[3:] == (2, 1)
    with pytest.raises(DataError, match="all 1 candidates"):
        consistency(count_parts(met[:, 1:2], visible, own[:, 1:2]))


def test_four_of_five_is_enough():
    counts = PartCounts(torch.tensor([[4], [7]]), torch.tensor([[5], [9]]))
    got = consistency(counts, resamples=50)
    assert (got.hard.value, got.soft.value) == (50, pytest.approx(100 * (4 / 5 + 7 / 9) / 2))


def test_stability_by_hand(read):
    points, visible, labels = read()
    own = labels[:, None] == torch.tensor([0, 1])
    before = torch.tensor([[70.0, 120.0], [100.0, 100.0]]).repeat(12, 1, 1)
    after = before.clone()
    after[0, 0] = torch.tensor([70.0, 140.0])  # image 1 loses the tail: 6 of 7 parts stay
    after[5, 1] = torch.tensor([0.0, 0.0])  # image 6 loses its only part
    met = [met_at(centers.tolist(), points, visible) for centers in (before, after)]
    got = stability(count_stable(*met, visible=visible, own_class=own, skip_hidden=False), resamples=50)
    assert got.hard.value == pytest.approx(100 * 2 / 3)
    assert got.soft.value == pytest.approx(100 * ((6 / 7 + 1 + 1) / 3 + 2 / 3) / 2)
    # Merged, the two eyes are one: 5 of 6 stay; image 9 without parts is skipped.
    merged = [merge_parts(some, GROUPS) for some in met]
    shown = merge_parts(visible, GROUPS)
    got = stability(count_stable(*merged, visible=shown, own_class=own, skip_hidden=True), resamples=50)
    assert got.hard.value == pytest.approx(100 * (1 / 2 + 2 / 3) / 2)
    assert got.soft.value == pytest.approx(100 * ((5 / 6 + 1) / 2 + 2 / 3) / 2)


@pytest.mark.parametrize("skip_hidden", [True, False])
def test_stability_without_any_visible_part(skip_hidden):
    nothing = torch.zeros(2, 3, 4, dtype=torch.bool)
    own = torch.ones(2, 3, dtype=torch.bool)
    counts = count_stable(
        nothing, nothing, visible=torch.zeros(2, 4, dtype=torch.bool), own_class=own, skip_hidden=skip_hidden
    )
    with pytest.raises(DataError, match="all 3 candidates"):
        stability(counts)


def as_sets(parts):
    return [[set(row.nonzero()[:, 0].tolist()) for row in image] for image in parts]


@st.composite
def observations(draw):
    """before, after [b p q], visible [b q], own [b p]; the first image is everyone's and shows a part."""
    generator = torch.Generator().manual_seed(draw(st.integers(0, 1 << 30)))
    b, p, q = draw(st.integers(2, 7)), draw(st.integers(1, 4)), draw(st.integers(1, 5))
    visible = torch.rand(b, q, generator=generator) < draw(st.sampled_from([0.2, 0.8]))
    own = torch.rand(b, p, generator=generator) < 0.5
    visible[0, 0] = own[0, 0] = True
    before = (torch.rand(b, p, q, generator=generator) < 0.7) & visible[:, None]
    after = (before ^ (torch.rand(b, p, q, generator=generator) < 0.2)) & visible[:, None]
    return before, after, visible, own


@settings(max_examples=40, deadline=None)
@given(seen=observations(), skip_hidden=st.booleans(), data=st.data())
def test_against_the_oracles_in_any_order(seen, skip_hidden, data):
    before, after, visible, own = seen
    order = data.draw(st.permutations(range(len(visible))))
    shown = [set(row.nonzero()[:, 0].tolist()) for row in visible]
    want = [
        oracle.consistency(as_sets(before), shown, own.tolist()),
        oracle.stability(as_sets(before), as_sets(after), shown, own.tolist(), skip_hidden),
    ]
    before, after, visible, own = (tensor[order] for tensor in seen)
    counts = count_stable(before, after, visible=visible, own_class=own, skip_hidden=skip_hidden)
    got = [
        consistency(count_parts(before, visible, own), resamples=20),
        stability(counts, resamples=20),
    ]
    for (hard, soft), (want_hard, want_soft, left_out) in zip(got, want, strict=True):
        assert (hard.value, soft.value) == (pytest.approx(want_hard), pytest.approx(want_soft))
        assert hard.left_out == soft.left_out == left_out
