"""Train and eval mode of modules, changed for a while."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from torch import nn


@contextmanager
def keeping_modes(*modules: nn.Module) -> Iterator[None]:
    """Whatever is done here, each submodule's own mode comes back, also after an error."""
    modes = [(part, part.training) for module in modules for part in module.modules()]
    try:
        yield
    finally:
        for part, training in modes:
            part.training = training


@contextmanager
def evaluating(*modules: nn.Module) -> Iterator[None]:
    """Modules in eval mode; each submodule's own mode comes back, also after an error."""
    with keeping_modes(*modules):
        for module in modules:
            for part in module.modules():
                part.training = False  # a `train` of the network's own might do more than can be undone
        yield
