"""The line before the network: one thread takes what waits, predictions that wait together as one batch."""

from __future__ import annotations

import asyncio
import threading
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any, TypeVar

import anyio
from fastapi import HTTPException

from pixpnet.explanation import Prediction, Predictor
from pixpnet.serving.limits import Limits

Answer = TypeVar("Answer")

_RETRY_AFTER = {"Retry-After": "1"}


@dataclass(frozen=True, eq=False)
class _Job:
    """A picture to predict with so many prototypes, or something else to do."""

    picture: bytes = b""
    top_k: int = 0
    work: Callable[[], Any] | None = None
    answer: Future[Any] = field(default_factory=Future)


class Line:
    """All work with pictures happens here, in its order, so that memory is for one batch whoever asks.

    Args:
        predictor: What answers at first.
        limits: Of the line.
        on_batch: Told how many pictures a forward pass has.
    """

    def __init__(self, predictor: Predictor, limits: Limits, *, on_batch: Callable[[int], None]) -> None:
        self.inside = 0
        """Requests that have a place."""
        self.predictor = predictor
        """What answers. Only what is done here may put another one in its place, so each answer is one's."""
        self._limits = limits
        self._on_batch = on_batch
        self._jobs: deque[_Job] = deque()
        self._changed = threading.Condition()
        self._is_open = False
        self._thread = threading.Thread(target=self._work, daemon=True)

    @contextmanager
    def opened(self) -> Iterator[None]:
        """The thread works meanwhile."""
        self._is_open = True
        self._thread.start()
        try:
            yield
        finally:
            with self._changed:
                self._is_open = False
                self._changed.notify()
            self._thread.join(self._limits.timeout)

    @property
    def is_working(self) -> bool:
        return self._thread.is_alive()

    @contextmanager
    def place(self) -> Iterator[None]:
        """A place from before the picture is read until it is answered.

        Raises:
            HTTPException: All are taken.
        """
        if self.inside >= self._limits.max_waiting:
            raise HTTPException(503, "too many requests wait already; try again.", _RETRY_AFTER)
        self.inside += 1
        try:
            yield
        finally:
            self.inside -= 1

    async def predict(self, picture: bytes, *, top_k: int) -> Prediction:
        """As `pixpnet.predict`, with others that wait.

        Raises:
            HTTPException: It takes too long.
        """
        return await self._answer(_Job(picture, top_k))

    async def do(self, work: Callable[[], Answer], *, patient: bool = False) -> Answer:
        """Something else, alone.

        Args:
            work: What to do.
            patient: It may take as long as it likes.

        Raises:
            HTTPException: It takes too long.
        """
        return await self._answer(_Job(work=work), patient=patient)

    async def _answer(self, job: _Job, *, patient: bool = False) -> Any:
        with self._changed:
            self._jobs.append(job)
            self._changed.notify()
        try:
            with anyio.fail_after(None if patient else self._limits.timeout):
                return await asyncio.wrap_future(job.answer)
        except TimeoutError:  # which takes a job that has not begun out of the line
            words = f"there was no answer within {self._limits.timeout:g} seconds; try again."
            raise HTTPException(503, words, _RETRY_AFTER) from None

    def _work(self) -> None:
        while batch := self._next():
            batch = [job for job in batch if job.answer.set_running_or_notify_cancel()]
            if not batch:
                continue
            if batch[0].work is None:
                self._predict(batch)
            else:
                _fulfil(batch[0].answer, batch[0].work)

    def _next(self) -> list[_Job]:
        """What is to be done now, in the order of coming: predictions together, all else alone."""
        with self._changed:
            self._changed.wait_for(lambda: self._jobs or not self._is_open)
            if not self._is_open:
                return []
            batch = [self._jobs.popleft()]
            while (
                batch[0].work is None
                and self._jobs
                and self._jobs[0].work is None
                and len(batch) < self.predictor.most_at_once
            ):
                batch.append(self._jobs.popleft())
            return batch

    def _predict(self, batch: Sequence[_Job]) -> None:
        pictures, top_k = [job.picture for job in batch], max(job.top_k for job in batch)
        try:
            found = [*self.predictor.predict(pictures, top_k=top_k)]
        except Exception as error:
            if len(batch) == 1:
                batch[0].answer.set_exception(error)
            else:  # what is wrong with one picture is none of the others' business
                for job in batch:
                    self._predict([job])
            return
        self._on_batch(len(batch))
        for job, one in zip(batch, found, strict=True):
            job.answer.set_result(replace(one, evidence=one.evidence[: job.top_k]))


def _fulfil(answer: Future[Any], work: Callable[[], Any]) -> None:
    try:
        answer.set_result(work())
    except Exception as error:
        answer.set_exception(error)
