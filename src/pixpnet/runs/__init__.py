"""Trained networks on the disk: the run directory, its checkpoints, and reading them back."""

from pixpnet.runs.calibration import Calibration, calibrate, familiarity, find_calibration
from pixpnet.runs.checkpoint import Checkpoint, load_checkpoint, save_checkpoint
from pixpnet.runs.directory import MetricsFile, RunDirectory, writing_to
from pixpnet.runs.manifest import changes_since, read_manifest, write_manifest
from pixpnet.runs.run import Run, is_normalized, load
from pixpnet.runs.thumbnails import keep_thumbnails

__all__ = [
    "Calibration",
    "Checkpoint",
    "MetricsFile",
    "Run",
    "RunDirectory",
    "calibrate",
    "changes_since",
    "familiarity",
    "find_calibration",
    "is_normalized",
    "keep_thumbnails",
    "load",
    "load_checkpoint",
    "read_manifest",
    "save_checkpoint",
    "write_manifest",
    "writing_to",
]
