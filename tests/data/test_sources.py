"""From a missing set to a read one: downloads over bad lines, and archives of strangers."""

import gzip
import hashlib
import io
import logging
import socket
import tarfile
import threading
from dataclasses import replace
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest
from real_layouts import SYNSETS, packed, write_cifar10, write_tree

from pixpnet.config import DatasetConfig
from pixpnet.data import DATASETS, Archive, download, extract, prepare, read_dataset
from pixpnet.errors import DataError
from pixpnet.files import whole_folder

CONTENT = np.random.default_rng(0).bytes(700_000)
MD5 = hashlib.md5(CONTENT).hexdigest()


class Server(ThreadingHTTPServer):
    """Answers request number i as `plan[i]` says, all later ones as its last entry does."""

    daemon_threads = True

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Handler)
        self.plan = ["whole"]
        self.ranges = []
        self.content = CONTENT
        self.asked = threading.Event()
        self.may_go_on = threading.Event()

    @property
    def url(self):
        return f"http://127.0.0.1:{self.server_address[1]}/birds.tgz"


class Handler(BaseHTTPRequestHandler):
    server: Server

    def do_GET(self):
        wanted = self.headers.get("Range")
        self.server.ranges.append(wanted)
        self.server.asked.set()
        plan = self.server.plan
        action = plan.pop(0) if len(plan) > 1 else plan[0]
        if isinstance(action, int):
            self.send_error(action)
            return
        if str(action).startswith("to "):
            self.send_response(302)
            self.send_header("Location", action.partition(" ")[2])
            self.end_headers()
            return
        start = 0 if wanted is None or action == "no range" else int(wanted[6:-1])
        content = self.server.content
        if start >= len(content) > 0 and wanted:
            self.send_response(416)
            self.send_header("Content-Range", f"bytes */{len(content)}")
            self.end_headers()
            return
        self.send_response(206 if start else 200)
        if action == "from the start":
            start = 0
            self.send_header("Content-Range", f"bytes 0-{len(content) - 1}/{len(content)}")
        if start:
            self.send_header("Content-Range", f"bytes {start}-{len(content) - 1}/{len(content)}")
        if str(action).startswith("length "):
            self.send_header("Content-Length", action.partition(" ")[2])
        elif action != "no length":
            self.send_header("Content-Length", str(len(content) - start))
        self.end_headers()
        if action in ("drop", "stall"):
            self.wfile.write(content[start : start + 250_000])
            self.wfile.flush()
            if action == "stall":
                self.server.may_go_on.wait(10)
        elif action != "nothing":
            self.wfile.write(content[start:])

    def log_message(self, format, *args):
        pass


@pytest.fixture
def server():
    server = Server()
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield server
    server.may_go_on.set()
    server.shutdown()
    server.server_close()
    thread.join()


@pytest.fixture
def fetch(server, tmp_path):
    """Downloads birds.tgz; `fetch.waits` are the pauses between tries."""

    def fetch(**options):
        options = {"md5": MD5, "timeout": 5.0, "sleep": fetch.waits.append, **options}
        return download(server.url, tmp_path / "new" / "birds.tgz", **options)

    fetch.waits = []
    fetch.path = tmp_path / "new" / "birds.tgz"
    fetch.part = tmp_path / "new" / "birds.tgz.part"
    return fetch


def left_behind(fetch):
    return sorted(path.name for path in fetch.path.parent.iterdir())


@pytest.mark.parametrize("action", ["whole", "no range", "no length"])
def test_a_file_comes_whole(server, fetch, action):
    server.plan = [action]
    seen = []
    assert fetch(progress=lambda done, total: seen.append((done, total))) == fetch.path
    assert fetch.path.read_bytes() == CONTENT
    assert left_behind(fetch) == ["birds.tgz"]
    assert seen[-1] == (len(CONTENT), len(CONTENT))
    assert [done for done, _ in seen] == sorted({done for done, _ in seen})
    assert fetch.waits == []


