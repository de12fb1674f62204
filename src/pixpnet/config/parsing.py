"""From a command line or a YAML text to a checked configuration, and back to YAML.

Names, places and errors are read in `given`; types, lists and the nested data classes are jsonargparse's.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterable, Mapping, Sequence
from functools import cache
from typing import TYPE_CHECKING, Any

import yaml

from pixpnet.choices import did_you_mean
from pixpnet.config.given import Given, read_arguments, read_file, read_yaml, shown
from pixpnet.config.options import Option, to_kebab
from pixpnet.config.sections import OPTIONS, Config
from pixpnet.errors import ConfigError

if TYPE_CHECKING:
    from jsonargparse import ArgumentParser
    from torch.optim import Optimizer

REQUIRED: Mapping[str, str] = {
    "model.feature-extractor": "a backbone, e.g. --model.feature-extractor resnet18",
}

UNSUITABLE: Mapping[str, str] = {
    "LBFGS": "its step evaluates the loss again",
    "Muon": "it takes matrices only, no convolutions",
    "SparseAdam": "it takes sparse gradients only",
}


def parse_config(argv: Sequence[str]) -> Config:
    """The configuration of a command line: defaults, then each ``-c FILE``, then ``--section.option value``.

    Raises:
        ConfigError: In one line: the option as the user spelled it, its value, what is allowed, the nearest.
    """
    files, arguments = read_arguments(argv)
    return _checked([*(one for file in files for one in read_file(file)), *arguments])


def config_from_yaml(text: str, *, source: str = "configuration") -> Config:
    """The configuration of a YAML text, such as `config_to_yaml` writes.

    Args:
        text: The YAML.
        source: Where it is from, for errors.

    Raises:
        ConfigError: In one line, with source and line.
    """
    return _checked(read_yaml(text, source=source))


def validate(config: Config) -> None:
    """Check every value of a configuration, and those that depend on each other.

    Raises:
        ConfigError: That names the option, its value and what is allowed.
    """
    values = {name: _value(config, option) for name, option in OPTIONS.items()}
    for name, example in REQUIRED.items():
        if values[name] is None:
            raise ConfigError(f"{name}: is required; give {example}")
    for name, value in values.items():
        if not OPTIONS[name].accepts(value):
            raise _refusal(OPTIONS[name], value, spelled=name)
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
    for name in ("model.tile-stride", "model.tile-input"):
        if values[name] is not None and config.model.tile is None:
            raise ConfigError(f"{name}: is for tiles; give model.tile, or leave it out")
    _check_frozen(config)
    resolve_optimizer(config.optimizer.name)


def _check_frozen(config: Config) -> None:
    """What goes with train.freeze-backbone and what does not."""
    train = config.train
    if not train.freeze_backbone:
        for name, is_there in {
            "kept-views": train.kept_views,
            "tie-prototypes": train.tie_prototypes,
        }.items():
            if is_there:
                raise ConfigError(f"train.{name}: is for train.freeze-backbone; add it, or leave this out")
        return
    if train.tie_prototypes and not train.push_prototypes:
        raise ConfigError("train.tie-prototypes: needs train.push-prototypes, which finds the patches")
    wrong = {
        "train.backbone-epochs": train.backbone_epochs > 0,
        "train.hparam-tune": train.hparam_tune,
        "dataset.augment-factor": config.dataset.augment_factor > 1,
    }
    for name, is_there in wrong.items():
        if is_there:
            raise ConfigError(
                f"{name}: does not go with train.freeze-backbone, whose features are computed once "
                "(augmented views: train.kept-views); leave out one of the two"
            )


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


def config_to_yaml(config: Config) -> str:
    """Every option in kebab case; ``-c`` with a file of this text gives the same configuration."""
    nested: dict[str, Any] = {}
    for option in OPTIONS.values():
        section = nested.setdefault(option.section, {}) if option.section else nested
        section[to_kebab(option.field)] = _value(config, option)
    return yaml.dump(nested, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=10_000)


def _checked(given: Iterable[Given]) -> Config:
    config = Config()
    for one in given:
        config = _with(config, one.option, _typed(one))
    validate(config)
    return config


def _typed(given: Given) -> Any:
    """The value of the option's type, in its range."""
    option = given.option
    value: Any = given.value
    if value is not None and option.type is not str:
        value = _convert(option, value)
    if not option.accepts(value):
        raise _refusal(option, given.value, spelled=given.spelled)
    if option.name == "dataset.name":
        return re.sub("[-_]", "", str(value)).upper()
    return not value if given.negative else value


def _convert(option: Option, value: str | list[str]) -> Any:
    """Texts as a number, a flag or a list, by jsonargparse; as they are where they are none."""
    from jsonargparse import ArgumentError

    if ":" in "".join(value):  # YAML 1.1 would read 1:30 as the number 90
        return value
    key = f"{option.section}.{option.field}".removeprefix(".")
    nested = {option.section: {option.field: value}} if option.section else {option.field: value}
    try:
        return _parser().parse_object(nested, defaults=False)[key]
    except ArgumentError:
        return value


@cache
def _parser() -> ArgumentParser:
    from jsonargparse import ArgumentParser

    parser = ArgumentParser(exit_on_error=False)
    parser.add_class_arguments(Config)
    return parser


def _value(config: Config, option: Option) -> Any:
    return getattr(getattr(config, option.section) if option.section else config, option.field)


def _with(config: Config, option: Option, value: Any) -> Config:
    """A configuration with another value of an option."""
    if not option.section:
        return dataclasses.replace(config, **{option.field: value})
    section = dataclasses.replace(getattr(config, option.section), **{option.field: value})
    return dataclasses.replace(config, **{option.section: section})


def _refusal(option: Option, value: object, *, spelled: str) -> ConfigError:
    """The error for a value that an option doesn't accept."""
    nearest = did_you_mean(str(value), option.choices)
    return ConfigError(f"{spelled}: {shown(value)} is not {option.allowed}{nearest}")


class _Dumper(yaml.SafeDumper):
    """Writes tuples as lists on one line, and texts so that reading gives back every character."""


def _text(dumper: yaml.SafeDumper, value: str) -> yaml.ScalarNode:
    # Unicode's own line breaks would be folded to spaces in any other style.
    style = '"' if set(value) & set("\x85\u2028\u2029") else None
    return dumper.represent_scalar("tag:yaml.org,2002:str", value, style=style)


_Dumper.add_representer(str, _text)
_Dumper.add_representer(tuple, lambda d, v: d.represent_sequence("tag:yaml.org,2002:seq", v, flow_style=True))
