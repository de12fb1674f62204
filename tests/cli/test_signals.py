"""SIGTERM and SIGHUP end a command as Ctrl-C does: with one line, what they broke off gone, nothing alive."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from pixpnet.runs import RunDirectory

COMMAND = """
import signal, sys
signal.signal(signal.SIGINT, signal.default_int_handler)  # the background of a shell ignores it
from pixpnet.cli import main
sys.exit(main(sys.argv[1:]))
"""

CODES = {signal.SIGINT: 130, signal.SIGTERM: 143, signal.SIGHUP: 129}


@pytest.fixture
def start() -> Iterator[Callable[..., subprocess.Popen]]:
    """Starts a command, after one of the shell, in a session of its own, which is killed in the end."""
    begun: list[subprocess.Popen] = []
    former = signal.signal(signal.SIGHUP, signal.SIG_DFL)  # the tests may run under nohup

    def start(*arguments: str | Path, before: str = ":") -> subprocess.Popen:
        process = subprocess.Popen(
            [
                "bash",
                "-c",
                f'{before}; exec "$@"',
                "bash",
                sys.executable,
                "-c",
                COMMAND,
                *map(str, arguments),
            ],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        begun.append(process)
        return process

    yield start
    for process in begun:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
        process.communicate()
    signal.signal(signal.SIGHUP, former)


def _until(condition: Callable[[], object], process: subprocess.Popen) -> None:
    while not condition():
        assert process.poll() is None, process.communicate()[1]
        time.sleep(0.02)


def _session(pid: int) -> list[str]:
    """The processes of a session that live."""
    found = subprocess.run(["ps", "-eo", "sess=,stat=,args="], capture_output=True, text=True, check=True)
    rows = [line.split(maxsplit=2) for line in found.stdout.splitlines()]
    return [" ".join(row) for row in rows if row[0] == str(pid) and not row[1].startswith("Z")]


@pytest.mark.parametrize("whole_group", [False, True], ids=["parent", "group"])
@pytest.mark.parametrize("number", CODES, ids=lambda number: number.name)
def test_rendering(start: Callable, tmp_path: Path, number: signal.Signals, whole_group: bool) -> None:
    process = start("data", "synthbirds", "--out", tmp_path / "birds", "--classes", 20, "--size", 128)
    _until(lambda: [*tmp_path.rglob("images/*/*.png")], process)
    (os.killpg if whole_group else os.kill)(process.pid, number)
    _, told = process.communicate(timeout=30)
    assert (process.returncode, told) == (CODES[number], "pixpnet: interrupted\n")
    assert list(tmp_path.iterdir()) == []
    assert _session(process.pid) == []


WHILE_STARTING = """
import os, signal, sys
from concurrent.futures import ProcessPoolExecutor
signal.signal(signal.SIGINT, signal.default_int_handler)
signal.signal(signal.SIGHUP, signal.SIG_DFL)
spawn = ProcessPoolExecutor._spawn_process
def interrupted(pool):
    spawn(pool)
    if len(pool._processes) == 1:
        os.kill(os.getpid(), {number})
