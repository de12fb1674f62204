"""The relevance ordering test, deletion and insertion."""

from __future__ import annotations

import metrics_oracles as oracle
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from pixpnet.errors import ConfigError, DataError
from pixpnet.metrics import (
    CurveSums,
    deletion_curve,
    insertion_curve,
    normalised_curves,
    perturbed_images,
    pixel_counts,
    relevance_curve,
    relevance_ranks,
    summarise_curves,
    summarise_deletion,
    trapezoid,
)

WEIGHTS = torch.randn(3, 6, 5, generator=torch.Generator().manual_seed(3))


def similarity_of(images):
    """Some similarity that depends on all pixels, and not linearly."""
    return (images * WEIGHTS).sum(dim=(1, 2, 3)).sigmoid() + images.amax(dim=(1, 2, 3))


def example(seed):
    """An image, a map with many ties, and a start of noise."""
    generator = torch.Generator().manual_seed(seed)
    image, start = torch.randn(2, 3, 6, 5, generator=generator)
    return image, torch.randint(-2, 3, (6, 5), generator=generator).float(), start


def test_order_by_hand():
    ranks = relevance_ranks(torch.tensor([[0.5, 2.0, -0.0], [0.0, 2.0, -1.0]]))
    assert ranks.tolist() == [[2, 0, 3], [4, 1, 5]]
    with pytest.raises(DataError, match="NaN"):
        relevance_ranks(torch.tensor([[torch.nan]]))


def test_ties_of_large_maps_keep_the_flat_order():
    assert relevance_ranks(torch.zeros(90, 70)).flatten().equal(torch.arange(6300))


@settings(max_examples=50, deadline=None)
@given(pixels=st.integers(1, 5000), steps=st.integers(1, 300), share=st.floats(0.01, 1))
def test_counts_are_evenly_spaced(pixels, steps, share):
    last = round(share * pixels)
    if last < 1:
        with pytest.raises(ConfigError, match="share"):
            pixel_counts(pixels, steps=steps, share=share)
        return
    counts = pixel_counts(pixels, steps=steps, share=share)
    assert (counts[0], counts[-1], len(counts)) == (0, last, min(steps, last) + 1)
    assert counts.diff().min() >= 1
    assert counts.diff().max() - counts.diff().min() <= 1
    assert pixel_counts(pixels, steps=None, share=share).equal(torch.arange(last + 1))


@pytest.mark.parametrize(("steps", "share"), [(0, 1.0), (-1, 1.0), (4, 0.0), (4, 1.5)])
def test_wrong_settings(steps, share):
    with pytest.raises(ConfigError, match=r"steps|share"):
        pixel_counts(100, steps=steps, share=share)


def test_images_by_hand():
    image, start = torch.ones(3, 1, 3), torch.zeros(3, 1, 3)
    images = perturbed_images(
        image, start, ranks=torch.tensor([[2, 0, 1]]), counts=torch.tensor([0, 1, 2, 3])
    )
    assert images[:, 1, 0].tolist() == [[0, 0, 0], [0, 1, 0], [0, 1, 1], [1, 1, 1]]
    assert images.sum(dim=1).eq(3 * images[:, 0]).all()


@settings(max_examples=15, deadline=None)
@given(
    seed=st.integers(0, 1 << 30), batch_size=st.integers(1, 40), steps=st.sampled_from([None, 1, 4, 7, 30])
)
def test_against_pixel_by_pixel(seed, batch_size, steps):
    image, relevance, start = example(seed)
    counts = pixel_counts(30, steps=steps)

    def one(array):
        return float(similarity_of(torch.from_numpy(array)[None])[0])

    for begin in (None, start):
        got = relevance_curve(
            similarity_of,
            image,
            ranks=relevance_ranks(relevance),
            counts=counts,
            start=begin,
            batch_size=batch_size,
        )
        first = np.zeros((3, 6, 5), dtype=np.float32) if begin is None else begin.numpy()
        want = oracle.relevance_curve(one, image.numpy(), relevance.numpy(), first)
        assert got.tolist() == pytest.approx([want[count] for count in counts], abs=1e-5)


def test_all_batches_are_equally_large():
    sizes = []

    def counting(images):
        sizes.append(len(images))
        return similarity_of(images)

    image, relevance, _ = example(0)
    curve = relevance_curve(
        counting, image, ranks=relevance_ranks(relevance), counts=pixel_counts(30, steps=20), batch_size=10
    )
    assert sizes == [7, 7, 7]
    assert len(curve) == 21


def test_summary_by_hand():
    shares = np.array([0.0, 0.25, 0.5, 1.0])
    # Two images of prototype 0: together (2, 6, 10, 10), so it reaches its end at a half; prototype 1 falls,
    # prototype 2 has no image, prototype 3 overshoots at once.
    sums = CurveSums(
        np.array([[2.0, 6, 10, 10], [3, 2, 1, 0], [0, 0, 0, 0], [0, 4, 2, 2]]), np.array([2, 1, 0, 1])
    )
    got = summarise_curves(sums, shares, resamples=50)
    first = 0.25 * (0 + 0.5) / 2 + 0.25 * (0.5 + 1) / 2 + 0.5
    second = 0.25 * (0 + 2) / 2 + 0.25 * (2 + 1) / 2 + 0.5
    assert got.area.value == pytest.approx((first + second) / 2)
    assert got.share.value == pytest.approx((0.5 + 0.25) / 2)
    assert (got.area.count, got.area.left_out) == (got.share.count, got.share.left_out) == (2, 2)
    assert got.curve.tolist() == [0.5, 3.5, 3.5, 3.5]
    assert got.normalised.tolist() == pytest.approx([0, 1.25, 1, 1])
    assert trapezoid(got.normalised[None], shares)[0] == pytest.approx(got.area.value)


