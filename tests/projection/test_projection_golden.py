"""The original implementation's assignments: tests/golden/README.md, row `push`."""

from pathlib import Path

import numpy as np
import pytest
import torch
from torch.nn import functional

from pixpnet.projection import PatchCandidates

FOLDER = Path(__file__).parents[1] / "golden/push"
NAMES = sorted(path.stem for path in FOLDER.glob("*_P*.npz"))
RUNS = ("bs40", "bs8", "bs7", "bs8rev")


@pytest.fixture(scope="module")
def images():
    with np.load(FOLDER / "inputs.npz") as file:
        return {name: torch.from_numpy(file[name]) for name in file.files}


def recorded(name):
    with np.load(FOLDER / f"{name}.npz") as file:
        return {key: torch.from_numpy(file[key]) for key in file.files}


def project(images, prototypes, own_class, *, distance, duplicate_filter, batches):
    candidates = PatchCandidates(prototypes, own_class, distance=distance, duplicate_filter=duplicate_filter)
    for batch in batches:
        candidates.update(images["features"][batch], images["labels"][batch], images["sample_idxs"][batch])
    return candidates.assign()


def own_class_of(name, classes):
    own = functional.one_hot(classes, 4).bool()
    return torch.ones_like(own) if name.endswith("nocs") else own


def total(prototypes, patches, distance):
    prototypes, patches = prototypes.flatten(1).double(), patches.flatten(1).double()
    if distance == "l2":
        return (prototypes - patches).square().sum().item()
    return (1 - functional.cosine_similarity(prototypes, patches)).sum().item()


def test_all_recorded_cases_are_here():
    assert len(NAMES) == 12


@pytest.mark.parametrize("name", NAMES)
def test_recorded_assignment(name, images):
    distance, _, duplicate_filter, _ = name.split("_")
    case = recorded(name)
    prototypes = case["prototype_init"]
    own_class = own_class_of(name, case["prototype_class"])
    options = {"distance": distance, "duplicate_filter": duplicate_filter}
    found = project(images, prototypes, own_class, **options, batches=torch.arange(40).split(40))
    for batches in (torch.arange(40).split(7), torch.arange(39, -1, -1).split(8)):
        other = project(images, prototypes, own_class, **options, batches=batches)
        assert torch.equal(other.image_index, found.image_index)
        assert torch.equal(other.cells, found.cells)
        assert torch.equal(other.distances, found.distances)
    assert not found.warnings
    cost = total(prototypes, found.patches, distance)
    assert found.distances.sum().item() == pytest.approx(cost, rel=1e-5)
    for run in RUNS:
        row_of = {int(index): row for row, index in enumerate(images["sample_idxs"])}
        rows = [row_of[int(index)] for index in case[f"{run}.corresponding_sample_idxs"]]
        top, _, left, _ = case[f"{run}.min_fmap_idxs"].T
        theirs = images["features"][rows, :, top, left]
        assert cost <= total(prototypes, theirs, distance) + 1e-9
        if duplicate_filter == "none":
            assert torch.equal(found.image_index, case[f"{run}.corresponding_sample_idxs"])
            assert torch.equal(found.cells, torch.stack([top, left], dim=1))
            assert torch.equal(found.patches, case[f"{run}.prototype_vectors"])
    if duplicate_filter == "sample":
        assert len(found.image_index.unique()) == len(prototypes)
    if duplicate_filter == "patch":
        places = torch.cat([found.image_index[:, None], found.cells], dim=1)
        assert len(places.unique(dim=0)) == len(prototypes)


def test_starved_class_gets_distinct_patches_of_its_one_image(images, caplog):
    case = recorded("starved_sample")
    own_class = functional.one_hot(torch.arange(4).repeat_interleave(3), 4).bool()
    found = project(
        images,
        case["prototype_init"],
        own_class,
        distance="cosine",
        duplicate_filter="sample",
        batches=case["keep"].split(8),
    )
    assert (found.patches.flatten(1).norm(dim=1) > 1).all()
    assert len(found.image_index.unique()) == 10
    assert found.image_index[9:].unique().numel() == 1
    assert len(found.cells[9:].unique(dim=0)) == 3
    assert len(found.warnings) == 1
    assert "class 3: too few images for one prototype each" in found.warnings[0]
    assert found.warnings[0] in caplog.text
