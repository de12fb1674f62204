"""The server, asked in the test's own process: right answers, to their owners, and one line for all else."""

from __future__ import annotations

import asyncio
import io
import logging
import re
import shutil
import sys
import tempfile
import threading
import time
import zlib
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from anyio.from_thread import start_blocking_portal
from PIL import Image
from starlette.testclient import TestClient
from torch import Tensor

import pixpnet
from pixpnet import ConfigError, Model, explain
from pixpnet.cli import main
from pixpnet.runs import Run, find_calibration, load
from pixpnet.serving import Limits, create_app

HERE = {"base_url": "http://localhost"}


@pytest.fixture(scope="module")
def run(tiny_run: Path, tmp_path_factory: pytest.TempPathFactory) -> Model:
    folder = Path(shutil.copytree(tiny_run, tmp_path_factory.mktemp("run") / "run"))
    find_calibration(load(folder))
    return pixpnet.load(folder)


@pytest.fixture(scope="module")
def photos(birds: Path) -> list[Path]:
    return sorted((birds / "images").rglob("*test*.png"))


@pytest.fixture(scope="module")
def client(run: Run) -> Iterator[TestClient]:
    with TestClient(create_app(run), **HERE) as client:
        yield client


def error_of(answer) -> str:
    """The one line that an answer says."""
    assert answer.headers["content-type"] == "application/json"
    (words,) = answer.json().values()
    assert "error" in answer.json()
    assert words
    assert "\n" not in words
    assert "Traceback" not in words
    return words


def png(width: int = 32, height: int = 24, **options) -> bytes:
    file = io.BytesIO()
    Image.new("RGB", (width, height), "red").save(file, options.pop("format", "PNG"), **options)
    return file.getvalue()


def predicted(run: Model, photo: Path, *, top_k: int = 3) -> dict:
    (one,) = run.predict(photo, top_k=top_k)
    return replace(one, path=photo.name).to_dict()


def same(answer: dict, wanted: dict) -> None:
    """Equal, but for the rounding of other batches."""
    if isinstance(wanted, dict):
        assert list(answer) == list(wanted)
        for name, value in wanted.items():
            same(answer[name], value)
    elif isinstance(wanted, (list, tuple)):
        assert len(answer) == len(wanted)
        for one, other in zip(answer, wanted, strict=True):
            same(one, other)
    else:
        assert answer == (pytest.approx(wanted, rel=1e-3, abs=1e-3) if isinstance(wanted, float) else wanted)


def test_a_form_and_bare_bytes_get_what_predict_says(client, run, photos):
    wanted = predicted(run, photos[0])
    assert wanted["unfamiliar"] is not None
    in_form = client.post("/v1/predict", files={"file": photos[0].open("rb")})
    same(in_form.json(), wanted)
    bare = client.post("/v1/predict?top_k=5", content=photos[0].read_bytes())
    same(bare.json(), predicted(run, photos[0], top_k=5) | {"path": "picture"})
    assert client.post("/v1/predict?top_k=0", content=photos[0].read_bytes()).json()["evidence"] == []


@contextmanager
def before(run: Run, do: Callable[[Tensor], object]) -> Iterator[None]:
    """Let something happen before each forward pass, told its pictures."""

    def hook(_, given):
        do(given[0])

    handle = run.network.register_forward_pre_hook(hook)
    try:
        yield
    finally:
        handle.remove()


def counted(client: TestClient, name: str) -> float:
    found = re.search(rf"^pixpnet_{name} (\S+)$", client.get("/metrics").text, re.MULTILINE)
    return float(found[1])


