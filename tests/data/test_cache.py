"""Kept images are the decoded ones, whoever keeps them, and whatever happens to where they are kept."""

import errno
import itertools
import logging
import multiprocessing
import os
import pickle
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from pixpnet.config import DatasetConfig
from pixpnet.data import (
    CACHES,
    DATASETS,
    ClassificationImages,
    Geometry,
    cache,
    first_transform,
    loader,
    open_splits,
    transforms,
)
from pixpnet.errors import DataError
from pixpnet.memory import machine_memory
from pixpnet.types import Box, ImageRecord, Normalization

memory_cache, file_cache = CACHES["ram"], CACHES["disk"]
GEOMETRY = Geometry(resize=24, crop=24)
UNCHANGED = Normalization(mean=(0.0, 0.0, 0.0), std=(1.0, 1.0, 1.0))


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    """The cache folder, which does not exist yet."""
    monkeypatch.setenv("PIXPNET_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache" / "images"


@pytest.fixture
def records(tmp_path):
    """Images of different sizes; the first in two records."""
    rng = np.random.default_rng(0)
    made = []
    for number, size in enumerate([(30, 40), (40, 30), (28, 28), (61, 35)]):
        path = tmp_path / f"{number}.png"
        Image.fromarray(rng.integers(0, 256, (*size, 3), np.uint8)).save(path)
        made.append(ImageRecord(image_id=str(number), path=path, label=0, box=Box(2.0, 1.0, 26.0, 27.0)))
    return (*made, ImageRecord(image_id="again", path=made[0].path, label=1))


@pytest.fixture
def decoded(monkeypatch):
    """The files that are decoded from now on."""
    seen = []
    load_image = transforms.load_image
    monkeypatch.setattr(
        transforms, "load_image", lambda path, reading: seen.append(path) or load_image(path, reading)
    )
    return seen


def images_of(records, cache, geometry=GEOMETRY):
    return ClassificationImages(records, geometry=geometry, normalization=UNCHANGED, cache=cache)


def pixels(records, cache=None, geometry=GEOMETRY):
    images = images_of(records, cache, geometry)
    return [images[index].image for index in range(len(images))]


def same(one, other):
    return all(torch.equal(first, second) for first, second in zip(one, other, strict=True))


@pytest.mark.parametrize("kind", CACHES)
@pytest.mark.parametrize("to_box", [False, True])
def test_kept_images_are_the_decoded_ones(kind, to_box, records, decoded):
    geometry = Geometry(to_box=to_box, resize=24, crop=24)
    records = records[:4] if to_box else records
    wanted = pixels(records, geometry=geometry)
    decoded.clear()
    kept = CACHES[kind](records, geometry=geometry)
    assert same(pixels(records, kept, geometry), wanted)
    assert same(pixels(records, kept, geometry), wanted)
    assert len(decoded) == len(records) * (2 if kind == "none" else 1)


def test_images_are_decoded_once_for_all_splits_of_a_run(cub_folder, decoded):
    config = DatasetConfig(name="cub-layout", root=str(cub_folder()), size=16, val_size=0.25)
    splits = open_splits(config, seed=3)
    for images in (splits.train, splits.validation, splits.projection, splits.test) * 2:
        for index in range(len(images)):
            images[index]
    assert len(decoded) == len(set(decoded)) == 18


def test_loaders_of_one_process_share_what_is_in_memory(records, decoded):
    kept = memory_cache(records, geometry=GEOMETRY)
    images = images_of(records, kept)
    batches = loader(images, batch_size=2, shuffle=False, seed=0, epoch=0, workers=2)
    batches.multiprocessing_context = "fork"
    loaded = torch.cat([batch.image for batch in batches])
    assert [kept.get(record) is not None for record in records] == [True] * 5
    assert same(pixels(records, kept), loaded)
    assert decoded == []


def test_memory_keeps_as_many_as_there_is_room_for(records, decoded, monkeypatch):
    sizes = [3 * 24 * 32 + 4, 3 * 32 * 24 + 4, 3 * 24 * 24 + 4]
    monkeypatch.setattr(cache, "memory_budget", lambda: sum(sizes))
    kept = memory_cache(records, geometry=GEOMETRY)
    assert len(kept) == 3
    assert same(pixels(records, kept), pixels(records, kept))
    assert [decoded.count(record.path) for record in records] == [3, 1, 1, 2, 3]
    monkeypatch.setattr(cache, "memory_budget", lambda: sum(sizes) - 1)
    assert len(memory_cache(records, geometry=GEOMETRY)) == 2
    monkeypatch.setattr(cache, "memory_budget", lambda: 0)
    assert same(pixels(records, memory_cache(records, geometry=GEOMETRY)), pixels(records))


def test_the_room_is_a_quarter_of_the_memory_for_all_processes(monkeypatch):
    for processes in (1, 4):
        monkeypatch.setenv("LOCAL_WORLD_SIZE", str(processes))
        assert cache.memory_budget() == machine_memory() // 4 // processes


@settings(deadline=None, max_examples=50, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(name=st.sampled_from(sorted(DATASETS)), width=st.integers(1, 600), height=st.integers(1, 600))
def test_sizes_are_known_before_decoding(tmp_path, name, width, height):
    """What is known beforehand is the size of the slot: an image of another size is not kept."""
    geometry = DATASETS[name].geometry(None)
    if max(width, height) > 20 * min(width, height):
        return
    image = Image.new("RGB", (width, height))
    image.save(tmp_path / "one.bmp")
    record = ImageRecord("1", tmp_path / "one.bmp", 0, box=Box(0.0, 0.0, width, height))
    kept = memory_cache((record,), geometry=geometry)
    kept.put(record, first_transform(geometry)(image))
    assert kept.get(record) is not None


def test_a_later_run_decodes_nothing(records, decoded, folder):
    wanted = pixels(records, file_cache(records, geometry=GEOMETRY))
    decoded.clear()
    assert same(pixels(records, file_cache(records, geometry=GEOMETRY)), wanted)
    assert decoded == []
    assert len(list(folder.iterdir())) == 1
    file_cache(records, geometry=Geometry(resize=25, crop=24))
    assert len(list(folder.iterdir())) == 2


def test_runs_with_other_seeds_share_a_file(cub_folder, decoded, folder):
    root = str(cub_folder())
    for seed in (3, 4):
        config = DatasetConfig(name="cub-layout", root=root, size=16, val_size=0.25, cache="disk")
        splits = open_splits(config, seed=seed)
        for images in (splits.train, splits.validation, splits.test):
            for index in range(len(images)):
                images[index]
    assert len(decoded) == 18
    assert len(list(folder.iterdir())) == 1


def test_a_changed_image_is_noticed_whatever_its_size_and_time(records, folder):
    path = records[1].path
    pixels(records, file_cache(records, geometry=GEOMETRY))
    (old,) = folder.iterdir()
    before, times = path.read_bytes(), (path.stat().st_atime_ns, path.stat().st_mtime_ns)
    changed = Image.open(path).transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    changed.save(path, compress_level=6)
    path.write_bytes(path.read_bytes()[: len(before)].ljust(len(before), b"\0"))
    os.utime(path, ns=times)
    assert (path.stat().st_size, path.stat().st_mtime_ns) == (len(before), times[1])
    kept = file_cache(records, geometry=GEOMETRY)
    assert kept.get(records[0]) is None
    assert not old.exists()
    assert len(list(folder.iterdir())) == 1


def test_a_moved_box_is_noticed(records):
    geometry = Geometry(to_box=True, resize=24, crop=24)
    boxed = records[:4]
    pixels(boxed, file_cache(boxed, geometry=geometry), geometry)
    moved = tuple(
        ImageRecord(image_id=one.image_id, path=one.path, label=0, box=Box(1.0, 1.0, 25.0, 27.0))
        for one in boxed
    )
    kept = file_cache(moved, geometry=geometry)
    assert same(pixels(moved, kept, geometry), pixels(moved, None, geometry))


def damage_pixels(data):
    return data[:-7] + bytes([data[-7] ^ 1]) + data[-6:]


DAMAGES = {
    "a pixel": damage_pixels,
    "a checksum": lambda data: b"X" + data[1:],
    "cut short": lambda data: data[:-7],
    "cut to nearly nothing": lambda data: data[:20],
    "too long": lambda data: data + b"\0",
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_damaged_files_are_repaired(damage, records, folder, caplog):
    wanted = pixels(records, file_cache(records, geometry=GEOMETRY))
    (path,) = folder.iterdir()
    whole = path.read_bytes()
    path.write_bytes(DAMAGES[damage](whole))
    caplog.set_level(logging.WARNING)
    assert same(pixels(records, file_cache(records, geometry=GEOMETRY)), wanted)
    assert "damaged" in caplog.text
    assert path.read_bytes() == whole
    caplog.clear()
    assert same(pixels(records, file_cache(records, geometry=GEOMETRY)), wanted)
    assert caplog.text == ""


@pytest.mark.parametrize("emptied", [lambda data: b"", lambda data: bytes(len(data))])
def test_emptied_files_are_filled_again(emptied, records, folder):
    wanted = pixels(records, file_cache(records, geometry=GEOMETRY))
    (path,) = folder.iterdir()
    whole = path.read_bytes()
    path.write_bytes(emptied(whole))
    assert same(pixels(records, file_cache(records, geometry=GEOMETRY)), wanted)
    assert path.read_bytes() == whole


def read_all(records, wanted, barrier, results):
    barrier.wait()
    results.put(all(same(pixels(records, file_cache(records, geometry=GEOMETRY)), wanted) for _ in range(3)))


def test_runs_at_the_same_time_share_a_file(records, folder):
    wanted = pixels(records)
    context = multiprocessing.get_context("fork")
    barrier, results = context.Barrier(4), context.SimpleQueue()
    runs = [context.Process(target=read_all, args=(records, wanted, barrier, results)) for _ in range(4)]
    for run in runs:
        run.start()
    for run in runs:
        run.join()
    assert [results.get() for _ in runs] == [True] * 4
    assert len(list(folder.iterdir())) == 1


def test_what_is_half_written_is_not_read(records, monkeypatch):
    """A slot whose checksum is not there yet, or does not fit, as if its writer had been killed."""
    kept = memory_cache(records, geometry=GEOMETRY)
    written, write = itertools.count(), kept._slots._write

    def killed(offset, data):
        write(
            offset, data if next(written) != 0 else data[: len(data) // 2] + bytes(len(data) - len(data) // 2)
        )

    with monkeypatch.context() as patch:
        patch.setattr(kept._slots, "_write", killed)
        image = first_transform(GEOMETRY)(Image.open(records[0].path))
        kept.put(records[0], image)
    assert kept.get(records[0]) is None
    assert same(pixels(records, kept), pixels(records))
    assert kept.get(records[0]) is not None


def test_images_of_another_size_are_not_kept(records):
    kept = memory_cache(records, geometry=GEOMETRY)
    kept.put(records[0], Image.new("RGB", (7, 7)))
    assert kept.get(records[0]) is None
    stranger = ImageRecord(image_id="stranger", path=records[0].path, label=0)
    kept.put(stranger, Image.new("RGB", (24, 32)))
    assert kept.get(stranger) is None


def test_a_full_disk_stops_the_keeping_not_the_run(records, monkeypatch, caplog):
    kept = file_cache(records, geometry=GEOMETRY)

    def full(descriptor, data, offset):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "pwrite", full)
    assert same(pixels(records, kept), pixels(records))
    assert caplog.text.count("No more images are kept: [Errno 28] No space left on device.") == 1


def test_too_little_room_is_told_before(records, monkeypatch):
    usage = shutil.disk_usage("/")._replace(free=1000)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage)
    with pytest.raises(DataError, match=r"0\.0 GB free; set PIXPNET_CACHE .*--dataset\.cache ram"):
        file_cache(records, geometry=GEOMETRY)


def test_a_folder_that_cannot_be_written_is_told(records, tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("PIXPNET_CACHE", str(tmp_path / "file"))
    with pytest.raises(DataError, match=r"cannot be used \(.*\); set PIXPNET_CACHE") as raised:
        file_cache(records, geometry=GEOMETRY)
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize("kind", ["ram", "disk"])
def test_missing_and_damaged_images_are_named_at_the_start(kind, records):
    records[2].path.write_bytes(b"no image")
    with pytest.raises(DataError, match=r"2\.png is not an image"):
        CACHES[kind](records, geometry=GEOMETRY)
    records[2].path.unlink()
    with pytest.raises(DataError, match=r"2\.png is missing"):
        CACHES[kind](records, geometry=GEOMETRY)


@pytest.mark.parametrize("kind", ["ram", "disk"])
def test_caches_go_to_processes_that_are_spawned(kind, records, decoded):
    kept = CACHES[kind](records, geometry=GEOMETRY)
    wanted = pixels(records, kept)
    decoded.clear()
    assert same(pixels(records, pickle.loads(pickle.dumps(kept))), wanted)
    assert len(decoded) == (5 if kind == "ram" else 0)


def test_where_the_files_lie(monkeypatch):
    assert cache.cache_folder().name == "cache"
    monkeypatch.delenv("PIXPNET_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", "/var/some")
    assert cache.cache_folder() == Path("/var/some/pixpnet")
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", "/home/someone")
    assert cache.cache_folder() == Path("/home/someone/.cache/pixpnet")
