"""Why a network decided as it did: the evidence of each prototype, in pixels."""

from pixpnet.explanation.evidence import Contrast, Evidence, Share, find_class, prototype_owners
from pixpnet.explanation.explanation import FORMATS, GROUNDS, Explanation
from pixpnet.explanation.files import Atlas, atlas_to_dict, draw_atlas, explain_images, prototypes_of_class
from pixpnet.explanation.image import Explainer, explain, explain_image, explain_test
from pixpnet.explanation.maps import PixelMaps
from pixpnet.explanation.photograph import Photograph
from pixpnet.explanation.prediction import Prediction, Predictor, outputs_of, predict
from pixpnet.explanation.rows import Written, write_predictions

__all__ = [
    "FORMATS",
    "GROUNDS",
    "Atlas",
    "Contrast",
    "Evidence",
    "Explainer",
    "Explanation",
    "Photograph",
    "PixelMaps",
    "Prediction",
    "Predictor",
    "Share",
    "Written",
    "atlas_to_dict",
    "draw_atlas",
    "explain",
    "explain_image",
    "explain_images",
    "explain_test",
    "find_class",
    "outputs_of",
    "predict",
    "prototype_owners",
    "prototypes_of_class",
    "write_predictions",
]
