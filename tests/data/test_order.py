"""The same images in the same steps, whether one process takes large batches or several take small ones."""

import torch
from hypothesis import given
from hypothesis import strategies as st

from pixpnet.config import DatasetConfig
from pixpnet.data.loading import EpochBatches, loader
from pixpnet.data.splits import open_splits


def batches_of(length, batch_size, world_size, **options):
    return [
        list(
            EpochBatches(
                length, batch_size=batch_size, rank=rank, world_size=world_size, seed=3, epoch=2, **options
            )
        )
        for rank in range(world_size)
    ]


@given(
    steps=st.integers(1, 6),
    batch_size=st.integers(1, 5),
    world_size=st.integers(1, 4),
    shuffle=st.booleans(),
)
def test_processes_share_the_steps_of_one(steps, batch_size, world_size, shuffle):
    """Step k of w processes with batches of b holds the images of step k of one with batches of w·b."""
    length = steps * batch_size * world_size
    shared = batches_of(length, batch_size, world_size, shuffle=shuffle)
    (alone,) = batches_of(length, batch_size * world_size, 1, shuffle=shuffle)
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
