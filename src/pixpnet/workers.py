"""Processes that work for another one: they end with it, and leave Ctrl-C and the like to it."""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

ENDING = tuple(getattr(signal, name) for name in ("SIGTERM", "SIGHUP") if hasattr(signal, name))
"""Signals that end a command as Ctrl-C does."""


def begin_worker(parent: int) -> None:
    """Let this process, which works for the parent of that number, end with it, without a word of its own."""
    stand_apart()
    for number in ENDING:
        signal.signal(number, signal.SIG_DFL)

    def end_with_parent() -> None:
        while os.getppid() == parent:
            time.sleep(0.5)
        os._exit(1)

    threading.Thread(target=end_with_parent, daemon=True).start()


def stand_apart(_: int = 0) -> None:
    """Let this process not hear what a terminal tells a whole group: its parent does, and ends it."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    sys.excepthook = lambda *_: (
        None
    )  # of multiprocessing's thread, if the parent goes in the middle of a word
    if hasattr(os, "setpgrp"):
        os.setpgrp()


@contextmanager
def starting_processes() -> Iterator[None]:
    """What would end the command is heard afterwards, when all processes that are started here are there.

    These never hear Ctrl-C, not even while they load what they need.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    came: list[int] = []
    former = {number: signal.getsignal(number) for number in (signal.SIGINT, *ENDING)}
    held = {number: heard for number, heard in former.items() if heard not in (signal.SIG_IGN, None)}
    masks = hasattr(signal, "pthread_sigmask")  # not on Windows
    blocked = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT}) if masks else ()
    for number in held:
        signal.signal(number, lambda number, _: came.append(number))
    try:
        yield
    finally:
        if masks:
            signal.pthread_sigmask(signal.SIG_SETMASK, blocked)
        for number, heard in held.items():
            signal.signal(number, heard)
        for number in came[:1]:
            signal.raise_signal(number)
