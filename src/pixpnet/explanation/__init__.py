"""Why a network decided as it did: the evidence of each prototype, in pixels."""

from pixpnet.explanation.evidence import Contrast, Evidence, Share
from pixpnet.explanation.explainer import Explainer, explain
from pixpnet.explanation.explanation import Explanation
from pixpnet.explanation.files import explain_images
from pixpnet.explanation.one_image import explain_image

__all__ = [
    "Contrast",
    "Evidence",
    "Explainer",
    "Explanation",
    "Share",
    "explain",
    "explain_image",
    "explain_images",
]
