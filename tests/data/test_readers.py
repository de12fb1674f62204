"""From a missing set to a read one: archives that are downloaded, or lie there already."""

import hashlib
import logging
from dataclasses import replace
from pathlib import Path

import pytest
from real_layouts import SYNSETS, packed, write_cifar10, write_tree

from pixpnet.config import DatasetConfig
from pixpnet.data import readers
from pixpnet.data.datasets import DATASETS, prepare, read_dataset
from pixpnet.data.spec import Archive
from pixpnet.errors import DataError
from pixpnet.types import Normalization


def as_archive(folder: Path, inner: str) -> tuple[bytes, Archive]:
    content = packed(folder, inner)
    md5 = hashlib.md5(content).hexdigest()
    return content, Archive(
        url="https://data.example/a/set.tgz?download=1", md5=md5, folder=inner, limit=10**8
    )


@pytest.fixture
def archives(tmp_path, cub_folder):
    """Name, and the content of an archive of that set."""
    source = tmp_path / "sources"
    return {
        "CUB200224": as_archive(cub_folder("sources/cub"), "CUB_200_2011"),
        "CIFAR10": as_archive(write_cifar10(source), "cifar-10-batches-py"),
        "IMAGENETTE": as_archive(write_tree(source / "ten", ("train", "val"), SYNSETS, 1), "imagenette2"),
    }


@pytest.fixture
def web(archives, monkeypatch):
    """A web that has these archives; the list of what was fetched."""
    fetched = []

    def download(url, destination, *, md5, progress):
        if destination.exists():
            return destination
        (content,) = [content for content, archive in archives.values() if archive.md5 == md5]
        fetched.append(url)
        destination.parent.mkdir(parents=True, exist_ok=True)
        destination.write_bytes(content)
        return destination

    for name, (_, archive) in archives.items():
        monkeypatch.setitem(DATASETS, name, replace(DATASETS[name], archive=lambda config, a=archive: a))
    monkeypatch.setattr(readers, "download", download)
    return fetched


NAMES = ("CUB200224", "CIFAR10", "IMAGENETTE")


@pytest.mark.parametrize("name", NAMES)
def test_a_missing_set_is_downloaded_once(tmp_path, web, caplog, name):
    caplog.set_level(logging.INFO, logger="pixpnet")
    root = tmp_path / "data"
    first = prepare(name, root)
    assert web == ["https://data.example/a/set.tgz?download=1"]
    assert f"{name} is not in {root}: downloading https://data.example/a/set.tgz" in caplog.text
    assert f"`pixpnet data prepare {name} --root " in caplog.text
    assert [record.path for record in read_dataset(DatasetConfig(name=name, root=str(root))).train] == [
        record.path for record in first.train
    ]
    assert all(
        record.path.is_file() and root in record.path.parents for record in (*first.train, *first.test)
    )
    assert len(web) == 1


@pytest.mark.parametrize("name", NAMES)
def test_an_archive_that_lies_there_is_taken(tmp_path, web, archives, name):
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "set.tgz").write_bytes(archives[name][0])
    assert prepare(name, tmp_path / "data").train
    assert web == []
    assert (tmp_path / "data" / "set.tgz").exists()


@pytest.mark.parametrize("name", [name for name, spec in DATASETS.items() if spec.archive is not None])
def test_without_a_network_one_line_says_what_to_do(tmp_path, monkeypatch, name):
    def offline(url, destination, *, md5, progress):
        raise DataError(
            f"{url} could not be downloaded: no network; get it by hand, put it at {destination}."
        )

    monkeypatch.setattr(readers, "download", offline)
    with pytest.raises(DataError) as raised:
        prepare(name, tmp_path)
    spec = DATASETS[name]
    archive = spec.archive(DatasetConfig(name=name))
    assert str(raised.value).startswith(
        f"{name} was not found in {tmp_path} and {tmp_path / spec.folder}, and"
    )
    assert f"put it at {tmp_path / archive.file}." in str(raised.value)
    assert archive.url in str(raised.value)


def test_archives_of_the_table():
    archives = {
        name: spec.archive(DatasetConfig(name=name)) for name, spec in DATASETS.items() if spec.archive
    }
    assert set(archives) == {*NAMES, "CUB200", "CUB200BBOX", "CUB200224BBOX"}
    assert archives["CUB200"].file == "CUB_200_2011.tgz"
    assert archives["CUB200"].md5 == "97eceeb196236b17998738112f37df78"
    assert archives["CIFAR10"].file == "cifar-10-python.tar.gz"
    assert all(archive.url.startswith("https://") and len(archive.md5) == 32 for archive in archives.values())


def test_half_a_set_is_not_overwritten(tmp_path, web):
    (tmp_path / "CUB_200_2011").mkdir()
    with pytest.raises(
        DataError, match=r"CUB_200_2011 is there, but it lacks what CUB200224 needs \(images\.txt"
    ):
        prepare("CUB200224", tmp_path)
    assert web == []


def test_a_root_that_cannot_be_made(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(DataError, match=r"CUB200 was not found, and .* cannot be written"):
        prepare("CUB200", tmp_path / "file" / "data")


def test_a_damaged_archive_by_hand(tmp_path, web):
    (tmp_path / "set.tgz").write_bytes(b"not whole")
    with pytest.raises(DataError, match=r"set\.tgz is damaged or cut short .*; delete it and get it again"):
        prepare("CIFAR10", tmp_path)
    assert sorted(path.name for path in (tmp_path / "cifar10").iterdir()) == []


@pytest.mark.parametrize(
    ("name", "choice", "mean"),
    [
        ("CUB200", "own", (0.4862, 0.5005, 0.4334)),
        ("CUB200", "imagenet", (0.485, 0.456, 0.406)),
        ("CUB200", "measured", None),
        ("cub-layout", "own", None),
        ("cub-layout", "imagenet", (0.485, 0.456, 0.406)),
    ],
)
def test_normalisation(cub_folder, name, choice, mean):
    root = cub_folder()
    images = read_dataset(DatasetConfig(name=name, root=str(root), normalization=choice))
    found = images.spec.normalization
    assert (found and found.mean) == mean
    assert found is None or isinstance(found, Normalization)
