"""Models on a hub: a small server speaks its paths, keeps what is sent, and misbehaves if told to."""

from __future__ import annotations

import base64
import hashlib
import json
import re
import shutil
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import unquote, urlsplit

import huggingface_hub
import numpy as np
import pytest
import torch

import pixpnet
from pixpnet import CheckpointError, ConfigError, DataError, Model
from pixpnet.certificate import find_certificate, write_certificate
from pixpnet.cli import main

NAME = "someone/birds"
API = re.compile(r"/api/models/([^/]+/[^/]+)/(revision|tree|preupload|commit)/([^/]+)")
FILE = re.compile(r"/([^/]+/[^/]+)/resolve/([^/]+)/(.+)")


class Hub(ThreadingHTTPServer):
    """Repositories, each with its commits and what `main` points to."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Answer)
        self.commits: dict[str, dict[str, dict[str, bytes]]] = {}
        self.main: dict[str, str] = {}
        self.created: list[dict] = []
        self.asked: list[str] = []
        self.refusal: tuple[int, str] | None = None
        self.damage: str | None = None

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"

    def commit(self, name: str, files: dict[str, bytes]) -> str:
        sha = hashlib.sha1(repr(sorted(files.items())).encode()).hexdigest()
        self.commits.setdefault(name, {})[sha] = files
        self.main[name] = sha
        return sha


class Answer(BaseHTTPRequestHandler):
    server: Hub

    def do_GET(self) -> None:
        self.server.asked.append(self.path)
        path = unquote(urlsplit(self.path).path)
        if self.server.refusal:
            self.refuse(*self.server.refusal)
        elif api := API.fullmatch(path):
            self.describe(*api.groups())
        elif file := FILE.fullmatch(path):
            self.send_file(*file.groups())
        else:
            self.refuse(404, "EntryNotFound")

    do_HEAD = do_GET

    def do_POST(self) -> None:
        self.server.asked.append(self.path)
        body = self.rfile.read(int(self.headers["Content-Length"]))
        api = API.fullmatch(unquote(urlsplit(self.path).path))
        if self.server.refusal:
            self.refuse(*self.server.refusal)
        elif self.path == "/api/repos/create":
            asked = json.loads(body)
            self.server.created.append(asked)
            name = f"{asked['organization']}/{asked['name']}"
            is_there = name in self.server.main
            if not is_there:
                self.server.commit(name, {".gitattributes": b""})
            self.tell({"url": f"{self.server.address}/{name}"}, status=409 if is_there else 200)
        elif api and api[2] == "preupload":
            plain = {"uploadMode": "regular", "shouldIgnore": False}
            self.tell({"files": [{"path": one["path"], **plain} for one in json.loads(body)["files"]]})
        elif api and api[2] == "commit":
            self.keep(api[1], [json.loads(line) for line in body.splitlines()])
        else:
            self.tell({})

    def keep(self, name: str, operations: list[dict]) -> None:
        files = dict(self.server.commits[name][self.server.main[name]])
        for one in operations:
            if one["key"] == "file":
                files[one["value"]["path"]] = base64.b64decode(one["value"]["content"])
            elif one["key"] == "deletedFile":
                del files[one["value"]["path"]]
        sha = self.server.commit(name, files)
        self.tell({"commitUrl": f"{self.server.address}/{name}/commit/{sha}", "commitOid": sha})

    def files_of(self, name: str, revision: str) -> tuple[str, dict[str, bytes]] | None:
        if name not in self.server.main:
            return self.refuse(404, "RepoNotFound")
        sha = self.server.main[name] if revision == "main" else revision
        if sha not in self.server.commits[name]:
            return self.refuse(404, "RevisionNotFound")
        return sha, self.server.commits[name][sha]

    def describe(self, name: str, what: str, revision: str) -> None:
        if found := self.files_of(name, revision):
            sha, files = found
            if what == "revision":
                siblings = [{"rfilename": path} for path in files]
                return self.tell({"id": name, "sha": sha, "siblings": siblings})
            self.tell(
                [
                    {"type": "file", "path": path, "size": len(data), "oid": hashlib.sha1(data).hexdigest()}
                    for path, data in files.items()
                ]
            )

    def send_file(self, name: str, revision: str, path: str) -> None:
        found = self.files_of(name, revision)
        if not found:
            return
        sha, files = found
        if path not in files:
            return self.refuse(404, "EntryNotFound")
        data, is_whole = files[path], True
        if path == "model.safetensors" and self.command == "GET":
            if self.server.damage == "another file":
                data = bytes([*data[:-1], data[-1] ^ 1])
            elif self.server.damage == "shorter than announced":
                data = data[:-10]
            elif self.server.damage == "cut off":
                is_whole = False
        start = int(self.headers.get("Range", "bytes=0-")[6:-1])
        self.send_response(206 if start else 200)
        self.send_header("ETag", f'"{hashlib.sha1(files[path]).hexdigest()}"')
        self.send_header("X-Repo-Commit", sha)
        self.send_header("Content-Length", str(len(data) - start))
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(data[start:] if is_whole else data[start : len(data) // 2])

    def tell(self, values: object, *, status: int = 200) -> None:
        data = json.dumps(values).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def refuse(self, status: int, code: str) -> None:
        self.send_response(status)
        self.send_header("X-Error-Code", code)
        self.send_header("X-Error-Message", code)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture(scope="module")
def model(tiny_run: Path, tmp_path_factory: pytest.TempPathFactory) -> Model:
    own = pixpnet.load(shutil.copytree(tiny_run, tmp_path_factory.mktemp("model") / "run"))
    write_certificate(pixpnet.verify(own, trials=2), own.checkpoint)
    return own


@pytest.fixture(scope="module")
def saved(model: Model, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return model.save_pretrained(tmp_path_factory.mktemp("saved") / "model", licence="CC0-1.0")


def contents(folder: Path) -> dict[str, bytes]:
    files = (path for path in folder.rglob("*") if path.is_file())
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in files}


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    server = Hub()
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
    monkeypatch.setenv("HF_ENDPOINT", server.address)
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_DISABLE_TELEMETRY", True)  # it asks the real hub
    huggingface_hub.close_session()
    yield server
    server.shutdown()
    server.server_close()
    huggingface_hub.close_session()


@pytest.fixture
def filled(hub: Hub, saved: Path) -> Hub:
    hub.commit(NAME, {**contents(saved), "pickled.bin": b"cos\nsystem\n", ".gitattributes": b""})
    return hub


def fetched(folder: Path, **options) -> Model:
    return Model.from_pretrained(NAME, cache_dir=folder, token=False, **options)


def assert_same(found: Model, model: Model) -> None:
    images = torch.randn(2, 3, *model.image_size, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        assert torch.equal(found.network(images).logits, model.network(images).logits)
    assert (found.sources, found.class_names) == (model.sources, model.class_names)


def test_what_is_pushed_comes_back(model: Model, saved: Path, hub: Hub, tmp_path: Path) -> None:
    address = model.push_to_hub(NAME, token="secret", licence="CC0-1.0")
    assert address == f"{hub.address}/{NAME}/commit/{hub.main[NAME]}"
    assert hub.created == [{"name": "birds", "organization": "someone", "visibility": "private"}]
    found = fetched(tmp_path)
    assert_same(found, model)
    assert contents(found.checkpoint.parent) == contents(saved)
    assert find_certificate(found) is not None
    for source in model.sources:
        assert np.array_equal(found.source_image(source), model.source_image(source))


def test_another_push_replaces_the_model_and_nothing_else(model: Model, hub: Hub, tmp_path: Path) -> None:
    model.push_to_hub(NAME, token="secret")
    first = hub.main[NAME]
    hub.commit(NAME, {**hub.commits[NAME][first], "LICENSE": b"mine"})
    model.push_to_hub(NAME, token="secret", thumbnails=False)
    files = hub.commits[NAME][hub.main[NAME]]
    assert files["LICENSE"] == b"mine"
    assert not any(path.startswith("thumbnails/") for path in files)
    assert not (fetched(tmp_path).checkpoint.parent / "thumbnails").exists()
    assert (fetched(tmp_path, revision=first).checkpoint.parent / "thumbnails").is_dir()


def test_nothing_but_a_model_is_fetched(filled: Hub, tmp_path: Path) -> None:
    folder = fetched(tmp_path).checkpoint.parent
    assert not any("pickled.bin" in path for path in filled.asked)
    assert set(contents(folder)) == set(filled.commits[NAME][filled.main[NAME]]) - {
        "pickled.bin",
        ".gitattributes",
    }


def test_a_folder_needs_no_hub(
    saved: Path, model: Model, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    assert_same(Model.from_pretrained(saved), model)
    with pytest.raises(ConfigError, match="is a folder here, which has no revision 'v1'"):
        Model.from_pretrained(saved, revision="v1")
    with pytest.raises(DataError, match=r"no folder .*nowhere"):
        Model.from_pretrained(saved, dataset_root=tmp_path / "nowhere")
    for call in (fetched, lambda _: model.push_to_hub(NAME)):
        with pytest.raises(ConfigError, match=r"pip install 'pixpnet\[hub\]'"):
            call(tmp_path)


OFFLINE = {
    "asked for": lambda patch, hub: {"local_files_only": True},
    "by the environment": lambda patch, hub: (
        patch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True) or {}
    ),
    "the hub is gone": lambda patch, hub: hub.shutdown() or hub.server_close() or {},
    "the hub has a fault": lambda patch, hub: setattr(hub, "refusal", (500, "")) or {},
}


@pytest.mark.parametrize("how", OFFLINE)
def test_what_was_fetched_once_needs_no_hub(
    how: str, filled: Hub, model: Model, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fetched(tmp_path / "cache")
    filled.asked.clear()
    options = OFFLINE[how](monkeypatch, filled)
    assert_same(fetched(tmp_path / "cache", **options), model)
    assert not any("resolve" in path for path in filled.asked)
    with pytest.raises(
        CheckpointError, match=r"not whole in the cache.*; go online, and try again\.$"
    ) as told:
        fetched(tmp_path / "empty", **options)
    assert "\n" not in str(told.value)


BROKEN = {
    "cut off": r"can't be fetched from the hub: .*; try again\.$",
    "shorter than announced": r"can't be fetched from the hub: .*size.*; try again\.$",
    "another file": r"is not the file that config\.json beside it was written for",
}


@pytest.mark.parametrize("damage", BROKEN)
def test_a_broken_download_is_refused(
    damage: str, filled: Hub, model: Model, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("time.sleep", lambda _: None)  # it waits a second before each of five attempts
    filled.damage = damage
    with pytest.raises(CheckpointError, match=BROKEN[damage]) as told:
        fetched(tmp_path)
    assert "\n" not in str(told.value)
    if damage != "another file":  # that one is whole, as far as the hub's library can know
        filled.damage = None
        assert_same(fetched(tmp_path), model)


REFUSALS = {
    (404, "RepoNotFound"): "there is no such repository for you; .*`hf auth login`",
    (404, "RevisionNotFound"): "it has no revision 'v9'",
    (403, "GatedRepo"): "its owner chooses who gets it",
    (401, ""): "`hf auth login`",
}


@pytest.mark.parametrize("refusal", REFUSALS, ids=str)
def test_a_refusal_says_what_to_do(refusal: tuple[int, str], filled: Hub, tmp_path: Path) -> None:
    filled.refusal = refusal
    with pytest.raises(
        CheckpointError, match=f"^someone/birds is no folder here, .*{REFUSALS[refusal]}"
    ) as told:
        fetched(tmp_path, revision="v9")
    assert "\n" not in str(told.value)


@pytest.mark.parametrize(
    ("refusal", "said"),
    [
        ((401, ""), "hf auth login"),
        ((403, ""), "hf auth login"),
        ((413, "too large"), "too large; try again"),
    ],
)
def test_a_hub_that_does_not_take_it_is_told(
    refusal: tuple[int, str], said: str, model: Model, hub: Hub
) -> None:
    hub.refusal = refusal
    with pytest.raises(CheckpointError, match=f"^the model can't be sent to someone/birds: .*{said}") as told:
        model.push_to_hub(NAME, token="secret")
    assert "\n" not in str(told.value)
    assert "secret" not in str(told.value)


def test_what_is_no_model_is_told(
    hub: Hub, tmp_path: Path, capsys: pytest.CaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    hub.commit(NAME, {"pytorch_model.bin": b"", "README.md": b""})
    with pytest.raises(CheckpointError, match=r"no model of PixPNet: it has no model\.safetensors"):
        fetched(tmp_path)
    with pytest.raises(CheckpointError, match="no repository can be named so; wanted USER/NAME"):
        Model.from_pretrained(tmp_path / "nothing")
    monkeypatch.chdir(tmp_path.parent)
    assert main(["verify", NAME]) == 1
    assert "`hf download someone/birds --local-dir DIR`" in capsys.readouterr().err
    assert main(["verify", f"{tmp_path.name}/birds"]) == 1  # a folder that is here: somebody mistyped
    assert "hf download" not in capsys.readouterr().err