def test_pictures_that_wait_together_get_their_own_answers(run, photos):
    released, sizes = threading.Event(), []
    given = [data for photo in photos for data in (photo.read_bytes(), b"no picture")][:-1]

    def hold(images: Tensor) -> None:
        sizes.append(len(images))
        assert released.wait(60)

    with (
        before(run, hold),
        TestClient(create_app(run), **HERE) as client,
        ThreadPoolExecutor(len(given) + 1) as pool,
    ):

        def ask(data: bytes, top_k: int):
            return client.post(f"/v1/predict?top_k={top_k}", content=data)

        first = pool.submit(ask, png(), 1)
        while not sizes:
            time.sleep(0.01)
        answers = [pool.submit(ask, data, number % 4) for number, data in enumerate(given)]
        while counted(client, "waiting") < 1 + len(photos):  # those of no picture need not wait
            time.sleep(0.01)
        released.set()
        assert first.result().status_code == 200
        told = [answer.result() for answer in answers]
        assert sizes == [1, 8, len(photos) - 8]
        assert counted(client, "batch_pictures_count") == 3
        for number, (data, answer) in enumerate(zip(given, told, strict=True)):
            if data == b"no picture":
                assert answer.status_code == 422
                continue
            (wanted,) = run.predict(data, top_k=number % 4)
            same(answer.json(), replace(wanted, path="picture").to_dict())


def test_a_fault_in_a_batch_is_nobody_elses(run, photos, caplog):
    """Whatever breaks with one picture, the others of its batch are answered."""

    def fail(images: Tensor) -> None:
        if (images.amax(dim=(2, 3)) == images.amin(dim=(2, 3))).all(dim=1).any():
            raise ZeroDivisionError("unforeseen")

    given = [photos[0].read_bytes(), png(), photos[1].read_bytes()] * 2
    with before(run, fail), TestClient(create_app(run), **HERE) as client, ThreadPoolExecutor(6) as pool:
        answers = [*pool.map(lambda data: client.post("/v1/predict", content=data), given)]
    assert [one.status_code for one in answers] == [200, 500, 200] * 2
    assert error_of(answers[1]) == "something went wrong here; the server's log says what."
    assert answers[1].headers["x-content-type-options"] == "nosniff"
    assert "ZeroDivisionError: unforeseen" in caplog.text


def test_a_contrast_is_that_of_explain(client, run, photos):
    explanation = explain(run, photos[0])
    contrast = explanation.against(explanation.runner_up)
    answer = client.post(
        f"/v1/contrast?against={run.class_names[contrast.other]}&top_k=2", content=photos[0].read_bytes()
    ).json()
    wanted = [*contrast.for_target[:2], *reversed(contrast.for_other[:2])]
    same(answer, contrast.to_dict() | {"shares": [share.to_dict() for share in wanted]})
    data = photos[0].read_bytes()
    told = error_of(client.post(f"/v1/contrast?against={contrast.target}", content=data))
    assert "is the predicted class" in told
    assert "is not one of the classes" in error_of(client.post("/v1/contrast?against=rook", content=data))


def test_pictures_and_figures_to_show(client, photos):
    data = photos[0].read_bytes()
    figure = client.post("/v1/figure?top_k=2", content=data)
    assert figure.headers["content-type"] == "image/png"
    assert Image.open(io.BytesIO(figure.content)).size[0] > 500
    turned = io.BytesIO()
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.new("RGB", (2000, 1000)).save(turned, "JPEG", exif=exif)
    shown = client.post("/v1/picture", content=turned.getvalue()).json()
    assert (shown["width"], shown["height"]) == (1000, 2000)
    assert shown["jpeg"].startswith("data:image/jpeg;base64,")


def test_prototypes_are_listed_and_shown(client, run):
    everything = client.get("/v1/prototypes").json()
    assert [one["class_name"] for one in everything["classes"]] == list(run.class_names)
    assert (everything["height"], everything["width"]) == run.image_size
    (chosen,) = client.get("/v1/prototypes", params={"class": run.class_names[1]}).json()["classes"]
    assert chosen == everything["classes"][1]
    assert {one["prototype"] for one in chosen["prototypes"]} == {2, 3}
    for one in chosen["prototypes"]:
        assert tuple(one["box"]) == tuple(run.sources[one["prototype"]].box)
        image = client.get(f"/{one['image']}")
        assert np.array_equal(
            Image.open(io.BytesIO(image.content)), run.source_image(run.sources[one["prototype"]])
        )
    assert "no prototype is a patch of" in error_of(client.get("/v1/images?id=../secret.png"))
    assert "there is no class 3" in error_of(client.get("/v1/prototypes?class=3"))