def test_a_file_that_is_there_is_checked_and_kept(server, fetch):
    fetch()
    fetch()
    assert len(server.ranges) == 1
    fetch.path.write_bytes(b"half of it")
    with pytest.raises(DataError, match=r"birds.tgz has MD5 \w+, wanted \w+: it is damaged; delete it"):
        fetch()
    assert len(server.ranges) == 1


def test_a_dropped_connection_goes_on_where_it_ended(server, fetch):
    server.plan = ["drop", "drop", "whole"]
    fetch()
    assert fetch.path.read_bytes() == CONTENT
    assert server.ranges == [None, "bytes=250000-", "bytes=500000-"]
    assert fetch.waits == [1.0, 1.0]


def test_only_failures_in_a_row_count(server, fetch):
    server.plan = [500, "drop", 500, "drop", 500, "whole"]
    fetch(attempts=2)
    assert fetch.path.read_bytes() == CONTENT


def test_a_stall_counts_as_a_drop(server, fetch):
    server.plan = ["stall", "whole"]
    fetch(timeout=0.3)
    assert fetch.path.read_bytes() == CONTENT
    assert server.ranges == [None, "bytes=250000-"]


@pytest.mark.parametrize("action", ["no range", "from the start"])
def test_a_server_that_cannot_resume_starts_over(server, fetch, action):
    server.plan = ["drop", action]
    fetch()
    assert fetch.path.read_bytes() == CONTENT
    assert server.ranges == [None, "bytes=250000-"]


def test_what_an_interrupted_run_left_is_used(server, fetch):
    fetch.part.parent.mkdir()
    fetch.part.write_bytes(CONTENT[:1000])
    fetch()
    assert fetch.path.read_bytes() == CONTENT
    assert server.ranges == ["bytes=1000-"]


@pytest.mark.parametrize(
    "left", [CONTENT + b"more", b"x" * 1000, b"x" * len(CONTENT)], ids=["longer", "other", "other, whole"]
)
def test_what_another_file_left_is_thrown_away(server, fetch, left):
    fetch.part.parent.mkdir()
    fetch.part.write_bytes(left)
    fetch()
    assert fetch.path.read_bytes() == CONTENT
    assert server.ranges[-1] is None


def test_a_part_that_was_whole_is_not_fetched_again(server, fetch):
    fetch.part.parent.mkdir()
    fetch.part.write_bytes(CONTENT)
    fetch()
    assert fetch.path.read_bytes() == CONTENT
    assert server.ranges == [f"bytes={len(CONTENT)}-"]


def test_a_server_in_trouble_is_asked_again_and_again(server, fetch):
    server.plan = [500, 503, 429, "whole"]
    fetch()
    assert fetch.path.read_bytes() == CONTENT
    assert fetch.waits == [1.0, 2.0, 4.0]


@pytest.mark.parametrize(
    ("plan", "requests", "message"),
    [
        ([404], 1, "could not be downloaded: the server answered 404 Not Found; try again later, or get it"),
        ([403], 1, "the server answered 403 Forbidden"),
        ([500], 3, "the server answered 500 Internal Server Error"),
        (["nothing"], 3, "the connection ended after 0 of 700000 bytes"),
        (["length abc"], 1, "the server says that it sends 'abc' bytes"),
        (["length -1"], 1, "the server says that it sends '-1' bytes"),
        ([f"length {30 * '9'}"], 1, "bytes"),
        (["to ftp://127.0.0.1/birds.tgz"], 1, "unknown url type: ftp"),
        (["to file:///etc/passwd"], 1, "the server answered 302"),
        (["to http://[/"], 1, "Invalid IPv6 URL"),
    ],
)
def test_a_refusal_says_what_to_do_by_hand(server, fetch, plan, requests, message):
    server.plan = plan
    with pytest.raises(DataError) as raised:
        fetch(attempts=3)
    text = str(raised.value)
    assert message in text
    assert server.url in text
    assert f"get it by hand, put it at {fetch.path} and try again." in text
    assert "\n" not in text
    assert len(server.ranges) == requests
    assert not fetch.path.exists()


