"""The network that is evaluated, and its test images."""

from __future__ import annotations

import copy
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from pixpnet.errors import DataError
from pixpnet.evaluation import Subject
from pixpnet.prototypes import LinearHead
from pixpnet.runs import load
from pixpnet.types import Box


@pytest.fixture(scope="module")
def subject(tiny_run: Path) -> Subject:
    return Subject(load(tiny_run), batch_size=3)


def test_a_network_of_some_prototypes_says_the_same(subject: Subject) -> None:
    images = subject.load((0, 5))
    with torch.no_grad():
        whole, some = subject.network(images), subject.network_of((4, 1))(images)
        maps = subject.similarities(images)
        torch.testing.assert_close(subject.similarities(images, (4, 1)), maps[:, [4, 1]])
    torch.testing.assert_close(some.similarities, whole.similarities[:, [4, 1]])
    assert some.cells.tolist() == whole.cells[:, [4, 1]].tolist()


def test_images_of_one_class_come_with_its_prototypes(subject: Subject) -> None:
    batches = list(subject.class_batches())
    assert [len(batch.indices) for batch in batches] == [3, 1] * 3
    assert sorted(index for batch in batches for index in batch.indices) == list(range(12))
    for batch in batches:
        assert {subject.labels[index] for index in batch.indices} == {batch.label}
        assert batch.prototypes == subject.prototypes_of(batch.label)
        assert subject.network.own_class[list(batch.prototypes), batch.label].tolist() == [True, True]
        torch.testing.assert_close(batch.images, subject.load(batch.indices))
        points, visible = subject.parts(batch.indices[0])
        assert torch.equal(batch.points[0], points)
        assert torch.equal(batch.visible[0], visible)


def test_the_class_of_prototypes_without_classes_is_that_of_their_largest_weight(subject: Subject) -> None:
    run = replace(subject.run, network=copy.deepcopy(subject.run.network))
    head = run.network.head
    head.own_class = torch.ones_like(head.own_class)
    assert isinstance(head, LinearHead)
    with torch.no_grad():
        head.weight.copy_(torch.tensor([[1.0, 2, 0, 5, 0, 0], [1, 3, -1, 0, 0, 0], [0, 0, -2, 0, 0, 1]]))
    owned = Subject(run, image_set=subject.image_set)
    assert owned.own_class.int().argmax(dim=1).tolist() == [0, 1, 0, 0, 0, 2]
    assert owned.own_class.sum(dim=1).tolist() == [1] * 6


def test_classes_without_prototypes_are_left_out(subject: Subject) -> None:
    run = replace(subject.run, network=copy.deepcopy(subject.run.network))
    run.network.prune(~run.network.own_class[:, 1])
    pruned = Subject(run, image_set=subject.image_set)
    assert {batch.label for batch in pruned.class_batches()} == {0, 2}


def test_samples_are_drawn_from_the_seed(subject: Subject) -> None:
    assert sorted(subject.sample(99, seed=0)) == list(range(12))
    assert subject.sample(5, seed=1) == subject.sample(9, seed=1)[:5] != subject.sample(5, seed=2)


def test_random_maps_depend_on_image_and_purpose_only(subject: Subject) -> None:
    images = subject.load((0, 1))
    similarities = torch.zeros(2, 1, *subject.receptive_field.grid_size)

    def maps(indices: tuple[int, ...], purpose: str) -> torch.Tensor:
        seeds = subject.draw_seeds(indices, seed=0, purpose=purpose)
        return subject.maps("random", images, similarities, (0,), seeds=seeds)

    assert torch.equal(maps((0, 1), "map"), maps((1, 0), "map").flip(0))
    assert not torch.equal(maps((0, 1), "map"), maps((0, 1), "noisy"))


def test_objects_and_progress(subject: Subject) -> None:
    mask = subject.images.pixels_of_object(0)
    assert mask is not None
    assert 0.02 < mask.float().mean() < 0.7
    boxed = replace(subject.records[0], mask=None)
    bare = replace(boxed, box=None)
    whole = replace(boxed, box=Box(0, 0, 999, 999))  # as of a picture that was cropped to its object
    others = Subject(subject.run, image_set=replace(subject.image_set, test=(boxed, bare, whole)))
    box = others.images.pixels_of_object(0)
    assert box is not None
    assert (mask & box).sum() > 0.95 * mask.sum()
    assert others.images.pixels_of_object(1) is None
    assert others.images.pixels_of_object(2) is None
    steps: list[tuple[int, int]] = []
    others.on_step = lambda done, total: steps.append((done, total))
    assert list(others.track("ab")) == ["a", "b"]
    assert steps == [(0, 2), (1, 2), (2, 2)]


def test_no_test_images(subject: Subject) -> None:
    with pytest.raises(DataError, match="no test image"):
        Subject(subject.run, image_set=replace(subject.image_set, test=()))
