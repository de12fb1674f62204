"""Whether prototypes lie on the parts that tell classes apart, of a network."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image
from rigged import colour_detector, part_map_of, part_numbers

from pixpnet.evaluation import METRICS, Settings, Subject
from pixpnet.pixel_space import MAPPINGS
from pixpnet.runs import load

TELLING_PARTS = METRICS["telling_parts"]
SETTINGS = Settings(samples=7, seed=3)


def looking_at(run):
    return Subject(run, device=torch.device("cpu"), batch_size=2)


@pytest.fixture(scope="module")
def subject(tiny_run):
    return looking_at(load(tiny_run))


def found(subject, method, settings=SETTINGS):
    values = TELLING_PARTS.measure(subject, method, settings).values
    assert set(values) <= set(TELLING_PARTS.quantities)
    return values


def plainly(subject, method):
    """Pair by pair and pixel by pixel, from the files of the data set."""
    attributes = json.loads((subject.image_set.root / "attributes.json").read_text())
    rows = []
    for index in subject.sample(SETTINGS.samples, seed=SETTINGS.seed):
        record = subject.records[index]
        differences = attributes["differences"][str(record.label + 1)].values()
        fewest = min(map(len, differences))
        organs = {organ for one in differences if len(one) == fewest for organ in one}
        telling = sorted(number for organ in organs for number in attributes["part_ids"][organ])
        numbers = part_numbers(record)
        image = subject.load([index])
        for prototype in subject.prototypes_of(record.label):
            similarities = subject.similarities(image)[:, [prototype]]
            seeds = subject.draw_seeds([index], seed=SETTINGS.seed, purpose="map")
            if method == "random":  # each prototype has its own noise, drawn with that of its class
                own = subject.prototypes_of(record.label)
                maps = subject.maps(method, image, subject.similarities(image, own), own, seeds=seeds)
                pixels = maps[0, own.index(prototype)].double().numpy()
            else:
                pixels = subject.maps(method, image, similarities, (prototype,), seeds=seeds)[0, 0]
                pixels = pixels.double().numpy()
            on, other = np.isin(numbers, telling), (numbers > 0) & ~np.isin(numbers, telling)
            cell = divmod(int(similarities[0, 0].argmax()), similarities.shape[-1])
            grid = [(i, j) for i in range(similarities.shape[-2]) for j in range(similarities.shape[-1])]
            rows.append(
                {
                    "prototype": prototype,
                    "energy": pixels.clip(min=0)[on].sum() / pixels.clip(min=0).sum(),
                    "area": on.mean(),
                    "auc": above(pixels[on], pixels[~on]),
                    "auc_on_object": above(pixels[on], pixels[other]),
                    "in_region": holds(subject, method, cell, numbers, telling),
                    "in_region_chance": np.mean(
                        [holds(subject, method, one, numbers, telling) for one in grid]
                    ),
                }
            )
    return rows


def above(on, other):
    return np.mean([(value > other).mean() + (value == other).mean() / 2 for value in on])


def holds(subject, method, cell, numbers, telling):
    box = MAPPINGS[method].region(subject.receptive_field, *cell)
    for part in telling:
        places = (np.argwhere(numbers == part) + 0.5).tolist()
        inside = sum(box.contains(x, y) for y, x in places)
        if len(places) and inside >= len(places) / 2:
            return True
    return False


def mean_over_prototypes(rows, name):
    prototypes = sorted({row["prototype"] for row in rows})
    return np.mean([np.mean([row[name] for row in rows if row["prototype"] == one]) for one in prototypes])


@pytest.mark.parametrize("method", ["receptive_field", "upsampling", "random"])
def test_against_loops(subject, method):
    got, rows = found(subject, method), plainly(subject, method)
    for name in ("auc", "auc_on_object"):
        # Rounding, which depends on the batch, decides between values that are as good as equal.
        assert got[name].value == pytest.approx(mean_over_prototypes(rows, name), abs=1e-3)
    assert got["energy"].value == pytest.approx(100 * mean_over_prototypes(rows, "energy"), rel=1e-4)
    prototypes = sorted({row["prototype"] for row in rows})
    lifts = [
        sum(row["energy"] for row in rows if row["prototype"] == one)
        / sum(row["area"] for row in rows if row["prototype"] == one)
        for one in prototypes
    ]
    assert got["lift"].value == pytest.approx(np.mean(lifts), rel=1e-4)
    assert got["lift"].count == len(prototypes)
    for name in ("in_region", "in_region_chance"):
        if method == "random":
            assert name not in got
        else:
            assert got[name].value == pytest.approx(100 * mean_over_prototypes(rows, name), abs=1e-6)
    assert (got["hidden"].value, got["hidden"].count) == (0, 7)


def test_a_detector_of_the_telling_part(tiny_run):
    # Species 2 and 3 each differ from the first in a part: the belly and the throat.
    detector = colour_detector(tiny_run, ["belly", "belly", "throat"])
    other = colour_detector(tiny_run, ["wing", "wing", "wing"])
    every = Settings(samples=12)
    right, wrong, noise = (
        found(one, method, every)
        for one, method in (
            (detector, "receptive_field"),
            (other, "receptive_field"),
            (detector, "random"),
        )
    )
    # The first differs in both, of which its prototype looks for one.
    assert right["auc_on_object"].value > 0.75
    assert wrong["auc_on_object"].value < 0.5
    assert right["lift"].value > 2 > 1.2 * wrong["lift"].value
    assert right["in_region_chance"].value == 0  # a pixel holds no half of a part
    assert noise["lift"].value == pytest.approx(1, abs=0.1)
    assert noise["auc_on_object"].value == pytest.approx(0.5, abs=0.05)


def test_images_that_hide_their_telling_parts_are_counted(subject, birds, tmp_path):
    every = Settings(samples=12)
    whole = found(subject, "upsampling", every)
    copy = shutil.copytree(birds, tmp_path / "birds")
    other = looking_at(load(subject.run.checkpoint, dataset_root=copy))
    for record in [record for record in other.records if record.label == 1][:3]:
        Image.fromarray(np.zeros_like(part_numbers(record))).save(part_map_of(record))
    got = found(other, "upsampling", every)
    assert (whole["hidden"].value, got["hidden"].value, got["hidden"].count) == (0, 3, 12)
    assert got["energy"].count == whole["energy"].count
    assert got["energy"].value != whole["energy"].value


def test_what_it_needs(tiny_run, tmp_path):
    (need,) = TELLING_PARTS.needs
    subject = looking_at(load(tiny_run))
    assert need(subject, SETTINGS) is None
    subject.image_set = replace(subject.image_set, root=tmp_path)
    assert need(subject, SETTINGS) == "SYNTHBIRDS does not tell how its classes' parts look"
    (tmp_path / "attributes.json").write_text("{")
    reason = need(subject, SETTINGS)
    assert reason is not None
    assert "attributes.json does not tell the parts of each class" in reason


def test_maps_without_any_energy_are_ranked_all_the_same(tiny_run):
    subject = looking_at(load(tiny_run))
    subject.network.similarity = torch.neg  # all negative, as -d is
    got = found(subject, "receptive_field")
    assert {"energy", "lift"}.isdisjoint(got)
    assert {"auc", "auc_on_object", "in_region", "in_region_chance", "hidden"} == set(got)
    assert got["auc"].count > 0