def test_a_server_that_never_answers(server, fetch):
    class Silent(Handler):
        def do_GET(self):
            self.server.may_go_on.wait(10)

    server.RequestHandlerClass = Silent
    with pytest.raises(DataError, match=r"nothing came for 0\.2 s"):
        fetch(attempts=2, timeout=0.2)


def test_the_wrong_bytes_are_not_kept(server, fetch):
    server.content = b"<html>please log in</html>"
    with pytest.raises(DataError, match=rf"gave a file with MD5 \w+, wanted {MD5}.*get it by hand"):
        fetch()
    assert left_behind(fetch) == []


def test_no_network(tmp_path, monkeypatch):
    def offline(*arguments, **options):
        raise socket.gaierror(-3, "Temporary failure in name resolution")

    monkeypatch.setattr(socket, "getaddrinfo", offline)
    waits = []
    with pytest.raises(DataError, match=r"no such server, or no network \(Temporary failure in name res"):
        download("http://data.example/birds.tgz", tmp_path / "birds.tgz", md5=MD5, sleep=waits.append)
    assert waits == []


def test_nobody_listens(tmp_path, server):
    server.shutdown()
    server.server_close()
    with pytest.raises(DataError, match="Connection refused"):
        download(server.url, tmp_path / "birds.tgz", md5=MD5, attempts=2, sleep=lambda seconds: None)


def test_two_at_a_time_fetch_a_file_once(server, fetch):
    server.plan = ["stall", "whole"]
    threads = [threading.Thread(target=fetch) for _ in range(2)]
    for thread in threads:
        thread.start()
    assert server.asked.wait(10)
    server.may_go_on.set()
    for thread in threads:
        thread.join()
    assert fetch.path.read_bytes() == CONTENT
    assert server.ranges == [None, "bytes=250000-"]
    assert left_behind(fetch) == ["birds.tgz"]


def test_a_whole_set_over_a_bad_line(server, cub_folder, tmp_path, monkeypatch, caplog):
    caplog.set_level(logging.INFO, logger="pixpnet")
    monkeypatch.setattr("pixpnet.data.sources.download", partial(download, sleep=lambda seconds: None))
    server.content = packed(cub_folder(size=(200, 150)), "CUB_200_2011")
    server.plan = ["drop", 503, "drop", "whole"]
    md5 = hashlib.md5(server.content).hexdigest()
    archive = Archive(url=server.url, md5=md5, folder="CUB_200_2011")
    monkeypatch.setitem(DATASETS, "CUB200", replace(DATASETS["CUB200"], archive=lambda config: archive))
    seen = []
    images = prepare("CUB200", tmp_path / "data", progress=lambda done, total: seen.append((done, total)))
    assert (images.root, len(images.train), len(images.test)) == (tmp_path / "data" / "CUB_200_2011", 12, 6)
    assert len(server.ranges) == 4
    assert (len(server.content), len(server.content)) in seen
    assert sorted(path.name for path in (tmp_path / "data").iterdir()) == ["CUB_200_2011", "birds.tgz"]
    assert prepare("CUB200224", tmp_path / "data").train[0].path == images.train[0].path
    assert len(server.ranges) == 4
    assert f"CUB200 is not in {tmp_path / 'data'}: downloading {server.url} and unpacking it" in caplog.text


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
    return extract(archive, archive.parent / "new" / "set", **{"folder": "set", **options})


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
    assert {path.stat().st_mode & 0o7022 for path in found.values()} == {0}
    assert [path.name for path in root.parent.iterdir()] == ["set"]
    assert seen[-1][1] == archive.stat().st_size
    assert 0 < seen[-1][0] <= seen[-1][1]