def test_an_exported_folder_without_pictures_is_served(run, photos, tmp_path, caplog):
    model = load(pixpnet.export(run, tmp_path / "model", thumbnails=False))
    gone = replace(model.config.dataset, name="CUB-LAYOUT", root=str(tmp_path / "gone"))
    model = replace(model, config=replace(model.config, dataset=gone))
    with caplog.at_level(logging.WARNING), TestClient(create_app(model), **HERE) as client:
        answer = client.post("/v1/predict", files={"file": photos[0].open("rb")})
        assert answer.json()["class_name"] == run.predict(photos[0])[0].class_name
        assert client.get("/v1/prototypes").json()["classes"][0]["prototypes"][0]["image"] is None
        assert "data-images" not in client.get("/").text
    assert "without their training pictures" in caplog.text


LIMITS = Limits(max_bytes=10_000, max_pixels=5_000, timeout=0.5)


def bomb() -> bytes:
    """A head that says more than a billion pixels, over nothing."""
    head = b"IHDR" + (40_000).to_bytes(4, "big") * 2 + bytes([8, 2, 0, 0, 0])
    parts = (head, b"IDAT" + zlib.compress(bytes(1000)))
    chunks = (len(one[4:]).to_bytes(4, "big") + one + zlib.crc32(one).to_bytes(4, "big") for one in parts)
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunks)


REFUSED: dict[str, tuple[int, str, dict]] = {
    "too many bytes": (413, "takes 10,000 bytes", {"content": bytes(10_001)}),
    "too many bytes, unannounced": (413, "takes 10,000 bytes", {"content": iter([bytes(6000)] * 2)}),
    "too many pixels": (413, "takes 5,000 of them", {"content": png(100, 51)}),
    "a bomb": (413, "40000 x 40000", {"content": bomb()}),
    "nothing": (422, "there is no picture", {"content": b""}),
    "another field": (422, "there is no picture", {"files": {"photo": png()}}),
    "no file": (422, "there is no picture", {"data": {"file": "text"}, "files": {"x": b""}}),
    "text": (422, "holds none of", {"content": b"hello"}),
    "SVG": (422, "holds none of", {"content": b"<svg xmlns='http://www.w3.org/2000/svg'/>"}),
    "PDF": (422, "holds none of", {"content": b"%PDF-1.7"}),
    "torn": (422, "truncated", {"content": png(60, 60, format="BMP")[:2000]}),
    "no boundary": (
        400,
        "Missing boundary",
        {"content": b"x", "headers": {"content-type": "multipart/form-data"}},
    ),
    "two files": (400, "form can't be read", {"files": [("file", png()), ("other", png())]}),
    "torn form": (
        400,
        "form can't be read",
        {"content": b"no form", "headers": {"content-type": "multipart/form-data; boundary=x"}},
    ),
}


@pytest.mark.parametrize("path", ["/v1/predict", "/v1/figure"])
@pytest.mark.parametrize("name", REFUSED)
def test_what_is_no_picture_is_refused_in_one_line(run, name, path):
    status, words, request = REFUSED[name]
    request = dict(request)
    if name == "too many bytes, unannounced":
        request["content"] = iter([bytes(6000)] * 2)
    with TestClient(create_app(run, limits=LIMITS), **HERE) as client:
        answer = client.post(path, **request)
        assert (answer.status_code, words in error_of(answer)) == (status, True), answer.text
        assert client.get("/healthz").json() == {"status": "ok"}


