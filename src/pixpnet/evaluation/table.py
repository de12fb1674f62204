"""The table of metrics: one entry each, in the order in which they are measured and shown."""

from __future__ import annotations

from pixpnet.evaluation.agreement import CONSISTENCY, STABILITY
from pixpnet.evaluation.metric import Metric
from pixpnet.evaluation.misalignment import MISALIGNMENT
from pixpnet.evaluation.ordering import DELETION, RELEVANCE_ORDERING
from pixpnet.evaluation.pointing import POINTING
from pixpnet.evaluation.purity import PURITY
from pixpnet.evaluation.sparsity import SPARSITY
from pixpnet.evaluation.telling_parts import TELLING_PARTS

METRICS: dict[str, Metric] = {
    # First: its pass over images and their noisy copies finds what consistency needs, too.
    "stability": STABILITY,
    "consistency": CONSISTENCY,
    "relevance_ordering": RELEVANCE_ORDERING,
    "deletion": DELETION,
    "purity": PURITY,
    "pointing": POINTING,
    "telling_parts": TELLING_PARTS,
    "sparsity": SPARSITY,
    "misalignment": MISALIGNMENT,
}
