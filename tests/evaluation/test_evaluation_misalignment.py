"""Attacks from outside of what is displayed, on networks."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from rigged import with_network
from torch import nn

from pixpnet.errors import DataError
from pixpnet.evaluation import METRICS, Settings, Subject
from pixpnet.metrics import attack_outside, spatial_misalignment, top_region
from pixpnet.prototypes import DISTANCES, SIMILARITIES
from pixpnet.receptive_fields import ReceptiveField
from pixpnet.runs import load

MISALIGNMENT = METRICS["misalignment"]
SETTINGS = Settings(samples=2, seed=0)
CPU = torch.device("cpu")


@pytest.fixture
def subject(tiny_run):
    return Subject(load(tiny_run), device=CPU, batch_size=3)


def values(subject, method, settings=SETTINGS):
    return MISALIGNMENT.measure(subject, method, settings).values


def test_what_the_receptive_field_shows_does_not_change(subject):
    got = values(subject, "receptive_field")
    assert list(got) == list(MISALIGNMENT.quantities)
    for name in ("pac", "plc", "prc"):
        assert got[name][:3] == (0, 0, 0)
    assert got["accuracy_before"] == got["accuracy_after"]
    assert 0 < got["displayed"].value < 80
    assert got["pairs"].value == sum(
        len(subject.prototypes_of(subject.labels[index])) for index in subject.sample(2, seed=0)
    )


def test_a_receptive_field_that_is_too_small_is_found_out(subject):
    right = subject.receptive_field
    rows, columns = (np.sort(side + np.array([8, -8]), axis=1) for side in (right.rows, right.columns))
    unclipped = right.unclipped_rows, right.unclipped_columns
    subject.receptive_field = ReceptiveField(right.image_size, rows, columns, *unclipped)
    assert values(subject, "receptive_field")["pac"].value > 0.1


@pytest.fixture
def deep(tiny_run):
    """A network whose cells see most of the image, and whose maps point at a quarter of it."""
    torch.manual_seed(1)
    layers = [nn.Conv2d(3 if i == 0 else 6, 6, 5, stride=2, padding=2) for i in range(4)]
    backbone = nn.Sequential(*(module for layer in layers for module in (layer, nn.ReLU())))
    with torch.no_grad():
        for layer in layers:
            layer.weight *= 2
    run = load(tiny_run)
    features = backbone(Subject(run, device=CPU).load([0, 4, 8])).detach()
    prototypes = features[:, :, 2:3, 2:3]
    return with_network(run, backbone, prototypes, torch.eye(3).bool(), batch_size=2)


def test_of_a_deep_network(deep):
    shown = values(deep, "upsampling")
    assert shown["pac"].value > 5
    assert shown["plc"].value > 0
    assert shown["displayed"].value < 95
    field = values(deep, "receptive_field")
    assert field["displayed"].value > 70
    assert field["pac"].value == pytest.approx(0, abs=1e-4)


def test_noise_shows_the_whole_image(deep):
    got = values(deep, "random")
    assert (got["displayed"].value, got["pac"].value, got["plc"].value) == (100, 0, 0)


def plain_attack(subject, index, prototype):
    """Similarity, region and whether the class is right, before and after; of one pair, step by step."""
    mean, std = (torch.tensor(values)[:, None, None] for values in (subject.run.mean, subject.run.std))

    def seen(pixels):
        z = subject.network.features(((pixels - mean) / std)[None])
        maps = subject.network.similarity_maps(z)[:, [prototype]]
        shown = top_region(
            nn.functional.interpolate(maps, size=(64, 64), mode="bicubic", align_corners=False)[:, 0].detach()
        )
        output = subject.network.from_features(z)
        return maps.max(), shown[0], output.similarities[0].detach(), int(output.logits.argmax())

    original = (subject.load([index])[0] * std + mean).clamp(0, 1)
    before = seen(original)
    pixels = original.clone()
    for _ in range(20):
        pixels.requires_grad_()
        (gradient,) = torch.autograd.grad(seen(pixels)[0], pixels)
        step = pixels.detach() - 0.01 * gradient.sign()
        step = torch.max(torch.min(step, original + 0.1), original - 0.1).clamp(0, 1)
        pixels = torch.where(before[1], original, step)
    return before, seen(pixels)


def plainly(subject):
    """Means over prototypes of the changes, and over pairs of the accuracies, in percent."""
    own = subject.own_class.int().argmax(dim=1)
    rows = {}
    for index in subject.sample(2, seed=0):
        for prototype in subject.prototypes_of(subject.labels[index]):
            before, after = plain_attack(subject, index, prototype)
            above = [
                int((side[2] > side[2][prototype])[own != own[prototype]].sum()) for side in (before, after)
            ]
            overlap = (before[1] & after[1]).sum() / (before[1] | after[1]).sum()
            rows.setdefault(prototype, []).append(
                (
                    100 * (1 - after[0].item() / before[0].item()),
                    100 * (1 - overlap.item()),
                    above[1] - above[0],
                    100 * (before[3] == subject.labels[index]),
                    100 * (after[3] == subject.labels[index]),
                )
            )
    changes = np.mean([np.mean(row, axis=0) for row in rows.values()], axis=0)[:3]
    accuracies = np.mean([row for some in rows.values() for row in some], axis=0)[3:]
    names = ("pac", "plc", "prc", "accuracy_before", "accuracy_after")
    return dict(zip(names, (*changes, *accuracies), strict=True))


def test_against_one_pair_at_a_time(deep):
    got, want = values(deep, "upsampling"), plainly(deep)
    assert got["pac"].value == pytest.approx(want["pac"], rel=0.02)
    assert got["plc"].value == pytest.approx(want["plc"], rel=0.05, abs=0.5)
    for name in ("prc", "accuracy_before", "accuracy_after"):
        assert got[name].value == pytest.approx(want[name])


@pytest.mark.parametrize("pairs", [4, 6, 9])
def test_of_too_many_pairs_every_prototype_keeps_some(subject, pairs):
    """The mean changes are over prototypes, of which each keeps as many pairs as the others, or one less."""
    got = values(subject, "random", Settings(samples=12, pairs=pairs))
    assert got["pairs"].value == pairs
    assert got["pac"].count == min(pairs, subject.num_prototypes)


def test_the_seed_draws_the_pairs(subject):
    some = [
        values(subject, "receptive_field", Settings(samples=12, pairs=9, seed=seed)) for seed in (0, 0, 1)
    ]
    assert some[0] == some[1]
    assert some[0]["displayed"] != some[2]["displayed"]


@pytest.mark.parametrize(("distance", "fits"), [("l2", False), ("cosine", True)])
def test_refused_where_percentages_mean_nothing(tiny_run, distance, fits):
    run = load(tiny_run)
    run.network.distance = DISTANCES[distance]
    run.network.similarity = SIMILARITIES["linear"](DISTANCES[distance], 1e-6)
    (need,) = MISALIGNMENT.needs
    reason = need(Subject(run, device=CPU), SETTINGS)
    assert (reason is None) == fits
    assert fits or "linear L2 similarity is never positive" in str(reason)


def test_similarities_below_zero_are_left_out(tiny_run):
    subject = Subject(load(tiny_run), device=CPU)
    network, every = subject.network, Settings(samples=12)
    with torch.no_grad():
        found = network(subject.load(range(12))).similarities
    own = found[subject.own_class.T[subject.labels]]
    assert values(subject, "random", every)["pairs"][3:] == (24, 0)
    similarity, lowered_by = network.similarity, own.sort().values[10:12].mean().item()
    network.similarity = lambda distances: similarity(distances) - lowered_by
    subject = Subject(subject.run, device=CPU)
    got = values(subject, "random", every)["pairs"]
    assert (got.value, got.left_out) == (int((own > lowered_by).sum()), int((own <= lowered_by).sum()))
    lowered_by = 1e6
    with pytest.raises(DataError, match="no similarity is positive"):
        values(Subject(subject.run, device=CPU), "random", every)


def test_the_attack_ends_where_nothing_moves():
    calls = []

    def similarity(images):
        calls.append(1)
        return images[:, :, 0].sum(dim=(1, 2))

    shown = torch.zeros(1, 4, 4, dtype=torch.bool)
    images = torch.full((1, 3, 4, 4), 0.5)
    shown[:, 0] = True
    assert attack_outside(similarity, images, displayed=shown).equal(images)
    assert len(calls) == 1
    moved = attack_outside(similarity, images, displayed=~shown)
    assert torch.allclose(moved[:, :, 0], torch.tensor(0.4))
    assert len(calls) > 10


def test_without_a_prototype_there_is_nothing_to_attack(subject):
    subject.own_class = torch.zeros_like(subject.own_class)
    with pytest.raises(DataError, match="nothing to attack"):
        values(subject, "upsampling")


def test_a_pruned_prototype_is_of_no_class(subject, monkeypatch):
    subject.own_class = subject.own_class.clone()
    subject.own_class[0] = False
    told = []

    def compare(*sides, prototype_classes, **options):
        told.append(prototype_classes)
        return spatial_misalignment(*sides, prototype_classes=prototype_classes, **options)

    monkeypatch.setattr("pixpnet.evaluation.misalignment.spatial_misalignment", compare)
    values(subject, "upsampling")
    assert told[0][0] == -1
    assert torch.equal(told[0][1:], subject.own_class[1:].int().argmax(dim=1))
