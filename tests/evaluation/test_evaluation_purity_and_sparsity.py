"""Purity and sparsity, of a network."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
import torch

from pixpnet.data import merge_sides
from pixpnet.evaluation import METRICS, Settings, Subject
from pixpnet.pixel_space import MAPPINGS
from pixpnet.runs import load

PURITY, SPARSITY = METRICS["purity"], METRICS["sparsity"]
SETTINGS = Settings(seed=2)


@pytest.fixture(scope="module")
def subject(tiny_run):
    return Subject(load(tiny_run), device=torch.device("cpu"), batch_size=5)


def outputs(subject):
    with torch.no_grad():
        return [subject.network(subject.load([index])) for index in range(len(subject.records))]


def plain_purity(subject, method):
    """The purity of each prototype with a weight above 1e-5."""
    seen, field = outputs(subject), subject.receptive_field
    groups = merge_sides(subject.image_set.part_names)
    weights = subject.network.class_weights().amax(dim=1)
    found = []
    for prototype in range(subject.network.num_prototypes):
        if weights[prototype] <= 1e-5:
            continue
        order = sorted(range(len(seen)), key=lambda i, p=prototype: (-seen[i].similarities[0, p].item(), i))
        counts = Counter()
        for index in order[:10]:
            cell = divmod(int(seen[index].cells[0, prototype]), field.grid_size[1])
            box = MAPPINGS[method].region(field, *cell)
            record = subject.records[index]
            inside = [
                bool(visible) and box.contains(*point)
                for point, visible in zip(record.part_points.tolist(), record.part_visible, strict=True)
            ]
            counts.update(
                name
                for name, members in zip(groups.names, groups.members, strict=True)
                if any(inside[part] for part in members)
            )
        found.append(max(counts.values(), default=0) / 10)
    return np.array(found)


@pytest.mark.parametrize("method", PURITY.methods(SETTINGS))
def test_purity_against_loops(subject, method):
    got, want = PURITY.measure(subject, method, SETTINGS).values, plain_purity(subject, method)
    assert list(got) == list(PURITY.quantities)
    assert got["mean"].value == pytest.approx(want.mean())
    assert got["deviation"].value == pytest.approx(want.std())
    assert got["above_half"].value == pytest.approx((want > 0.5).mean())
    assert got["mean"].count == len(want)
    assert 0 < got["box"].value < 100
    assert 0 < want.mean() < 1


def test_purity_is_measured_where_boxes_differ():
    assert PURITY.methods(SETTINGS) == ("receptive_field", "upsampling")


def plain_deciding(subject):
    """Of each image the fewest prototypes that make 95 % of its winning logit."""
    weights = subject.network.class_weights()
    numbers = []
    for output in outputs(subject):
        shares = (output.similarities[0] * weights[:, int(output.logits.argmax())]).double()
        largest, taken = sorted(shares.tolist(), reverse=True), 0
        while sum(largest[:taken]) < 0.95 * sum(largest):
            taken += 1
        numbers.append(taken)
    return numbers


def test_sparsity_against_loops(subject):
    numbers = plain_deciding(subject)
    got = SPARSITY.measure(subject, None, SETTINGS).values
    assert list(got) == list(SPARSITY.quantities)
    assert got["deciding"].value == pytest.approx(np.mean(numbers))
    assert got["deciding"].count == len(subject.records)
    sources = subject.run.sources
    assert got["images"][:3] == (len({one.image_id for one in sources}),) * 3
    assert got["patches"].value == len({(one.image_id, one.cell) for one in sources})
    assert got["prototypes"].value == got["patches"].count == len(sources) == 6


def test_without_projections_there_are_no_sources_to_count(tiny_run):
    unprojected = Subject(replace(load(tiny_run), sources=()), device=torch.device("cpu"))
    assert list(SPARSITY.measure(unprojected, None, SETTINGS).values) == ["deciding", "prototypes"]


def test_sources_of_pruned_prototypes_are_not_counted(tiny_run):
    pruned = Subject(load(tiny_run), device=torch.device("cpu"))
    pruned.network.prune(torch.tensor([0, 3, 5]))
    got = SPARSITY.measure(pruned, None, SETTINGS).values
    assert list(got) == ["deciding", "prototypes"]
    assert got["prototypes"].value == 3
