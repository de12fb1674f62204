"""Projection: every prototype becomes the training patch that an optimal one-to-one assignment gives it."""

from pixpnet.projection.assignment import Assignment, minimum_cost_matching
from pixpnet.projection.candidates import DUPLICATE_FILTERS, PatchCandidates
from pixpnet.projection.project import project

__all__ = ["DUPLICATE_FILTERS", "Assignment", "PatchCandidates", "minimum_cost_matching", "project"]
