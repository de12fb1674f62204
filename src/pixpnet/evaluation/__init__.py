"""How a trained network's explanations fare in the measures of interpretability."""

from pixpnet.evaluation.files import EvaluationFiles
from pixpnet.evaluation.metric import Metric, Outcome, Quantity, Settings
from pixpnet.evaluation.record import Curve, Evaluation, Measurement
from pixpnet.evaluation.run import evaluate
from pixpnet.evaluation.subject import ClassBatch, Subject
from pixpnet.evaluation.table import METRICS

__all__ = [
    "METRICS",
    "ClassBatch",
    "Curve",
    "Evaluation",
    "EvaluationFiles",
    "Measurement",
    "Metric",
    "Outcome",
    "Quantity",
    "Settings",
    "Subject",
    "evaluate",
]
