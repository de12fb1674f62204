"""Training: stages, projection, readout, checkpoints and run directories."""

from pixpnet.training.loading import LoadedRun, load
from pixpnet.training.profiling import PROFILERS
from pixpnet.training.run import resume, train
from pixpnet.training.stages import SCHEDULES

__all__ = ["PROFILERS", "SCHEDULES", "LoadedRun", "load", "resume", "train"]