def test_of_many_frames_one_is_read(client, run):
    frames = [Image.new("RGB", (64, 64), (number, 0, 0)) for number in range(250)]
    file = io.BytesIO()
    frames[0].save(file, "GIF", save_all=True, append_images=frames[1:])
    answer = client.post("/v1/predict", content=file.getvalue()).json()
    (first,) = pixpnet.predict(run, frames[0])
    same(answer, replace(first, path="picture").to_dict())


def test_no_upload_goes_to_the_disk(client, monkeypatch):
    def rollover(self):
        raise AssertionError("an upload went to the disk")

    monkeypatch.setattr(tempfile.SpooledTemporaryFile, "rollover", rollover)
    noise = np.random.default_rng(0).integers(0, 256, (1000, 1000, 3), np.uint8)
    file = io.BytesIO()
    Image.fromarray(noise).save(file, "PNG")
    assert len(file.getvalue()) > 2_000_000
    assert client.post("/v1/predict", files={"file": file.getvalue()}).status_code == 200


def test_a_full_line_sends_away(run, photos):
    """While one request is read, which does not come to its end, there is no place for another one."""

    async def both() -> tuple[list, list]:
        app = create_app(run, limits=Limits(max_waiting=1, timeout=0.5))
        begun = asyncio.Event()

        async def ask(receive) -> list:
            told: list = []

            async def send(message):
                told.append(message)

            scope = {
                "type": "http",
                "asgi": {"version": "3.0"},
                "http_version": "1.1",
                "method": "POST",
                "scheme": "http",
                "path": "/v1/predict",
                "raw_path": b"/v1/predict",
                "query_string": b"",
                "headers": [(b"host", b"localhost")],
                "server": ("localhost", 80),
                "client": ("localhost", 1),
            }
            await app(scope, receive, send)
            return told

        async def slowly():
            begun.set()
            await asyncio.sleep(60)

        async def at_once():
            return {"type": "http.request", "body": photos[0].read_bytes(), "more_body": False}

        slow = asyncio.create_task(ask(slowly))
        await begun.wait()
        second = await ask(at_once)
        return await slow, second

    with start_blocking_portal() as portal:  # a thread of its own: a browser's loop may run in this one
        slow, second = portal.call(both)
    assert second[0]["status"] == 503
    assert b"too many requests wait already" in second[1]["body"]
    assert dict(second[0]["headers"])[b"retry-after"] == b"1"
    assert slow[0]["status"] == 408
    assert b"did not come within 0.5 seconds" in slow[1]["body"]


def test_an_answer_that_takes_too_long(run, photos):
    app = create_app(run, limits=Limits(timeout=0.2))
    with before(run, lambda _: time.sleep(1)), TestClient(app, **HERE) as client:
        answer = client.post("/v1/predict", content=photos[0].read_bytes())
    assert (answer.status_code, answer.headers["retry-after"]) == (503, "1")
    assert "no answer within 0.2 seconds" in error_of(answer)


TOKEN = "a-token_that is not guessed".replace(" ", "~")


def test_without_the_token_nothing_is_told(run, photos):
    app = create_app(run, token=TOKEN, hosts=None)
    with TestClient(app, base_url="http://somewhere.example:8000", follow_redirects=False) as client:
        for path in ("/", "/v1/prototypes", "/metrics", "/openapi.json", "/assets/page.js", "/?token=wrong"):
            answer = client.get(path)
            assert (answer.status_code, answer.headers["www-authenticate"]) == (401, "Bearer")
            assert "a token is needed" in error_of(answer)
        for wrong in ("Bearer", "Bearer wrong", f"Basic {TOKEN}", "Bearer é".encode("latin-1")):
            assert client.get("/v1/prototypes", headers={"Authorization": wrong}).status_code == 401
        assert client.post("/v1/predict", content=photos[0].read_bytes()).status_code == 401
        assert client.get("/healthz").status_code == 200
        right = client.get("/v1/prototypes", headers={"Authorization": f"Bearer {TOKEN}"})
        assert right.status_code == 200
        opened = client.get("/", params={"token": TOKEN})
        assert (opened.status_code, opened.headers["location"]) == (303, "./")
        assert "HttpOnly" in opened.headers["set-cookie"]
        assert "samesite=strict" in opened.headers["set-cookie"].lower()
        assert client.get("/").status_code == 200, "the cookie opens the page"


