"""The pointing game, of a network."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image
from rigged import colour_detector

from pixpnet.evaluation import METRICS, Settings, Subject
from pixpnet.runs import load
from pixpnet.types import Box

POINTING = METRICS["pointing"]
SETTINGS = Settings(samples=6, seed=1)


@pytest.fixture
def subject(tiny_run):
    return Subject(load(tiny_run), device=torch.device("cpu"), batch_size=2)


def object_in(record):
    if record.mask is not None:
        return np.asarray(Image.open(record.mask)) > 0
    inside = np.zeros((64, 64), dtype=bool)
    left, top, right, bottom = map(int, record.box)
    inside[top:bottom, left:right] = True
    return inside


def plainly(subject, method):
    """Means over prototypes of the two shares, in percent."""
    shares = {}
    for index in subject.sample(SETTINGS.samples, seed=SETTINGS.seed):
        record = subject.records[index]
        inside = object_in(record)
        for prototype in subject.prototypes_of(record.label):
            image = subject.load([index])
            similarities = subject.similarities(image, (prototype,))
            pixels = subject.maps(method, image, similarities, (prototype,), seeds=[0])[0, 0].double().numpy()
            top = np.argsort(-pixels.ravel(), kind="stable")[: round(0.1 * pixels.size)]
            energy = pixels.clip(min=0)
            both = energy[inside].sum() / energy.sum(), inside.ravel()[top].mean()
            shares.setdefault(prototype, []).append(both)
    return 100 * np.mean([np.mean(rows, axis=0) for rows in shares.values()], axis=0), len(shares)


@pytest.mark.parametrize("method", ["receptive_field", "upsampling"])
@pytest.mark.parametrize("has_masks", [True, False])
def test_against_loops(subject, method, has_masks):
    if not has_masks:
        subject.records = tuple(replace(record, mask=None) for record in subject.records)
    got = POINTING.measure(subject, method, SETTINGS).values
    (energy, top), prototypes = plainly(subject, method)
    assert got["energy"].value == pytest.approx(energy, rel=1e-4)
    assert got["top"].value == pytest.approx(top, abs=0.1)
    assert got["energy"].count == got["top"].count == prototypes
    drawn = subject.sample(6, seed=1)
    area = 100 * np.mean([object_in(subject.records[index]).mean() for index in drawn])
    assert got["object"].value == pytest.approx(area)
    assert (got["masks"].value, got["masks"].count) == (100 if has_masks else 0, 6)
    assert list(got) == list(POINTING.quantities)


@pytest.fixture
def without_energy(subject):
    """Similarities that are all negative, as -d is."""
    subject.network.similarity = torch.neg
    subject.forget()
    return subject


def test_maps_without_any_energy_have_top_pixels(without_energy):
    got = POINTING.measure(without_energy, "receptive_field", SETTINGS).values
    assert list(got) == ["top", "object", "masks"]
    assert got["top"].count == 6


def test_a_map_of_noise_gets_what_the_object_takes(tiny_run):
    detector = colour_detector(tiny_run, ["wing", "belly", "wing"])
    settings = Settings(samples=12)
    noise, own = (
        POINTING.measure(detector, method, settings).values for method in ("random", "receptive_field")
    )
    for name in ("energy", "top"):
        assert noise[name].value == pytest.approx(noise["object"].value, rel=0.1)
        assert own[name].value > 1.3 * own["object"].value


def test_images_without_an_object_are_left_out(subject):
    without = [index for index, label in enumerate(subject.labels) if label == 2]
    subject.records = tuple(
        replace(record, mask=None, box=None) if index in without else record
        for index, record in enumerate(subject.records)
    )
    got = POINTING.measure(subject, "upsampling", Settings(samples=12)).values
    assert got["object"].count == 8
    assert got["energy"].left_out == len(subject.prototypes_of(2))
    (need,) = POINTING.needs
    assert need(subject, SETTINGS) is None
    subject.records = tuple(replace(record, mask=None, box=None) for record in subject.records)
    reason = "SYNTHBIRDS has neither masks nor bounding boxes smaller than what the network sees"
    assert need(subject, SETTINGS) == reason
    height, width = (4 * side for side in subject.run.image_size)
    whole = tuple(replace(one, box=Box(0, 0, width, height)) for one in subject.records)
    others = Subject(subject.run, image_set=replace(subject.image_set, test=whole))
    assert need(others, SETTINGS) == reason
