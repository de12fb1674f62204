"""Training: stages, projection, readout, and the files that they leave."""

from pixpnet.training.profiling import PROFILERS
from pixpnet.training.run import resume, train
from pixpnet.training.stages import SCHEDULES

__all__ = ["PROFILERS", "SCHEDULES", "resume", "train"]