UNSAFE = {
    "above": member("set/../../x"),
    "link": member("set/x", type=tarfile.SYMTYPE, linkname="/etc"),
    "link above": member("set/x", type=tarfile.SYMTYPE, linkname="../../x"),
    "hard link": member("set/x", type=tarfile.LNKTYPE, linkname="../x"),
    "device": member("set/x", type=tarfile.CHRTYPE),
    "pipe": member("set/x", type=tarfile.FIFOTYPE),
    "long name": member(f"set/{256 * 'x'}"),
    "file and folder": member("set/images.txt/x"),
    "folder and file": member("set/images"),
    "link to nothing": member("set/x", type=tarfile.LNKTYPE, linkname="set/nothing"),
    "sparse": member("set/x", pax_headers={"GNU.sparse.major": "0", "GNU.sparse.map": "1,x"}),
    "sparse, newer": member("set/x", pax_headers={"GNU.sparse.major": "1", "GNU.sparse.minor": "0"}, size=9),
    "of no size": member("set/x", pax_headers={"size": "-5"}),
}


@pytest.mark.parametrize("case", UNSAFE)
def test_what_is_not_safe_stops_everything(write_archive, tmp_path, case):
    archive = write_archive(FILES, UNSAFE[case])
    with pytest.raises(
        DataError, match=r"birds\.tgz is damaged, cut short or not safe to unpack \("
    ) as raised:
        unpack(archive)
    assert "\n" not in str(raised.value)
    assert list((tmp_path / "new").iterdir()) == []
    assert sorted(path.name for path in tmp_path.iterdir()) == ["birds.tgz", "new"]


def test_without_the_filter_nothing_is_unpacked(write_archive, tmp_path, monkeypatch):
    archive = write_archive()
    monkeypatch.delattr(tarfile, "data_filter")
    with pytest.raises(DataError, match=r"can't refuse unsafe files .* unpack it by hand to .*set"):
        unpack(archive)
    assert not (tmp_path / "new" / "set").exists()


def test_absolute_names_are_taken_below(write_archive):
    root = unpack(write_archive(FILES, member("/set/x", size=3)))
    assert (root / "x").read_bytes() == b"xxx"


def cut(content):
    return content[: len(content) // 2]


DAMAGE = {
    "cut short": cut,
    "empty": lambda content: b"",
    "a page": lambda content: b"<html></html>" * 100,
    "cut inside of the tar": lambda content: gzip.compress(gzip.decompress(content)[:3000]),
}


@pytest.mark.parametrize("case", DAMAGE)
def test_a_damaged_archive_leaves_nothing(write_archive, tmp_path, case):
    noise = np.random.default_rng(0).bytes(20_000)
    archive = write_archive({"set/images/noise": noise, **FILES})
    archive.write_bytes(DAMAGE[case](archive.read_bytes()))
    with pytest.raises(DataError, match=r"birds.tgz is damaged, cut short .* \(.+\); delete it and get"):
        unpack(archive)
    assert list((tmp_path / "new").iterdir()) == []


def test_another_archive_is_told(write_archive):
    with pytest.raises(DataError, match="holds no folder 'cars'; it is not the archive that was wanted"):
        unpack(write_archive(), folder="cars")


def as_archive(folder: Path, inner: str) -> tuple[bytes, Archive]:
    content = packed(folder, inner)
    md5 = hashlib.md5(content).hexdigest()
    return content, Archive(url="https://data.example/a/set.tgz?download=1", md5=md5, folder=inner)


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
    monkeypatch.setattr("pixpnet.data.sources.download", download)
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

    monkeypatch.setattr("pixpnet.data.sources.download", offline)
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
    with pytest.raises(DataError, match=r"set\.tgz is damaged, cut short .*; delete it and get it again"):
        prepare("CIFAR10", tmp_path)
    assert sorted(path.name for path in (tmp_path / "cifar10").iterdir()) == []


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
