"""glibc's memory: kept by the process rather than handed back to the system after every tensor.

By default glibc maps memory for each large tensor and unmaps it when the tensor goes, and the kernel clears
every page of the next one. `benchmarks/tiles.py --allocator` measures what that takes of a CPU's time.
"""

from __future__ import annotations

import ctypes
import platform
from collections.abc import Mapping

from pixpnet.choices import choose

VARIABLE = "PIXPNET_KEEP_MEMORY"

ANSWERS = {"yes": True, "no": False}

_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD, _M_MMAP_MAX = -1, -3, -4
"""Parameters of mallopt(3)."""
_LARGE = 2**31 - 1
"""Bytes; free memory beyond it at the heap's end is handed back, and larger tensors are mapped."""


def keep_freed_memory(environment: Mapping[str, str]) -> bool:
    """Let this process keep what it frees, for the next tensor; says whether it does.

    The commands call it when they begin; from Python call it before the first tensor is made, as
    ``keep_freed_memory(os.environ)``. The process then keeps as much as it ever had, less what lies free
    beyond 2 GB. Only glibc, Linux's usual C library, has the setting.

    Args:
        environment: Where PIXPNET_KEEP_MEMORY may stand: ``no`` leaves glibc as it is.

    Raises:
        ConfigError: It stands there and is neither yes nor no.
    """
    if not choose(ANSWERS, environment.get(VARIABLE) or "yes", what=VARIABLE):
        return False
    if platform.libc_ver()[0] != "glibc":
        return False
    mallopt = ctypes.CDLL(None).mallopt
    # Older ones refuse so large a threshold: there nothing is mapped.
    is_kept = mallopt(_M_MMAP_THRESHOLD, _LARGE) or mallopt(_M_MMAP_MAX, 0)
    return bool(is_kept and mallopt(_M_TRIM_THRESHOLD, _LARGE))
