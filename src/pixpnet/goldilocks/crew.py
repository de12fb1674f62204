"""Pieces of work, and who does them: this process, several on this machine, or a Ray cluster."""

from __future__ import annotations

import math
import os
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import AbstractContextManager, contextmanager
from typing import NamedTuple

import torch

from pixpnet.errors import ConfigError, PixPNetError
from pixpnet.goldilocks.table import Row
from pixpnet.log import start_logging
from pixpnet.memory import keep_freed_memory
from pixpnet.types import Progress
from pixpnet.workers import begin_worker, starting_processes


class Piece(NamedTuple):
    """A piece of work, and those that can begin when it is done."""

    model: str
    call: Callable[[], list[Row]]
    then: tuple[Piece, ...] = ()


class Crew(NamedTuple):
    """Takes calls and gives their results later."""

    submit: Callable[[Callable[[], list[Row]]], Future[list[Row] | PixPNetError]]
    capacity: float
    """Calls that are worth handing over before one of them is done."""


def find_crew(*, jobs: int, cluster: bool, use_gpus: bool) -> AbstractContextManager[Crew]:
    """The crew that the options ask for; all of them are called the same way."""
    if cluster:
        return _ray_cluster(use_gpus=use_gpus)
    return _processes(jobs) if jobs > 1 else _this_process()


def work_off(
    crew: Crew, pieces: Sequence[Piece], progress: Progress | None
) -> Iterator[tuple[str, list[Row] | PixPNetError]]:
    """Let the crew do all pieces, each as soon as it can begin; yields model and rows of each, or its error.

    What can begin only after a piece that failed is left out.
    """
    waiting = deque(pieces)
    running: dict[Future[list[Row] | PixPNetError], Piece] = {}
    total, done = sum(1 + len(piece.then) for piece in pieces), 0
    while waiting or running:
        while waiting and len(running) < crew.capacity:
            piece = waiting.popleft()
            running[crew.submit(piece.call)] = piece
        for future in wait(running, return_when=FIRST_COMPLETED).done:
            piece = running.pop(future)
            result = future.result()
            if isinstance(result, PixPNetError):
                total -= len(piece.then)
            else:
                waiting.extendleft(reversed(piece.then))
            done += 1
            yield piece.model, result
            if progress is not None:
                progress(done, total)


def _attempt(call: Callable[[], list[Row]]) -> list[Row] | PixPNetError:
    """The result, or the error as a value, which comes back the same from any process and machine."""
    try:
        return call()
    except PixPNetError as error:
        return error


@contextmanager
def _this_process() -> Iterator[Crew]:
    """Every call is done when it is handed over."""

    def submit(call: Callable[[], list[Row]]) -> Future[list[Row] | PixPNetError]:
        future: Future[list[Row] | PixPNetError] = Future()
        try:
            future.set_result(_attempt(call))
        except Exception as error:  # it is the one who asks for the result that gets it
            future.set_exception(error)
        return future

    yield Crew(submit, 1)


@contextmanager
def _processes(jobs: int) -> Iterator[Crew]:
    """So many processes of this machine; they share its cores, and end with this one, however it ends."""
    # joblib.Parallel knows no pieces that wait for others, the pool below it does not mind.
    from joblib.externals.loky import ProcessPoolExecutor

    threads = max(1, torch.get_num_threads() // jobs)
    pool = ProcessPoolExecutor(jobs, initializer=_begin, initargs=(threads, os.getpid()))

    def submit(call: Callable[[], list[Row]]) -> Future[list[Row] | PixPNetError]:
        with starting_processes():  # by the first call
            return pool.submit(_attempt, call)

    is_done = False
    try:
        yield Crew(submit, jobs)
        is_done = True
    except BrokenProcessPool:
        raise PixPNetError(
            f"one of {jobs} processes ended without a word; perhaps there was not enough memory for so many "
            "--jobs. The same command goes on from here."
        ) from None
    finally:
        pool.shutdown(kill_workers=not is_done)


def _begin(threads: int, parent: int) -> None:
    begin_worker(parent)
    torch.set_num_threads(threads)
    start_logging(os.environ)
    keep_freed_memory(os.environ)


@contextmanager
def _ray_cluster(*, use_gpus: bool) -> Iterator[Crew]:
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
        remote = ray.remote(_attempt).options(num_cpus=1, num_gpus=gpus, max_retries=3)
        yield Crew(lambda call: remote.remote(call).future(), math.inf)
    except RayError as error:
        reason = str(error).partition("\n")[0]
        raise PixPNetError(f"Ray gave up: {reason} The same command goes on from here.") from error
    finally:
        if is_new:
            ray.shutdown()
