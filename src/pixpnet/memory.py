"""The memory of this machine: how much there is, and glibc's, which keeps what is freed.

By default glibc maps memory for each large tensor and unmaps it when the tensor goes, and the kernel clears
every page of the next one. `benchmarks/tiles.py --allocator` measures what that takes of a CPU's time.
"""

from __future__ import annotations

import ctypes
import platform
from collections.abc import Mapping
from pathlib import Path

from pixpnet.choices import choose
from pixpnet.errors import ConfigError

VARIABLE = "PIXPNET_KEEP_MEMORY"

ANSWERS = {"yes": True, "no": False}

LESS = "smaller batches (train.batch-size, test.batch-size), fewer prototypes or a smaller network take less"

_CONTAINER_LIMITS = ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes")

_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD, _M_MMAP_MAX = -1, -3, -4
"""Parameters of mallopt(3)."""
_LARGE = 2**31 - 1
"""Bytes; free memory beyond it at the heap's end is handed back, and larger tensors are mapped."""


def machine_memory() -> int:
    """Bytes of this machine, or of the container that this process is in."""
    import psutil  # 60 ms that `pixpnet --help` does without

    limits = [psutil.virtual_memory().total]
    for place in map(Path, _CONTAINER_LIMITS):
        text = place.read_text().strip() if place.is_file() else "max"
        if text.isdigit():
            limits.append(int(text))
    return min(limits)


def require_memory(size: float, what: str) -> None:
    """Check that the machine could hold so many bytes: Linux ends a process that takes more.

    Raises:
        ConfigError: It could not, even with nothing else in it.
    """
    if size > machine_memory():
        raise ConfigError(
            f"{what} takes at least {size / 1e9:,.3g} GB of memory, and this machine has "
            f"{machine_memory() / 1e9:,.3g}; {LESS}."
        )


def keep_freed_memory(environment: Mapping[str, str], *, largest: int = _LARGE) -> bool:
    """Let this process keep what it frees, for the next tensor; says whether it does.

    The commands call it when they begin; from Python call it before the first tensor is made, as
    ``keep_freed_memory(os.environ)``. The process then keeps as much as it ever had, less what lies free
    beyond 2 GB. Only glibc, Linux's usual C library, has the setting.

    Args:
        environment: Where PIXPNET_KEEP_MEMORY may stand: ``no`` leaves glibc as it is.
        largest: Bytes; of what is larger, and of what lies free beyond it, nothing is kept.

    Raises:
        ConfigError: It stands there and is neither yes nor no.
    """
    if not choose(ANSWERS, environment.get(VARIABLE) or "yes", what=VARIABLE):
        return False
    if platform.libc_ver()[0] != "glibc":
        return False
    mallopt = ctypes.CDLL(None).mallopt
    # Older ones refuse so large a threshold: there nothing is mapped.
    is_kept = mallopt(_M_MMAP_THRESHOLD, largest) or mallopt(_M_MMAP_MAX, 0)
    return bool(is_kept and mallopt(_M_TRIM_THRESHOLD, largest))