@pytest.mark.parametrize(
    "host", ["evil.example", "evil.example:8000", "localhost.evil.example", "", "[", "127.0.0.1@x"]
)
def test_on_this_machine_other_names_are_refused(client, host):
    answer = client.get("/", headers={"Host": host})
    assert answer.status_code == 421
    assert "another name" in error_of(answer)


@pytest.mark.parametrize("host", ["localhost:8000", "127.0.0.1", "[::1]:8000", "LOCALHOST"])
def test_on_this_machine_its_own_names_are_not(client, host):
    assert client.get("/healthz", headers={"Host": host}).status_code == 200


def test_pages_of_others_may_not_ask(client, photos):
    data = photos[0].read_bytes()
    for origin, status in (
        ("http://evil.example", 403),
        ("null", 403),
        ("http://[", 403),
        ("http://localhost", 200),
    ):
        assert client.post("/v1/predict", content=data, headers={"Origin": origin}).status_code == status


def test_every_answer_tells_browsers_to_be_careful(client):
    for path in ("/", "/assets/page.css", "/v1/prototypes", "/nowhere", "/v1/predict", "/metrics"):
        headers = client.get(path).headers
        policy = headers["content-security-policy"]
        assert policy.startswith("default-src 'none';")
        assert "unsafe" not in policy
        assert "frame-ancestors 'none'" in policy
        assert headers["x-content-type-options"] == "nosniff"
        assert headers["referrer-policy"] == "no-referrer"
        assert "server" not in headers


def test_the_page_is_markup_alone_and_loads_its_own_files(client, run):
    page = client.get("/").text
    scripts = re.findall(r"<script\b([^>]*)>(.*?)</script>", page, re.DOTALL)
    assert [words for _, words in scripts] == [""]
    assert not re.search(r"<style|\son\w+=|\sstyle=|javascript:", page)
    links = re.findall(r'(?:src|href)="([^"#]+)"', page)
    assert {"assets/page.css", "assets/page.js", "openapi.json"} <= set(links)
    for link in set(links) - {"data:,"}:
        assert client.get(f"/{link}").status_code == 200, link
    assert "http" not in client.get("/assets/page.js").text.replace("http-equiv", "")


def test_names_of_classes_stay_text(run):
    names = ("<script>alert(1)</script>", '"><img src=x>', "c")
    nasty = replace(run, class_names=names)
    with TestClient(create_app(nasty), **HERE) as client:
        page = client.get("/").text
    assert page.count("<script") == 1
    assert "<img" not in page


def test_the_api_is_described(client):
    described = client.get("/openapi.json").json()
    assert set(described["paths"]) >= {"/v1/predict", "/v1/prototypes", "/healthz", "/metrics"}
    body = described["paths"]["/v1/predict"]["post"]["requestBody"]["content"]
    assert set(body) == {"application/octet-stream", "multipart/form-data"}
    assert "probability" in described["components"]["schemas"]["Prediction"]["properties"]
    assert client.get("/docs").status_code == 404, "it would load scripts from elsewhere"


def test_limits_are_sensible():
    for wrong in ({"max_bytes": 0}, {"max_waiting": -1}, {"timeout": float("inf")}, {"batch_size": -1}):
        with pytest.raises(ConfigError, match="limits"):
            Limits(**wrong)


def test_without_its_packages_it_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch, capsys, tiny_run: Path
):
    for name in [one for one in sys.modules if one.startswith("pixpnet.serving")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "fastapi", None)
    assert main(["serve", str(tiny_run)]) == 2
    assert capsys.readouterr().err == "pixpnet: error: serve needs fastapi: pip install 'pixpnet[serve]'.\n"
