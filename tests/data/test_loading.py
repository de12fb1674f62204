"""Order and pixels of batches depend on seed and epoch, not on workers, processes or who looked before."""

from collections import Counter

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from real_layouts import write_tree

from pixpnet.config import DatasetConfig
from pixpnet.data import EpochBatches, loader, open_splits, worker_count


@pytest.fixture
def images(cub_folder):
    config = DatasetConfig(name="cub-layout", root=str(cub_folder()), size=16, val_size=0.0, augment_factor=2)
    return open_splits(config, seed=3).train


def load(images, **options):
    return list(loader(images, **{"batch_size": 5, "shuffle": True, "seed": 3, "epoch": 1, **options}))


def pixels(batches):
    return torch.cat([batch.image for batch in batches])


def test_batches_are_tensors(images):
    batches = load(images)
    assert [len(batch.image) for batch in batches] == [5, 5, 5, 5, 4]
    first = batches[0]
    assert (first.image.shape, first.image.dtype) == ((5, 3, 16, 16), torch.float32)
    assert (first.label.dtype, first.index.dtype) == (torch.int64, torch.int64)
    for label, index in zip(first.label.tolist(), first.index.tolist(), strict=True):
        assert images.records[index].label == label


def test_every_view_of_every_image_comes_once(images):
    counted = Counter(torch.cat([batch.index for batch in load(images)]).tolist())
    assert counted == dict.fromkeys(range(12), 2)


def test_order_and_pixels_depend_on_seed_and_epoch_only(images):
    one = load(images)
    torch.manual_seed(99)
    images.epoch = 17
    assert torch.equal(pixels(one), pixels(load(images)))
    for other in (load(images, epoch=2), load(images, seed=4)):
        assert not torch.equal(torch.cat([b.index for b in one]), torch.cat([b.index for b in other]))


def test_workers_change_nothing(images):
    batches = loader(images, batch_size=5, shuffle=True, seed=3, epoch=1, workers=2)
    assert torch.equal(pixels(list(batches)), pixels(load(images)))
    batches.set_epoch(2)  # the same worker processes go on
    assert torch.equal(pixels(list(batches)), pixels(load(images, epoch=2)))


def test_a_run_may_start_in_the_middle(images):
    batches = loader(images, batch_size=5, shuffle=True, seed=3, epoch=1)
    list(batches)
    batches.set_epoch(2)
    assert torch.equal(pixels(list(batches)), pixels(load(images, epoch=2)))


def test_global_randomness_is_left_alone(images):
    before = torch.get_rng_state()
    load(images)
    load(images, workers=1)
    assert torch.equal(before, torch.get_rng_state())


def test_without_shuffling_images_come_in_order(images):
    index = torch.cat([batch.index for batch in load(images, shuffle=False, epoch=9)])
    assert index.tolist() == [*range(12), *range(12)]


@pytest.mark.parametrize("views", [1, 2])
def test_balanced_classes_are_drawn_equally_often(tmp_path, views):
    """Of ten times as many images; the same ones in every call, each view as often as the others."""
    write_tree(tmp_path, ("train",), ("ant",), 40)
    write_tree(tmp_path, ("train",), ("bee",), 4)
    write_tree(tmp_path, ("test",), ("ant", "bee"), 1)
    config = DatasetConfig(name="folder", root=str(tmp_path), size=16, val_size=0.0, augment_factor=views)
    images = open_splits(config, seed=3).train

    def drawn(**options):
        options = {"batch_size": 8, "shuffle": True, "seed": 3, "epoch": 1, "balanced": True, **options}
        batches = loader(images, **options).batch_sampler
        return [draw.position for batch in batches for draw in batch]

    positions = [position for epoch in range(1, 31) for position in drawn(epoch=epoch)]
    counts = Counter(images.labels[position % 44] for position in positions)
    assert sum(counts.values()) == 30 * 44 * views
    assert 0.85 < counts[0] / counts[1] < 1.18
    assert set(positions) == set(range(44 * views))
    of_bees = Counter(position for position in positions if images.labels[position % 44] == 1)
    assert max(of_bees.values()) < 1.5 * min(of_bees.values())
    torch.manual_seed(99)
    assert drawn() == drawn() != drawn(epoch=2)
    uneven = Counter(images.labels[position % 44] for position in drawn(balanced=False))
    assert uneven == {0: 40 * views, 1: 4 * views}


sizes = {
    "length": st.integers(1, 60),
    "batch_size": st.integers(1, 12),
    "world_size": st.integers(1, 5),
    "epoch": st.integers(0, 9),
}


def batches_of(length, world_size, **options):
    """The batches of every process."""
    ranks = range(world_size)
    made = [EpochBatches(length, world_size=world_size, rank=rank, seed=3, **options) for rank in ranks]
    listed = [[[draw.position for draw in batch] for batch in batches] for batches in made]
    assert [len(batches) for batches in made] == [len(batches) for batches in listed]
    return listed


