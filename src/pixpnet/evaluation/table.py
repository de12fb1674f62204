"""The table of metrics: one entry each, in the order in which they are measured and shown."""

from __future__ import annotations

from pixpnet.evaluation.agreement import CONSISTENCY, STABILITY
from pixpnet.evaluation.metric import Metric
from pixpnet.evaluation.ordering import DELETION, RELEVANCE_ORDERING

__all__ = ["METRICS"]

METRICS: dict[str, Metric] = {
    # First: its pass over images and their noisy copies finds what consistency needs, too.
    "stability": STABILITY,
    "consistency": CONSISTENCY,
    "relevance_ordering": RELEVANCE_ORDERING,
    "deletion": DELETION,
}
