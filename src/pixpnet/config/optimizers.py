"""Optimizers by loosely spelled name."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from pixpnet.config.options import did_you_mean
from pixpnet.errors import ConfigError

if TYPE_CHECKING:
    from torch.optim import Optimizer

__all__ = ["resolve_optimizer"]

UNSUITABLE: Mapping[str, str] = {
    "LBFGS": "its step evaluates the loss again",
    "Muon": "it takes matrices only, no convolutions",
    "SparseAdam": "it takes sparse gradients only",
}


def resolve_optimizer(name: str) -> type[Optimizer]:
    """The class of torch.optim that a name means; case, ``-`` and ``_`` are ignored.

    >>> resolve_optimizer("adam_w").__name__
    'AdamW'

    Raises:
        ConfigError: If no class has the name, or it cannot train these networks.
    """
    from torch import optim

    classes = {
        _loose(key): value
        for key, value in vars(optim).items()
        if isinstance(value, type) and issubclass(value, optim.Optimizer) and value is not optim.Optimizer
    }
    suitable = {key: value for key, value in classes.items() if value.__name__ not in UNSUITABLE}
    if _loose(name) in suitable:
        return suitable[_loose(name)]
    names = sorted(value.__name__ for value in suitable.values())
    found = classes.get(_loose(name))
    reason = f" ({UNSUITABLE[found.__name__]})" if found else did_you_mean(name, names)
    raise ConfigError(f"optimizer.name: {name} is not one of {', '.join(names)}{reason}")


def _loose(name: str) -> str:
    return name.replace("-", "").replace("_", "").lower()
