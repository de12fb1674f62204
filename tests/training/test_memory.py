"""Errors of memory that runs out, told from others."""

import pytest
import torch

from pixpnet.training.memory import is_out_of_memory


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB."), True),
        (torch.OutOfMemoryError("Allocation failed on device 0."), True),
        (MemoryError(), True),
        (RuntimeError("cuDNN error: CUDNN_STATUS_NOT_SUPPORTED. Is the input contiguous?"), True),
        (RuntimeError("shapes differ"), False),
        (ValueError("CUDA out of memory."), False),
    ],
    ids=str,
)
def test_what_is_memory_and_what_is_not(error, expected):
    assert is_out_of_memory(error) == expected


def test_torchs_cpu_allocator_says_so():
    with pytest.raises(RuntimeError) as caught:
        torch.empty(2**60, dtype=torch.uint8)
    assert is_out_of_memory(caught.value)
