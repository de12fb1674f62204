"""Memory: how much there is, what is refused before it is taken, and what a process keeps for itself."""

import os
import platform
import subprocess
import sys

import pytest

from pixpnet import ConfigError, keep_freed_memory, memory

IS_GLIBC = platform.libc_ver()[0] == "glibc"

COUNT_FAULTS = """
import os, numpy
from pixpnet import keep_freed_memory
print(keep_freed_memory(os.environ))
import resource
numpy.ones(8_000_000)
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(10):
    numpy.ones(8_000_000)
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


def told(answer):
    environment = {"PATH": "", "PIXPNET_KEEP_MEMORY": answer, "OMP_NUM_THREADS": "1"}
    called = [sys.executable, "-c", COUNT_FAULTS]
    is_kept, faults = subprocess.run(
        called, env=environment, capture_output=True, text=True, check=True
    ).stdout.split()
    return is_kept == "True", int(faults)


def test_freed_memory_is_used_again_unless_that_is_not_wanted():
    is_kept, faults = told("")
    assert is_kept is IS_GLIBC
    is_handed_back, more = told("no")
    assert not is_handed_back
    if IS_GLIBC:
        assert faults < more / 4


def test_another_answer_is_refused():
    with pytest.raises(ConfigError, match="PIXPNET_KEEP_MEMORY='perhaps' is none of yes, no"):
        keep_freed_memory({"PIXPNET_KEEP_MEMORY": "perhaps"})


@pytest.fixture
def small_machine(tmp_path, monkeypatch):
    """A container of 8 GB."""
    (tmp_path / "limit").write_text("8000000000\n")
    monkeypatch.setattr("pixpnet.memory._CONTAINER_LIMITS", (str(tmp_path / "limit"),))
    return tmp_path / "limit"


def test_memory_is_that_of_the_machine_or_of_its_container(small_machine):
    assert memory.machine_memory() == 8_000_000_000
    for nothing in ("max\n", "9223372036854771712\n"):
        small_machine.write_text(nothing)
        assert memory.machine_memory() == os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


def test_what_the_machine_cannot_hold_is_refused_in_gigabytes(small_machine):
    memory.require_memory(8e9, "this")
    with pytest.raises(ConfigError, match=r"^that takes at least 61 GB of memory, and this machine has 8;"):
        memory.require_memory(61e9, "that")
