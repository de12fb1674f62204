"""The options of a run: their data classes, reading them, checking them and writing them out."""

from pixpnet.config.optimizers import resolve_optimizer
from pixpnet.config.parse import config_from_yaml, parse_config
from pixpnet.config.sections import (
    Config,
    DatasetConfig,
    LossConfig,
    ModelConfig,
    OptimizerConfig,
    TestConfig,
    TrainConfig,
)
from pixpnet.config.validate import validate
from pixpnet.config.yaml_files import config_to_yaml

__all__ = [
    "Config",
    "DatasetConfig",
    "LossConfig",
    "ModelConfig",
    "OptimizerConfig",
    "TestConfig",
    "TrainConfig",
    "config_from_yaml",
    "config_to_yaml",
    "parse_config",
    "resolve_optimizer",
    "validate",
]
