"""How a trained network's explanations fare in the measures of interpretability."""

from pixpnet.evaluation.agreement import PROTOCOL_IMAGES
from pixpnet.evaluation.files import EvaluationFiles, draw_bars, draw_curves, tabulate
from pixpnet.evaluation.metric import (
    Curve,
    Evaluation,
    Key,
    Measurement,
    Metric,
    MetricResult,
    Quantity,
    Settings,
    all_methods,
    no_method,
)
from pixpnet.evaluation.run import evaluate, make_plan
from pixpnet.evaluation.subject import ClassBatch, Subject
from pixpnet.evaluation.table import METRICS

__all__ = [
    "METRICS",
    "PROTOCOL_IMAGES",
    "ClassBatch",
    "Curve",
    "Evaluation",
    "EvaluationFiles",
    "Key",
    "Measurement",
    "Metric",
    "MetricResult",
    "Quantity",
    "Settings",
    "Subject",
    "all_methods",
    "draw_bars",
    "draw_curves",
    "evaluate",
    "make_plan",
    "no_method",
    "tabulate",
]
