"""Training: stages, projection, readout, checkpoints and run directories."""

from pixpnet.training.loading import LoadedRun, load
from pixpnet.training.run import resume, train

__all__ = ["LoadedRun", "load", "resume", "train"]