def test_summary_that_cannot_be():
    shares = np.array([0.0, 1.0])
    with pytest.raises(DataError, match="of 2 prototypes 1 have no image"):
        summarise_curves(CurveSums(np.array([[1.0, 1.0], [0, 0]]), np.array([1, 0])), shares)
    with pytest.raises(DataError, match="NaN"):
        summarise_curves(CurveSums(np.array([[1.0, np.nan]]), np.array([1])), shares)
    with pytest.raises(DataError, match="NaN"):
        summarise_deletion(CurveSums(np.array([[2.0, 1.0], [1.0, np.nan]]), np.array([1, 1])), shares)
    curves, valid = normalised_curves(np.array([[1.0, 5.0, 1.0]]))
    assert (curves.tolist(), valid.tolist()) == ([[0, 0, 0]], [False])


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 1 << 30), points=st.integers(2, 8))
def test_summary_against_the_oracle_in_any_order(seed, points):
    generator = np.random.default_rng(seed)
    shares = np.linspace(0, 1, points)
    curves = generator.integers(0, 6, size=(5, points)).astype(float)
    curves[0, -1] = curves[0, 0] + 1
    want = [found for curve in curves if (found := oracle.area_and_share(curve.tolist(), shares))]
    images = generator.integers(1, 4, size=5)
    order = generator.permutation(5)
    got = summarise_curves(CurveSums((curves * images[:, None])[order], images[order]), shares, resamples=20)
    areas, reached = zip(*want, strict=True)
    assert got.area.value == pytest.approx(np.mean(areas))
    assert got.share.value == pytest.approx(np.mean(reached))
    assert got.area.left_out == 5 - len(want)


def test_a_map_that_knows_is_sooner_than_one_that_does_not():
    seen = torch.zeros(6, 5)
    seen[2:4, 1:3] = 1
    image, _, _ = example(1)

    def looks_there(images):
        return -((images - image) * seen).square().sum(dim=(1, 2, 3))

    counts = pixel_counts(30, steps=None)
    shares = counts.numpy() / 30
    summaries = [
        summarise_curves(
            CurveSums(
                relevance_curve(looks_there, image, ranks=relevance_ranks(relevance), counts=counts)[
                    None
                ].numpy(),
                np.array([1]),
            ),
            shares,
            resamples=20,
        )
        for relevance in (seen, 1 - seen)
    ]
    assert [summary.share.value for summary in summaries] == pytest.approx([4 / 30, 1])
    assert summaries[0].area.value > 0.9
    assert summaries[1].area.value < 0.2


def test_insertion_and_deletion():
    image, relevance, start = example(2)
    counts = pixel_counts(30, steps=None)
    shares = counts.numpy() / 30
    ranks = relevance_ranks(relevance)
    inserted = insertion_curve(similarity_of, image, ranks=ranks, counts=counts, start=start)
    deleted = deletion_curve(similarity_of, image, ranks=ranks, counts=counts, start=start)
    # Deleted in this order is inserted in the opposite one, seen backwards.
    opposite = relevance_curve(similarity_of, image, ranks=29 - ranks, counts=counts, start=start)
    assert deleted.flip(0).tolist() == pytest.approx(opposite.tolist(), abs=1e-5)
    assert deleted[[0, -1]].tolist() == pytest.approx(inserted[[-1, 0]].tolist(), abs=1e-5)
    blank = deletion_curve(similarity_of, image, ranks=ranks, counts=counts)
    assert float(blank[-1]) == pytest.approx(float(similarity_of(torch.zeros(1, 3, 6, 5))[0]), abs=1e-5)
    one = np.array([1])
    higher, lower = sorted((inserted, inserted.flip(0)), key=lambda curve: float(curve[-1] - curve[0]))[::-1]
    area = summarise_curves(CurveSums(higher[None].numpy(), one), shares, resamples=20).area
    assert area.value == pytest.approx(oracle.area_and_share(higher.tolist(), shares.tolist())[0])
    with pytest.raises(DataError, match="of 1 prototypes 0 have no image"):
        summarise_curves(CurveSums(lower[None].numpy(), one), shares)


def test_deletion_by_hand():
    shares = np.array([0.0, 0.25, 1.0])
    sums = CurveSums(np.array([[8.0, 4, 0], [1, 1, 2], [0, 0, 0]]), np.array([2, 1, 0]))
    summary = summarise_deletion(sums, shares, resamples=20)
    got = summary.area
    # From 1 over ½ (after a quarter) to 0.
    assert got.value == pytest.approx(0.25 * 0.75 + 0.75 * 0.25)
    assert (got.count, got.left_out) == (1, 2)
    assert summary.share.value == 1, "nothing can be spared"
    assert [part.tolist() for part in summary[2:]] == [[0, 0.25, 1], [4, 2, 0], [1, 0.5, 0]]
