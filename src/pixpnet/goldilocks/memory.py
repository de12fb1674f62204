"""Going on with smaller batches where memory runs out."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import TypeVar

from pixpnet.errors import PixPNetError
from pixpnet.training.memory import free_memory, is_out_of_memory

_logger = logging.getLogger(__name__)
_Result = TypeVar("_Result")


def with_fitting_batch(work: Callable[[int], _Result], batch_size: int) -> _Result:
    """What the work gives for the batch size, or for half of it, a quarter ... where memory runs out.

    Raises:
        PixPNetError: A single image does not fit.
    """
    while True:
        try:
            return work(batch_size)
        except (MemoryError, RuntimeError) as error:
            if not is_out_of_memory(error):
                raise
            reason = str(error).partition("\n")[0]
        if batch_size == 1:
            raise PixPNetError(f"Not even a batch of one image fits into memory: {reason}")
        batch_size //= 2
        _logger.warning("Out of memory: going on with batches of %d.", batch_size)
        free_memory()
