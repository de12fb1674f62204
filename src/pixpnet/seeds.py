"""Where random numbers come from: seeds that follow from their purpose, generators that are given back."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager

import torch


def stable_seed(*parts: int | str) -> int:
    """The same seed for the same parts, on every machine and in every process.

    >>> stable_seed(42, "validation") == stable_seed(42, "validation") != stable_seed(43, "validation")
    True
    """
    digest = hashlib.blake2b(repr(parts).encode(), digest_size=7).digest()
    return int.from_bytes(digest, "little")


@contextmanager
def seeded(seed: int, *, gpus: bool = False) -> Iterator[None]:
    """Torch's randomness on the CPU, or everywhere, starts from the seed; its former state comes back."""
    devices = range(torch.cuda.device_count()) if gpus and torch.cuda.is_available() else []
    with torch.random.fork_rng(devices=devices):
        if gpus:
            torch.manual_seed(seed)
        else:
            torch.default_generator.manual_seed(seed)
        yield
