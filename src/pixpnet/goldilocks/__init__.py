"""Which layer of which backbone is just right: accuracy against receptive field, stage by stage."""

from pixpnet.goldilocks.run import Outcome, explore

__all__ = ["Outcome", "explore"]
