"""Trained networks on the disk: the run directory, its checkpoints, and reading them back."""

from pixpnet.runs.calibration import Calibration, calibrate, familiarity, find_calibration, keep_calibration
from pixpnet.runs.checkpoint import Checkpoint, load_checkpoint, save_checkpoint
from pixpnet.runs.directory import MODEL_FILE, MetricsFile, RunDirectory, writing_to
from pixpnet.runs.edits import (
    CHANGES,
    Change,
    Edit,
    History,
    ListedEdit,
    Standing,
    append_edit,
    read_history,
)
from pixpnet.runs.inspection import (
    BACKGROUND,
    COSINE,
    TOP,
    PrunedPrototype,
    Pruning,
    nearly_equal_pairs,
    object_shares,
    times_on_top,
)
from pixpnet.runs.manifest import changes_since, read_manifest, write_manifest
from pixpnet.runs.model_folder import write_model
from pixpnet.runs.run import (
    Run,
    Tested,
    best_checkpoint,
    forbidden_patches,
    is_normalized,
    load,
    network_in_force,
)
from pixpnet.runs.thumbnails import keep_thumbnails

__all__ = [
    "BACKGROUND",
    "CHANGES",
    "COSINE",
    "MODEL_FILE",
    "TOP",
    "Calibration",
    "Change",
    "Checkpoint",
    "Edit",
    "History",
    "ListedEdit",
    "MetricsFile",
    "PrunedPrototype",
    "Pruning",
    "Run",
    "RunDirectory",
    "Standing",
    "Tested",
    "append_edit",
    "best_checkpoint",
    "calibrate",
    "changes_since",
    "familiarity",
    "find_calibration",
    "forbidden_patches",
    "is_normalized",
    "keep_calibration",
    "keep_thumbnails",
    "load",
    "load_checkpoint",
    "nearly_equal_pairs",
    "network_in_force",
    "object_shares",
    "read_history",
    "read_manifest",
    "save_checkpoint",
    "times_on_top",
    "write_manifest",
    "write_model",
    "writing_to",
]
