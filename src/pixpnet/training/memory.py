"""Memory that runs out: how to tell, and how to have it back."""

from __future__ import annotations

import gc

import torch
from accelerate.utils.memory import should_reduce_batch_size


def is_out_of_memory(error: Exception) -> bool:
    """Whether an error is that of a device, of torch's CPU allocator or of Python that has no room."""
    return isinstance(error, MemoryError | torch.OutOfMemoryError) or should_reduce_batch_size(error)


def free_memory() -> None:
    """Give back what nothing refers to any more; once the error is gone, also what its traceback held."""
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
