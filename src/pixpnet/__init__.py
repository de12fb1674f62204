"""Pixel-grounded prototypical part networks: what an explanation shows is what the network saw.

>>> import pixpnet
>>> backbone = pixpnet.build_backbone("resnet18", layer="layer2", pretrained=False)
>>> field = pixpnet.receptive_field(backbone, (224, 224))
>>> field.grid_size
(28, 28)
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pixpnet.backbones import build_backbone, build_tiled
    from pixpnet.certificate import verify
    from pixpnet.config import Config
    from pixpnet.editing import edit, list_prototypes, suggest
    from pixpnet.errors import (
        CheckpointError,
        ConfigError,
        DataError,
        FileError,
        MissingDataError,
        PixPNetError,
        UnsupportedOperationError,
    )
    from pixpnet.evaluation import evaluate
    from pixpnet.explanation import explain, predict
    from pixpnet.exporting import export
    from pixpnet.fitting import fit
    from pixpnet.memory import keep_freed_memory
    from pixpnet.model import Model, load
    from pixpnet.pixel_space import pixel_space_map
    from pixpnet.projection import project
    from pixpnet.prototypes import PrototypeNetwork
    from pixpnet.receptive_fields import ReceptiveField, probe_receptive_field, receptive_field
    from pixpnet.runs import Change, Run
    from pixpnet.training import resume, train

__version__ = "0.1.0"

__all__ = [
    "Change",
    "CheckpointError",
    "Config",
    "ConfigError",
    "DataError",
    "FileError",
    "MissingDataError",
    "Model",
    "PixPNetError",
    "PrototypeNetwork",
    "ReceptiveField",
    "Run",
    "UnsupportedOperationError",
    "build_backbone",
    "build_tiled",
    "edit",
    "evaluate",
    "explain",
    "export",
    "fit",
    "keep_freed_memory",
    "list_prototypes",
    "load",
    "pixel_space_map",
    "predict",
    "probe_receptive_field",
    "project",
    "receptive_field",
    "resume",
    "suggest",
    "train",
    "verify",
]

# Loaded on first use: `import pixpnet` alone does not wait for torch.
_HOMES = {
    "Change": "runs",
    "CheckpointError": "errors",
    "Config": "config",
    "ConfigError": "errors",
    "DataError": "errors",
    "FileError": "errors",
    "MissingDataError": "errors",
    "Model": "model",
    "PixPNetError": "errors",
    "PrototypeNetwork": "prototypes",
    "ReceptiveField": "receptive_fields",
    "Run": "runs",
    "UnsupportedOperationError": "errors",
    "build_backbone": "backbones",
    "build_tiled": "backbones",
    "edit": "editing",
    "evaluate": "evaluation",
    "explain": "explanation",
    "export": "exporting",
    "fit": "fitting",
    "keep_freed_memory": "memory",
    "list_prototypes": "editing",
    "load": "model",
    "pixel_space_map": "pixel_space",
    "predict": "explanation",
    "probe_receptive_field": "receptive_fields",
    "project": "projection",
    "receptive_field": "receptive_fields",
    "resume": "training",
    "suggest": "editing",
    "train": "training",
    "verify": "certificate",
}


def __getattr__(name: str) -> object:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)


def __dir__() -> list[str]:
    return sorted([*__all__, *(name for name in globals() if name.startswith("__"))])
