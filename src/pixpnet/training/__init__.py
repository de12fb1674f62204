"""Training: stages, projection, readout, and the files that they leave."""

from pixpnet.training.run import resume, train

__all__ = ["resume", "train"]