@given(**sizes)
def test_evaluation_sees_every_image_once(length, batch_size, world_size, epoch):
    ranks = batches_of(length, world_size, batch_size=batch_size, shuffle=False, epoch=epoch)
    assert sorted(position for rank in ranks for batch in rank for position in batch) == list(range(length))
    assert all(0 < len(batch) <= batch_size for rank in ranks for batch in rank)


@given(**sizes)
def test_training_gives_every_process_the_same_batches(length, batch_size, world_size, epoch):
    ranks = batches_of(length, world_size, batch_size=batch_size, shuffle=True, epoch=epoch)
    assert len({tuple(map(len, rank)) for rank in ranks}) == 1
    assert len(ranks[0]) >= 1
    shapes = [len(batch) for batch in ranks[0]]
    assert all(size == batch_size for size in shapes[:-1])
    assert shapes[-1] > 1 or len(shapes) == 1 or batch_size == 1
    seen = Counter(position for rank in ranks for batch in rank for position in batch)
    per_process = -(-length // world_size)
    left_out = world_size if batch_size > 1 and per_process > 1 and per_process % batch_size == 1 else 0
    assert sum(seen.values()) == per_process * world_size - left_out
    assert len(seen) >= length - left_out
    assert max(seen.values()) <= -(-per_process * world_size // length)


def test_epochs_are_told_by_the_draws():
    batches = EpochBatches(7, batch_size=3, shuffle=True, seed=3, epoch=4, rank=0, world_size=1)
    assert {draw.epoch for batch in batches for draw in batch} == {4}


@pytest.mark.parametrize(
    ("cores", "processes", "workers"),
    [(1, 1, 0), (2, 1, 0), (4, 1, 3), (16, 1, 8), (16, 4, 3), (16, 16, 0), (8, 16, 0)],
)
def test_workers_take_the_free_cores(monkeypatch, cores, processes, workers):
    monkeypatch.setattr("pixpnet.data.images.free_cores", lambda: cores)
    assert worker_count(processes) == workers


def test_cores_are_counted():
    assert 0 <= worker_count() <= 8


def test_workers_may_be_left_to_us(images, monkeypatch):
    monkeypatch.setattr("pixpnet.data.images.free_cores", lambda: 2)
    assert loader(images, batch_size=5, shuffle=False, seed=3, epoch=1, workers=None).num_workers == 0
    monkeypatch.setattr("pixpnet.data.images.free_cores", lambda: 4)
    two = loader(images, batch_size=5, shuffle=False, seed=3, epoch=1, workers=None, rank=1, world_size=2)
    assert two.num_workers == 1


@given(
    steps=st.integers(1, 6),
    batch_size=st.integers(1, 5),
    world_size=st.integers(1, 4),
    shuffle=st.booleans(),
)
def test_processes_share_the_steps_of_one(steps, batch_size, world_size, shuffle):
    """Step k of w processes with batches of b holds the images of step k of one with batches of w·b."""
    length = steps * batch_size * world_size
    options = {"shuffle": shuffle, "epoch": 2}
    shared = batches_of(length, world_size, batch_size=batch_size, **options)
    (alone,) = batches_of(length, 1, batch_size=batch_size * world_size, **options)
    for step, wanted in enumerate(alone):
        dealt = [draw for turn in zip(*(rank[step] for rank in shared), strict=True) for draw in turn]
        assert dealt == wanted


def test_pixels_do_not_depend_on_workers_or_processes(cub_folder):
    config = DatasetConfig(name="cub-layout", root=str(cub_folder()), size=16, val_size=0.0, augment_factor=2)
    train = open_splits(config, seed=3).train

    def images(**options):
        batches = list(loader(train, shuffle=True, seed=3, epoch=1, **options))
        return {
            (int(index), round(float(image.sum()), 3))
            for batch in batches
            for index, image in zip(batch.index, batch.image, strict=True)
        }

    alone = images(batch_size=6)
    assert len(alone) == 24
    assert images(batch_size=6, workers=2) == alone
    halves = [images(batch_size=3, rank=rank, world_size=2, workers=rank) for rank in range(2)]
    assert halves[0] | halves[1] == alone
    assert not halves[0] & halves[1]


def test_validation_is_the_same_for_every_process_and_epoch(cub_folder):
    config = DatasetConfig(name="cub-layout", root=str(cub_folder(train=8)), size=16, val_size=0.25)
    first, second = (open_splits(config, seed=3).validation for _ in range(2))
    batches = [list(loader(first, batch_size=4, shuffle=False, seed=3, epoch=epoch)) for epoch in (0, 5)]
    parts = [
        torch.cat(
            [
                b.index
                for b in loader(second, batch_size=2, shuffle=False, seed=9, epoch=1, rank=r, world_size=2)
            ]
        )
        for r in range(2)
    ]
    assert torch.equal(torch.cat([b.image for b in batches[0]]), torch.cat([b.image for b in batches[1]]))
    assert torch.cat([b.index for b in batches[0]]).tolist() == list(range(len(first)))
    assert sorted(torch.cat(parts).tolist()) == list(range(len(first)))
    assert [record.image_id for record in first.records] == [record.image_id for record in second.records]
