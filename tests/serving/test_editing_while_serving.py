"""Prototypes edited while their network is served: what is kept, who may, and who answers whom."""

from __future__ import annotations

import json
import shutil
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from starlette.testclient import TestClient

import pixpnet
from pixpnet import Change, CheckpointError, ConfigError, edit, list_prototypes, load, suggest
from pixpnet.cli import main
from pixpnet.runs import Run, RunDirectory, find_calibration, read_history
from pixpnet.serving import Limits, create_app

HERE = {"base_url": "http://localhost"}
PAGE = {"X-PixPNet-Edit": "yes"}
DISABLE = {"changes": [{"do": "disable", "prototypes": [1]}], "by": "anna", "why": "a twig"}


@pytest.fixture(scope="module")
def looked_at(tiny_run: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run whose images were looked at."""
    folder = Path(shutil.copytree(tiny_run, tmp_path_factory.mktemp("looked") / "run"))
    list_prototypes(folder)
    find_calibration(load(folder))
    return folder


@pytest.fixture
def run(looked_at: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(looked_at, tmp_path / "run"))


@pytest.fixture
def client(run: Path) -> Iterator[TestClient]:
    with TestClient(create_app(load(run), editable=True), **HERE, headers=PAGE) as client:
        yield client


@pytest.fixture(scope="module")
def photo(birds: Path) -> bytes:
    return min((birds / "images").rglob("*test*.png")).read_bytes()


def listed(run: Path) -> str:
    file = RunDirectory(run).edits_file
    return file.read_text(encoding="utf-8") if file.exists() else ""


def asked(client: TestClient, **wanted) -> dict:
    """An edit as the page asks for it, of the list as it is."""
    answer = client.post("/v1/edits", json={"follows": client.get("/v1/edits").json()["follows"], **wanted})
    assert answer.status_code == 200, answer.text
    return answer.json()


def seen_by(run: Path, photo: bytes) -> list:
    """What the network in force says of a picture: each prototype's number, image and contribution."""
    (one,) = pixpnet.predict(run, photo, top_k=9)
    return [
        (found.prototype, found.source.image_id, pytest.approx(found.contribution, abs=1e-3))
        for found in one.evidence
    ]


def seen(answer) -> list:
    assert answer.status_code == 200, answer.text
    return [
        (found["prototype"], found["source"]["image_id"], found["contribution"])
        for found in answer.json()["evidence"]
    ]


def refused(answer, status: int, words: str) -> None:
    assert (answer.status_code, list(answer.json())) == (status, ["error"]), answer.text
    assert words in answer.json()["error"]
    assert "\n" not in answer.json()["error"]


def test_an_edit_is_tried_then_kept_then_taken_back(client, run, photo):
    def ask() -> list:
        return seen(client.post("/v1/predict?top_k=9", content=photo))

    first, before, sources = ask(), client.get("/v1/edits").json(), load(run).sources
    assert (before["edits"], before["undo"], before["redo"]) == ([], None, None)
    tried = asked(client, **DISABLE)
    assert (tried["kept"], listed(run), ask()) == (False, "", first)
    assert client.get("/v1/edits").json() == before

    kept = asked(client, **DISABLE, keep=True)
    assert {**kept, "edit": None, "told": None, "kept": None} == {
        **tried,
        "edit": None,
        "told": None,
        "kept": None,
    }
    (line,) = read_history(RunDirectory(run)).lines
    assert (line.by, line.why, line.changes) == ("anna", "a twig", (Change("disable", (1,)),))
    assert len(ask()) == len(first) - 1
    assert ask() == seen_by(run, photo)
    shown = client.get("/v1/prototypes").json()["classes"]
    assert [len(one["prototypes"]) for one in shown] == [1, 2, 2]
    after = client.get("/v1/edits").json()
    assert after["network"] == load(run).checkpoint.name != before["network"]
    assert (after["undo"], after["redo"]) == (str(line.alone), None)
    assert [(one["now"], one["flags"]) for one in after["prototypes"][:3]][1] == (None, ["disabled"])
    for one, source in zip(after["prototypes"], sources, strict=True):
        assert one["image_id"] == source.image_id
        assert client.get("/v1/images", params={"id": one["image_id"]}).status_code == 200

    asked(client, changes=[{"do": "undo"}], by="eve", keep=True)
    assert ask() == first
    assert client.get("/v1/edits").json()["redo"] == str(line.alone)
    asked(client, changes=[{"do": "redo"}], by="eve", keep=True)
    assert ask() == seen_by(run, photo)
    assert [one["by"] for one in client.get("/v1/edits").json()["edits"]] == ["anna", "eve", "eve"]


def test_it_shows_what_the_functions_say(client, run):
    wanted = edit(run, Change("disable", (1,)), by="anna", why="a twig", dry_run=True)
    told = asked(client, **DISABLE)
    assert told["rows"] == [list(row) for row in wanted.rows()]
    assert {name for name, *_ in told["rows"]} >= {"prototypes", "accuracy", "mean field"}
    assert (told["changed"], told["after"]["accuracy"]) == (wanted.changed, wanted.after.accuracy)
    for given, one in zip(client.get("/v1/edits").json()["prototypes"], list_prototypes(run), strict=True):
        assert (given["prototype"], given["class_name"], given["image"]) == (
            one.prototype,
            one.class_name,
            one.image,
        )
        assert (given["weight"], given["flags"], given["box"]) == (one.weight, [*one.flags], [*one.box])
    offered, found = client.get("/v1/edits/suggestions").json(), suggest(run)
    assert [(one["told"], one["cost"], one["is_free"]) for one in offered] == [
        (str(one.change), one.cost, one.is_free) for one in found
    ]
    free = [change for one in offered if one["is_free"] for change in one["changes"]]
    assert free
    assert asked(client, changes=free, by="anna")["after"]["prototypes"] == 6 - len(free)


def test_what_another_process_kept_is_followed_and_never_overwritten(client, run, photo):
    follows = client.get("/v1/edits").json()["follows"]
    edit(run, Change("disable", (3,)), by="eve")
    kept = listed(run)
    for keep in (False, True):
        answer = client.post("/v1/edits", json={**DISABLE, "follows": follows, "keep": keep})
        refused(answer, 422, "another edit was kept meanwhile")
    assert listed(run) == kept
    assert client.get("/v1/edits").json()["edits"][0]["by"] == "eve"
    assert seen(client.post("/v1/predict?top_k=9", content=photo)) == seen_by(run, photo)


def test_while_another_process_writes_it_is_refused(client, run):
    follows = client.get("/v1/edits").json()["follows"]
    with RunDirectory(run).writing():
        answer = client.post("/v1/edits", json={**DISABLE, "follows": follows, "keep": True})
        refused(answer, 422, "is being written to by process")
    assert listed(run) == ""
    assert asked(client, **DISABLE, keep=True)["kept"]


def held(run: Path) -> tuple[Run, threading.Event, threading.Event]:
    """A run whose network tells that it begins, and goes on when it is let."""
    loaded, begun, released = load(run), threading.Event(), threading.Event()

    def hold(*_) -> None:
        begun.set()
        assert released.wait(60)

    loaded.network.register_forward_pre_hook(hold)
    return loaded, begun, released


def test_pictures_that_wait_are_answered_by_one_network_or_the_other(run, photo):
    """One is being answered while an edit comes, and one comes behind it; an edit may take its time."""
    loaded, begun, released = held(run)
    app = create_app(loaded, editable=True, limits=Limits(timeout=60, max_waiting=4))
    before = seen_by(run, photo)
    with TestClient(app, **HERE, headers=PAGE) as client, ThreadPoolExecutor(3) as pool:
        follows = read_history(RunDirectory(run)).checksum

        def waiting(count: int) -> None:
            while f"pixpnet_waiting {count:.1f}" not in client.get("/metrics").text:
                time.sleep(0.01)

        def predict():
            return client.post("/v1/predict?top_k=9", content=photo)

        first = pool.submit(predict)
        assert begun.wait(60)
        kept = pool.submit(client.post, "/v1/edits", json={**DISABLE, "follows": follows, "keep": True})
        waiting(2)
        second = pool.submit(predict)
        waiting(3)
        released.set()
        assert kept.result().json()["kept"]
        assert seen(first.result()) == before
        assert seen(second.result()) == seen_by(run, photo) != before


def test_an_edit_has_no_time_limit(run, photo):
    """A picture before it takes too long, and is told so; the edit waits on."""
    loaded, begun, released = held(run)
    app = create_app(loaded, editable=True, limits=Limits(timeout=0.5))
    with TestClient(app, **HERE, headers=PAGE) as client, ThreadPoolExecutor(2) as pool:
        slow = pool.submit(client.post, "/v1/predict", content=photo)
        assert begun.wait(60)
        state = pool.submit(client.get, "/v1/edits")
        assert slow.result().status_code == 503
        released.set()
        assert state.result().status_code == 200


def test_pages_of_others_cannot_edit(client, run):
    wanted = {**DISABLE, "follows": client.get("/v1/edits").json()["follows"], "keep": True}
    plain = {"content": json.dumps(wanted), "headers": {"Content-Type": "text/plain"}}
    del client.headers["X-PixPNet-Edit"]
    refused(client.post("/v1/edits", **plain), 403, "X-PixPNet-Edit")  # what a form could send
    for path in ("/v1/edits", "/v1/edits/suggestions"):
        refused(client.get(path), 403, "X-PixPNet-Edit")
    evil = {"Origin": "http://evil.example"}
    answer = client.options("/v1/edits", headers={**evil, "Access-Control-Request-Headers": "x-pixpnet-edit"})
    assert answer.status_code == 403
    assert not any(name.startswith("access-control") for name in answer.headers)
    client.headers.update(PAGE)
    refused(client.post("/v1/edits", json=wanted, headers=evil), 403, "other servers")
    refused(client.post("/v1/edits", json=wanted, headers={"Host": "evil.example"}), 421, "another name")
    assert listed(run) == ""
    assert client.post("/v1/edits", json=wanted, headers={"Origin": HERE["base_url"]}).status_code == 200


REFUSED = {
    "no JSON": (b"{", "this is no edit"),
    "no text": (b"\xff", "this is no edit"),
    "too deep": (b"[" * 100_000, "this is no edit"),
    "a list": ([], "this is no edit"),
    "a number that is none": ({"changes": [{"do": "disable", "prototypes": ["1"]}]}, "changes[0].prototypes"),
    "something more": ({"also": 1}, "this is no edit"),
    "nothing": ({"changes": []}, "give one change or more"),
    "nobody": ({"by": " "}, "say who edits"),
    "another change": ({"changes": [{"do": "sing", "prototypes": [1]}]}, "do='sing'"),
    "no such prototype": ({"changes": [{"do": "disable", "prototypes": [6]}]}, "there is no prototype 6"),
    "the last one": ({"changes": [{"do": "disable", "prototypes": [0, 1]}]}, "would lose the last prototype"),
    "two lines": ({"why": "a\u2028b"}, "a text is one line"),
    "no letters": ({"by": "\ud800"}, "a text is one line"),
    "nothing to undo": ({"changes": [{"do": "undo"}]}, "there is no edit to undo"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_no_edit_is_refused_in_one_line(client, run, name):
    given, words = REFUSED[name]
    if isinstance(given, dict):
        follows = read_history(RunDirectory(run)).checksum
        given = json.dumps({**DISABLE, "follows": follows, "keep": True, **given}).encode()
    elif isinstance(given, list):
        given = json.dumps(given).encode()
    refused(client.post("/v1/edits", content=given), 422, words)
    assert listed(run) == ""


def test_what_is_too_large_is_refused(run):
    with TestClient(create_app(load(run), editable=True, limits=Limits(max_bytes=100)), **HERE) as client:
        refused(client.post("/v1/edits", content=bytes(101), headers=PAGE), 413, "takes 100 bytes")


def test_only_a_run_in_force_is_editable_and_elsewhere_only_with_a_token(run, tmp_path, capsys):
    with pytest.raises(ConfigError, match="with a token only"):
        create_app(load(run), editable=True, hosts=None)
    assert main(["serve", str(run), "--editable", "--host", "0.0.0.0"]) == 2
    assert capsys.readouterr().err.count("\n") == 1
    exported = pixpnet.export(run, tmp_path / "model")
    assert main(["serve", str(exported), "--editable", "--port", "0"]) == 1
    told = capsys.readouterr().err
    assert "stands alone" in told
    assert told.count("\n") == 1
    edit(run, Change("disable", (1,)))
    with pytest.raises(CheckpointError, match="is not in force"):
        create_app(load(RunDirectory(run).chosen_checkpoint()), editable=True)
    RunDirectory(run).scores_file.unlink()
    with pytest.raises(CheckpointError, match="is not finished"):
        create_app(load(run), editable=True)


def test_unasked_nothing_can_be_edited(run):
    with TestClient(create_app(load(run)), **HERE, headers=PAGE) as client:
        assert client.get("/v1/edits").status_code == 404
        assert client.post("/v1/edits", json=DISABLE).status_code == 404
        assert "edit.js" not in client.get("/").text
        assert "/v1/edits" not in client.get("/openapi.json").json()["paths"]


def test_the_api_is_described(client):
    paths = client.get("/openapi.json").json()["paths"]
    assert set(paths["/v1/edits"]) == {"get", "post"}
    body = paths["/v1/edits"]["post"]["requestBody"]["content"]["application/json"]["schema"]
    assert set(body["properties"]) == {"changes", "follows", "by", "why", "keep"}
    assert "X-PixPNet-Edit" in {one["name"] for one in paths["/v1/edits"]["post"]["parameters"]}
    assert "/v1/edits/suggestions" in paths
