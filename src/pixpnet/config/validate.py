"""What a configuration must satisfy beyond the types of its options."""

from __future__ import annotations

from collections.abc import Mapping

from pixpnet.config.given import shown
from pixpnet.config.optimizers import resolve_optimizer
from pixpnet.config.options import OPTIONS, did_you_mean
from pixpnet.config.sections import Config
from pixpnet.errors import ConfigError

__all__ = ["refuse", "validate"]

REQUIRED: Mapping[str, str] = {
    "model.name": "--model.name protonet",
    "model.feature-extractor": "a backbone, e.g. --model.feature-extractor resnet18",
}


def validate(config: Config) -> None:
    """Check every value of a configuration, and those that depend on each other.

    Raises:
        ConfigError: That names the option, its value and what is allowed.
    """
    values = {name: _value(config, name) for name in OPTIONS}
    for name, example in REQUIRED.items():
        if values[name] is None:
            raise ConfigError(f"{name}: is required; give {example}")
    for name, value in values.items():
        if not OPTIONS[name].accepts(value):
            raise refuse(name, value, spelled=name)
    if config.train.hparam_tune and config.debug:
        raise ConfigError(
            "train.hparam-tune: does not go with debug, which keeps three batches of train.batch-size; "
            "leave out one of the two"
        )
    if config.train.backbone_epochs >= config.train.epochs:
        raise ConfigError(
            f"train.backbone-epochs: {config.train.backbone_epochs} is not less than train.epochs "
            f"({config.train.epochs}), which counts them; prototypes need at least one epoch"
        )
    resolve_optimizer(config.optimizer.name)


def refuse(name: str, value: object, *, spelled: str) -> ConfigError:
    """The error for a value that an option doesn't accept; the caller raises it."""
    option = OPTIONS[name]
    nearest = did_you_mean(str(value), option.choices)
    return ConfigError(f"{spelled}: {shown(value)} is not {option.allowed}{nearest}")


def _value(config: Config, name: str) -> object:
    option = OPTIONS[name]
    return getattr(getattr(config, option.section) if option.section else config, option.field)
