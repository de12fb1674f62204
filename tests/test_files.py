"""Two writers, and writers that are killed."""

from __future__ import annotations

import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from pixpnet.errors import FileError
from pixpnet.files import locked, sole_writer, whole_folder, write_text

HOLDS = """
import sys, time
from pathlib import Path
from pixpnet.files import {name}
with {name}(Path(sys.argv[1]){more}):
    print("holds", flush=True)
    time.sleep(60)
"""


@pytest.fixture
def hold():
    """Starts a process that holds a folder, a lock or a folder to be; it is killed in the end."""
    begun = []

    def start(name: str, path: Path, more: str = "") -> subprocess.Popen:
        code = HOLDS.format(name=name, more=more)
        process = subprocess.Popen([sys.executable, "-c", code, str(path)], stdout=subprocess.PIPE, text=True)
        begun.append(process)
        assert process.stdout is not None
        assert process.stdout.readline() == "holds\n"
        return process

    yield start
    for process in begun:
        process.kill()
        process.communicate()


def _kill(process: subprocess.Popen) -> None:
    process.send_signal(signal.SIGKILL)
    process.wait()


def test_a_second_writer_is_refused_until_the_first_is_gone(hold, tmp_path):
    first = hold("sole_writer", tmp_path)
    with (
        pytest.raises(FileError, match=f"{tmp_path} is being written to by process {first.pid}; wait"),
        sole_writer(tmp_path),
    ):
        pass
    with sole_writer(tmp_path, name="another"):
        pass
    write_text(tmp_path / "readers and small files", "are free")
    _kill(first)
    with sole_writer(tmp_path):
        assert (tmp_path / ".lock").is_file()
    assert [path.name for path in tmp_path.iterdir()] == ["readers and small files"]


def test_what_a_killed_writer_left_is_cleared_away(tmp_path):
    names = [".epoch=1.ckpt.mhasim4w.partial", ".other.txt.ab.partial", "mine.partial", ".hidden"]
    for place in (tmp_path, tmp_path / "below"):
        place.mkdir(exist_ok=True)
        for name in names:
            (place / name).touch()
    with sole_writer(tmp_path, name="epoch"):
        assert not (tmp_path / names[0]).exists()
        assert (tmp_path / names[1]).exists()
    with sole_writer(tmp_path):
        assert not (tmp_path / names[1]).exists()
        assert (tmp_path / "below" / names[1]).exists()
    with sole_writer(tmp_path, deep=True):
        pass
    assert {path.name for path in tmp_path.rglob("*.*") if path.is_file()} == set(names[2:])


KILLED = """
import os, signal, sys
from pathlib import Path
from pixpnet.files import write_atomically
write_atomically(Path(sys.argv[1]), lambda file: os.kill(os.getpid(), signal.SIGKILL))
"""


def test_a_killed_write_leaves_what_the_next_writer_clears(tmp_path):
    subprocess.run([sys.executable, "-c", KILLED, str(tmp_path / "file.txt")], check=False)
    (left,) = tmp_path.iterdir()
    with sole_writer(tmp_path):
        assert not left.exists()


def test_a_killed_folder_to_be_is_cleared_by_the_next(hold, tmp_path):
    first = hold("whole_folder", tmp_path / "set")
    names = {path.name for path in tmp_path.iterdir()}
    assert len(names) == 2
    threading.Timer(0.5, _kill, [first]).start()
    with whole_folder(tmp_path / "set") as folder:  # waits
        assert first.poll() is not None
        assert len({path.name for path in tmp_path.iterdir()} - names) == 1
        (folder / "file").touch()
    assert [path.name for path in tmp_path.iterdir()] == ["set"]


def test_a_folder_that_nothing_is_written_to_goes(tmp_path):
    with sole_writer(tmp_path / "new"):
        pass
    assert not (tmp_path / "new").exists()
    with sole_writer(tmp_path / "new"):
        write_text(tmp_path / "new" / "file", "text")
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["file"]


def test_a_lock_that_is_a_link_or_a_folder_harms_nothing(tmp_path):
    (tmp_path / "precious").write_text("text")
    (tmp_path / ".lock").symlink_to(tmp_path / "precious")
    (tmp_path / "folder" / ".lock").mkdir(parents=True)
    for folder in (tmp_path, tmp_path / "folder", tmp_path / "precious"):
        with pytest.raises(FileError, match=f"{folder} can't be written to"), sole_writer(folder):
            pass
    assert (tmp_path / "precious").read_text() == "text"


def test_threads_take_turns(tmp_path):
    inside, most = [], []

    def work() -> None:
        for _ in range(20):
            with locked(tmp_path / "lock", waits=True):
                inside.append(1)
                most.append(len(inside))
                inside.pop()

    threads = [threading.Thread(target=work) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert most == [1] * 60
    assert list(tmp_path.iterdir()) == []
