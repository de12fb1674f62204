"""``pixpnet serve`` as a process: it says where it listens, answers, and ends as other commands do."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from http.client import HTTPConnection
from pathlib import Path

import pytest

from pixpnet.cli import main

CODE = "import sys; from pixpnet.cli import main; sys.exit(main(sys.argv[1:]))"


@pytest.fixture
def start() -> Iterator[Callable[..., subprocess.Popen]]:
    begun: list[subprocess.Popen] = []
    former = signal.signal(signal.SIGHUP, signal.SIG_DFL)  # the tests may run under nohup

    def start(*arguments: str | Path, **environment: str) -> subprocess.Popen:
        called = [sys.executable, "-c", CODE, "serve", *map(str, arguments), "--port", "0"]
        pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
        begun.append(subprocess.Popen(called, env=os.environ | environment, **pipes))
        return begun[-1]

    yield start
    for process in begun:
        process.kill()
        process.communicate()
    signal.signal(signal.SIGHUP, former)


@pytest.mark.parametrize(
    ("options", "environment", "number", "code"),
    [
        ((), {"PIXPNET_TOKEN": "known"}, signal.SIGTERM, 143),
        (("--host", "0.0.0.0"), {}, signal.SIGHUP, 129),
    ],
    ids=["here, a token is given", "elsewhere, a token is made"],
)
def test_it_listens_and_ends(start, tiny_run, options, environment, number, code):
    process = start(tiny_run, *options, **environment)
    told = process.stdout.readline()
    found = re.fullmatch(r"http://([\d.]+):(\d+)/(?:\?token=([\w-]{32}))?\n", told)
    assert found, told + process.stderr.read()
    assert bool(found[3]) != bool(environment), "a token that is known is not shown"
    token = environment.get("PIXPNET_TOKEN") or found[3]
    for headers, status in (({"Authorization": f"Bearer {token}"}, 200), ({}, 401)):
        connection = HTTPConnection("127.0.0.1", int(found[2]), timeout=60)
        connection.request("GET", "/v1/prototypes", headers=headers)
        assert connection.getresponse().status == status
    process.send_signal(number)
    out, error = process.communicate(timeout=60)
    assert (process.returncode, out) == (code, "")
    assert error.splitlines()[-1] == "pixpnet: interrupted"
    assert "Traceback" not in error


def test_what_cannot_be_is_one_line(tiny_run, capsys):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        assert main(["serve", str(tiny_run), "--port", port]) == 2
        told = capsys.readouterr().err
    assert told == f"pixpnet: error: serve: can't listen at 127.0.0.1, port {port}: Address already in use.\n"
    for options, words in (
        (["--host", "256.0.0.1"], "can't listen at 256.0.0.1"),
        (["--port", "65536"], "'65536' is not a whole number ≥ 0 and ≤ 65535"),
        (["--token", ""], "the token is to be of ASCII letters"),
        (["--timeout", "0"], "'0' is not a number ≥ 0.1"),
    ):
        assert main(["serve", str(tiny_run), *options]) == 2
        told = capsys.readouterr().err
        assert words in told
        assert told.count("\n") == 1
