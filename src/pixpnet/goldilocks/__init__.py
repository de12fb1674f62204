"""Which layer of which backbone is just right: accuracy against receptive field, stage by stage."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pixpnet.goldilocks.advice import Advice, advise
    from pixpnet.goldilocks.experiment import Outcome, explore
    from pixpnet.goldilocks.features import find_prototypes, read_images
    from pixpnet.goldilocks.linear_probe import accuracies, fit_head, probe
    from pixpnet.goldilocks.networks import finetune_stage
    from pixpnet.goldilocks.ranking import average_seeds, pareto_ranks, rank_rows, undertrained
    from pixpnet.goldilocks.stages import Stage, split_models, stages_of, tile_stages, zoo
    from pixpnet.goldilocks.table import COLUMNS, Row, append_row, read_rows, write_rows

__all__ = [
    "COLUMNS",
    "Advice",
    "Outcome",
    "Row",
    "Stage",
    "accuracies",
    "advise",
    "append_row",
    "average_seeds",
    "explore",
    "find_prototypes",
    "finetune_stage",
    "fit_head",
    "pareto_ranks",
    "probe",
    "rank_rows",
    "read_images",
    "read_rows",
    "split_models",
    "stages_of",
    "tile_stages",
    "undertrained",
    "write_rows",
    "zoo",
]

# Loaded on first use, so that asking for names or rows does not wait for all of torch.
_HOMES = {
    "advice": ("Advice", "advise"),
    "experiment": ("Outcome", "explore"),
    "features": ("find_prototypes", "read_images"),
    "linear_probe": ("accuracies", "fit_head", "probe"),
    "networks": ("finetune_stage",),
    "ranking": ("average_seeds", "pareto_ranks", "rank_rows", "undertrained"),
    "stages": ("Stage", "split_models", "stages_of", "tile_stages", "zoo"),
    "table": ("COLUMNS", "Row", "append_row", "read_rows", "write_rows"),
}


def __getattr__(name: str) -> object:
    for home, names in _HOMES.items():
        if name in names:
            return getattr(import_module(f"{__name__}.{home}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
