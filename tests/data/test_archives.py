"""Unpacking: what is taken, and what is refused, from archives of strangers."""

import gzip
import io
import tarfile

import numpy as np
import pytest

from pixpnet.data.archives import extract, whole_folder
from pixpnet.errors import DataError

FILES = {"set/images.txt": b"1 a.jpg\n", "set/images/a.jpg": b"pixels" * 1000, "note.txt": b"beside"}


def member(name, **changes):
    info = tarfile.TarInfo(name)
    for field, value in changes.items():
        setattr(info, field, value)
    return info


@pytest.fixture
def write_archive(tmp_path):
    def write(files=FILES, *members, name="birds.tgz", mode="w:gz"):
        with tarfile.open(tmp_path / name, mode) as tar:
            for path, content in files.items():
                tar.addfile(member(path, size=len(content), mode=0o6777), io.BytesIO(content))
            for info in members:
                content = b"x" * info.size if info.isreg() else b""
                tar.addfile(info, io.BytesIO(content))
        return tmp_path / name

    return write


def unpack(archive, **options):
    return extract(archive, archive.parent / "new" / "set", **{"folder": "set", "limit": 10**6, **options})


@pytest.mark.parametrize(("name", "mode"), [("a.tgz", "w:gz"), ("a.tar", "w"), ("a.tar.xz", "w:xz")])
def test_files_come_out_as_they_went_in(write_archive, tmp_path, name, mode):
    seen = []
    archive = write_archive(name=name, mode=mode)
    root = unpack(archive, progress=lambda done, total: seen.append((done, total)))
    assert root == tmp_path / "new" / "set"
    found = {path.relative_to(root).as_posix(): path for path in root.rglob("*") if path.is_file()}
    assert {name: path.read_bytes() for name, path in found.items()} == {
        "images.txt": b"1 a.jpg\n",
        "images/a.jpg": b"pixels" * 1000,
        "note.txt": b"beside",
    }
    assert {path.stat().st_mode & 0o7111 for path in found.values()} == {0}
    assert [path.name for path in root.parent.iterdir()] == ["set"]
    assert seen[-1][1] == archive.stat().st_size
    assert 0 < seen[-1][0] <= seen[-1][1]


UNSAFE = {
    "above": (member("set/../../x"), "lies outside"),
    "absolute": (member("/tmp/x"), "lies outside"),
    "of windows": (member("set\\..\\x"), "lies outside"),
    "of a drive": (member("C:x"), "lies outside"),
    "link": (member("set/x", type=tarfile.SYMTYPE, linkname="/etc"), "neither a plain file nor a folder"),
    "hard link": (member("set/x", type=tarfile.LNKTYPE, linkname="set/images.txt"), "neither a plain file"),
    "device": (member("set/x", type=tarfile.CHRTYPE), "neither a plain file"),
    "full of holes": (member("set/x", type=tarfile.GNUTYPE_SPARSE), "neither a plain file"),
    "pipe": (member("set/x", type=tarfile.FIFOTYPE), "neither a plain file"),
    "twice": (member("set/images.txt"), "stands in it twice"),
    "large": (member("set/x", size=10**6), "unpacks to more than 0.0 GB, which it should not"),
}


@pytest.mark.parametrize("case", UNSAFE)
def test_what_is_not_safe_stops_everything(write_archive, tmp_path, case):
    info, message = UNSAFE[case]
    archive = write_archive(FILES, info)
    with pytest.raises(DataError) as raised:
        unpack(archive)
    assert message in str(raised.value)
    assert str(archive) in str(raised.value)
    assert list((tmp_path / "new").iterdir()) == []
    assert sorted(path.name for path in tmp_path.iterdir()) == ["birds.tgz", "new"]


def test_many_empty_files_are_large_too(write_archive):
    archive = write_archive({f"set/{number}": b"" for number in range(30)})
    with pytest.raises(DataError, match="unpacks to more than"):
        unpack(archive, limit=10_000)


def cut(content):
    return content[: len(content) // 2]


def flipped(content):
    content = bytearray(content)
    content[len(content) // 2] ^= 0xFF
    return bytes(content)


DAMAGE = {
    "cut short": cut,
    "changed": flipped,
    "empty": lambda content: b"",
    "a page": lambda content: b"<html></html>" * 100,
    "cut inside of the tar": lambda content: gzip.compress(gzip.decompress(content)[:3000]),
}


@pytest.mark.parametrize("case", DAMAGE)
def test_a_damaged_archive_leaves_nothing(write_archive, tmp_path, case):
    noise = np.random.default_rng(0).bytes(20_000)
    archive = write_archive({"set/images/noise": noise, **FILES})
    archive.write_bytes(DAMAGE[case](archive.read_bytes()))
    with pytest.raises(DataError, match=r"birds.tgz is damaged or cut short \(.*\); delete it and get it ag"):
        unpack(archive)
    assert list((tmp_path / "new").iterdir()) == []


def test_another_archive_is_told(write_archive):
    with pytest.raises(DataError, match="holds no folder 'cars'; it is not the archive that was wanted"):
        unpack(write_archive(), folder="cars")


def test_a_folder_that_another_process_made_stays(tmp_path):
    with whole_folder(tmp_path / "set") as folder:
        (folder / "mine").touch()
        (tmp_path / "set").mkdir()
        (tmp_path / "set" / "theirs").touch()
    assert [path.name for path in tmp_path.rglob("*")] == ["set", "theirs"]


def test_a_folder_that_cannot_be_written(tmp_path):
    (tmp_path / "file").touch()
    with (
        pytest.raises(DataError, match=r"file/set cannot be written .*; give a folder that can be"),
        whole_folder(tmp_path / "file" / "set"),
    ):
        pass
