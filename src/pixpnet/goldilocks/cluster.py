"""Who does the work: this process, several on this machine, or a Ray cluster, all called the same way."""

from __future__ import annotations

import math
import multiprocessing
import os
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch

from pixpnet.errors import ConfigError, PixPNetError
from pixpnet.log import start_logging


@dataclass(frozen=True)
class Crew:
    """Takes calls and gives their results later."""

    submit: Callable[[Callable[[], Any]], Future[Any]]
    capacity: float
    """Calls that are worth handing over before one of them is done."""


@contextmanager
def this_process() -> Iterator[Crew]:
    """Every call is done when it is handed over."""

    def submit(call: Callable[[], Any]) -> Future[Any]:
        future: Future[Any] = Future()
        try:
            future.set_result(call())
        except Exception as error:  # it is the one who asks for the result that gets it
            future.set_exception(error)
        return future

    yield Crew(submit, 1)


@contextmanager
def processes(jobs: int) -> Iterator[Crew]:
    """So many processes of this machine; they share its cores, and end with this one, however it ends."""
    threads = max(1, torch.get_num_threads() // jobs)
    # Forked processes would inherit locks and GPU contexts in any state.
    context = multiprocessing.get_context("spawn")
    pool = ProcessPoolExecutor(jobs, context, initializer=_begin, initargs=(threads,))
    try:
        yield Crew(pool.submit, jobs)
    except BrokenProcessPool:
        raise PixPNetError(
            f"one of {jobs} processes ended without a word; perhaps there was not enough memory for so many "
            "--jobs. The same command goes on from here."
        ) from None
    finally:
        pool.shutdown(wait=False, cancel_futures=True)


def _begin(threads: int) -> None:
    torch.set_num_threads(threads)
    start_logging(os.environ)
    parent = multiprocessing.parent_process()
    assert parent is not None

    def end_with_parent() -> None:
        parent.join()
        os._exit(1)

    threading.Thread(target=end_with_parent, daemon=True).start()


@contextmanager
def ray_cluster(*, use_gpus: bool) -> Iterator[Crew]:
    """The Ray cluster that RAY_ADDRESS names or that this machine belongs to, else one of this machine alone.

    Each call takes one core, and one GPU where there are any; Ray does it again if its machine fails.

    Raises:
        ConfigError: Ray is not installed.
    """
    try:
        import ray
        from ray.exceptions import RayError
    except ImportError:
        raise ConfigError("--cluster needs Ray: pip install 'pixpnet[ray]'") from None
    is_new = not ray.is_initialized()
    if is_new:
        ray.init(log_to_driver=False)
    try:
        gpus = 1 if use_gpus and ray.cluster_resources().get("GPU", 0) >= 1 else 0
        remote = ray.remote(_call).options(num_cpus=1, num_gpus=gpus, max_retries=3)
        yield Crew(lambda call: remote.remote(call).future(), math.inf)
    except RayError as error:
        reason = str(error).partition("\n")[0]
        raise PixPNetError(f"Ray gave up: {reason} The same command goes on from here.") from error
    finally:
        if is_new:
            ray.shutdown()


def _call(call: Callable[[], Any]) -> Any:
    return call()
