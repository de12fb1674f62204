"""Memory that a process keeps: fewer pages are cleared by the kernel, and the answer is told."""

import platform
import subprocess
import sys

import pytest

from pixpnet import ConfigError, keep_freed_memory

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