ProcessPoolExecutor._spawn_process = interrupted
os.sched_getaffinity = lambda _: {{0, 1, 2}}
from pixpnet.cli import main
sys.exit(main(["data", "synthbirds", "--classes", "20", "--size", "64", "--out", "birds"]))
"""


@pytest.mark.parametrize("number", CODES, ids=lambda number: number.name)
def test_while_processes_are_started(number, tmp_path):
    """Python joins processes at its end, and those of a pool that is not whole nobody would end."""
    process = subprocess.Popen(
        [sys.executable, "-c", WHILE_STARTING.format(number=number.value)],
        cwd=tmp_path,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    try:
        _, told = process.communicate(timeout=120)
    finally:
        left = _session(process.pid)
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
    assert (process.returncode, told) == (CODES[number], "pixpnet: interrupted\n")
    assert (left, list(tmp_path.iterdir())) == ([], [])


@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP], ids=lambda number: number.name)
def test_training(
    start: Callable, tiny_arguments: Callable, tmp_path: Path, number: signal.Signals, workers: int
) -> None:
    options = {"train__epochs": 1000, "train__no_push_prototypes": "", "dataset__workers": workers}
    process = start("train", *tiny_arguments(tmp_path, **options))
    _until(lambda: [*tmp_path.rglob("*.ckpt")], process)
    os.killpg(process.pid, number)
    _, told = process.communicate(timeout=30)
    run = RunDirectory.newest(tmp_path)
    assert process.returncode == CODES[number], told
    assert "Traceback" not in told, told
    last = told.splitlines()[-1]
    assert last.startswith("pixpnet: interrupted"), told
    assert last.endswith(f"{run.last_checkpoint()}; go on with: pixpnet train --resume {run.path}")
    assert not [*run.path.rglob("*.partial"), *run.path.rglob(".lock")]
    assert _session(process.pid) == []


def test_few_open_files(start: Callable, tmp_path: Path) -> None:
    """One line before the work, and not one for each worker that can't begin."""
    birds = ("data", "synthbirds", "--out", tmp_path / "birds", "--classes", "20", "--size", "64")
    process = start(*birds, before="ulimit -n 20")
    _, told = process.communicate(timeout=30)
    assert process.returncode == 1
    assert told.startswith("pixpnet: error: only 20 files may be open at a time, and 64 are needed")
    assert told.count("\n") == 1
    assert list(tmp_path.iterdir()) == []


def test_a_signal_that_is_ignored_stays_so(start: Callable, tmp_path: Path) -> None:
    """As under nohup."""
    birds = ("data", "synthbirds", "--out", tmp_path / "birds", "--classes", "3", "--size", "64")
    process = start(*birds, before="trap '' HUP")
    _until(lambda: [*tmp_path.rglob("images/*/*.png")], process)
    process.send_signal(signal.SIGHUP)
    _, told = process.communicate(timeout=60)
    assert process.returncode == 0, told


@pytest.mark.parametrize("work", ["time.sleep(60)", "return 0"], ids=["goes on", "is done"])
@pytest.mark.parametrize("number", CODES, ids=lambda number: number.name)
def test_what_is_being_imported_comes_in_whole(number, work, tmp_path):
    """Libraries in C++ abort the process where an error comes while they are imported."""
    (tmp_path / "slow.py").write_text(
        f"import os, time\nos.kill(os.getpid(), {number.value})\n"
        "time.sleep(0.05)\nprint('whole', flush=True)\n"
    )
    code = (
        "import signal, sys, time\nsignal.signal(signal.SIGINT, signal.default_int_handler)\n"
        "signal.signal(signal.SIGHUP, signal.SIG_DFL)\nfrom pixpnet.cli import exit_code\n"
        f"def run():\n    import slow\n    {work}\n"
        "sys.exit(exit_code('tool', run))\n"
    )
    called = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert (called.returncode, called.stdout, called.stderr) == (
        CODES[number],
        "whole\n",
        "tool: interrupted\n",
    )


@pytest.mark.parametrize("number", CODES, ids=lambda number: number.name)
def test_what_hangs_is_ended_with_a_word(number, tmp_path):
    code = (
        "import os, signal, sys, time\nsignal.signal(signal.SIGINT, signal.default_int_handler)\n"
        "signal.signal(signal.SIGHUP, signal.SIG_DFL)\nfrom pixpnet.cli import exit_code, main\n"
        "sys.modules['pixpnet.cli.main']._GRACE = 0.5\n"
        f"def run():\n    try:\n        os.kill(os.getpid(), {number.value})\n    finally:\n"
        "        time.sleep(60)\n"
        "sys.exit(exit_code('tool', run))\n"
    )
    called = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    wanted = CODES[number], "tool: interrupted, and ended after 0.5 s of waiting\n"
    assert (called.returncode, called.stderr) == wanted
