"""Downloads from a server that drops, stalls, refuses and lies."""

import hashlib
import logging
import shutil
import socket
import threading
import time
from dataclasses import replace
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import numpy as np
import pytest
from real_layouts import packed

from pixpnet.data import readers
from pixpnet.data.datasets import DATASETS, prepare
from pixpnet.data.download import _one_process as one_process
from pixpnet.data.download import check_md5, download
from pixpnet.data.spec import Archive
from pixpnet.errors import DataError

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
        if action != "no length":
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


def test_more_than_there_is_cannot_be_gone_on_with(server, fetch):
    fetch.part.parent.mkdir()
    fetch.part.write_bytes(CONTENT + b"more")
    fetch(md5=None)
    assert fetch.path.read_bytes() == CONTENT


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
        ([500], 3, "the server answered 500 Internal Server Error, 3 times in a row"),
        (["nothing"], 3, "the connection ended after 0 of 700000 bytes, 3 times in a row"),
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
    with pytest.raises(DataError, match=r"nothing came for 0\.2 s, 2 times in a row"):
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
        download("http://data.example/birds.tgz", tmp_path / "birds.tgz", sleep=waits.append)
    assert waits == []


def test_nobody_listens(tmp_path, server):
    server.shutdown()
    server.server_close()
    with pytest.raises(DataError, match="Connection refused, 2 times in a row"):
        download(server.url, tmp_path / "birds.tgz", attempts=2, sleep=lambda seconds: None)


def test_a_full_disk_is_told_at_once(server, fetch, monkeypatch):
    monkeypatch.setattr(shutil, "disk_usage", lambda path: shutil._ntuple_diskusage(10**6, 10**6, 600_000))
    with pytest.raises(DataError, match=r"has 0\.0 GB free, the download needs 0\.0 GB more; make room"):
        fetch()


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


def test_a_third_process_waits_for_the_one_that_waited(tmp_path, caplog):
    caplog.set_level(logging.INFO, logger="pixpnet")
    fcntl = pytest.importorskip("fcntl")
    entered, may_leave = threading.Event(), threading.Event()

    def second():
        with one_process(tmp_path / "birds.tgz"):
            entered.set()
            may_leave.wait(10)

    thread = threading.Thread(target=second)
    with one_process(tmp_path / "birds.tgz"):
        thread.start()
        while "waiting for it" not in caplog.text:
            time.sleep(0.01)
        time.sleep(0.1)
    assert entered.wait(10)
    with (tmp_path / ".birds.tgz.lock").open("w") as file, pytest.raises(BlockingIOError):
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    may_leave.set()
    thread.join()


def test_md5(tmp_path):
    (tmp_path / "file").write_bytes(CONTENT)
    check_md5(tmp_path / "file", MD5)
    with pytest.raises(DataError, match="delete it and get it again"):
        check_md5(tmp_path / "file", "0" * 32)


def test_a_whole_set_over_a_bad_line(server, cub_folder, tmp_path, monkeypatch, caplog):
    caplog.set_level(logging.INFO, logger="pixpnet")
    monkeypatch.setattr(readers, "download", partial(download, sleep=lambda seconds: None))
    server.content = packed(cub_folder(size=(200, 150)), "CUB_200_2011")
    server.plan = ["drop", 503, "drop", "whole"]
    md5 = hashlib.md5(server.content).hexdigest()
    archive = Archive(url=server.url, md5=md5, folder="CUB_200_2011", limit=10**8)
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
