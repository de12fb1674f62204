"""The options of a run: their data classes, reading them, checking them and writing them out."""

from pixpnet.config._sources import keys, parameters
from pixpnet.config.given import shipped_configurations
from pixpnet.config.options import COUNT, FROM_1, SEED, SIDE, Option, Range, Text, to_kebab
from pixpnet.config.parsing import (
    REQUIRED,
    config_from_yaml,
    config_to_yaml,
    parse_config,
    resolve_optimizer,
    validate,
)
from pixpnet.config.sections import (
    OPTIONS,
    SECTIONS,
    Config,
    DatasetConfig,
    LossConfig,
    ModelConfig,
    OptimizerConfig,
    TestConfig,
    TrainConfig,
)

__all__ = [
    "COUNT",
    "FROM_1",
    "OPTIONS",
    "REQUIRED",
    "SECTIONS",
    "SEED",
    "SIDE",
    "Config",
    "DatasetConfig",
    "LossConfig",
    "ModelConfig",
    "OptimizerConfig",
    "Option",
    "Range",
    "TestConfig",
    "Text",
    "TrainConfig",
    "config_from_yaml",
    "config_to_yaml",
    "keys",
    "parameters",
    "parse_config",
    "resolve_optimizer",
    "shipped_configurations",
    "to_kebab",
    "validate",
]
