"""SynthBirds: rendered birds of which everything is known, in the layout of CUB-200-2011."""

from pixpnet.data.synthbirds.sheet import contact_sheet
from pixpnet.data.synthbirds.species import MAX_CLASSES, catalogue
from pixpnet.data.synthbirds.write import GENERATOR_VERSION, MAX_SIZE, MIN_SIZE, is_rendered, render_dataset

__all__ = [
    "GENERATOR_VERSION",
    "MAX_CLASSES",
    "MAX_SIZE",
    "MIN_SIZE",
    "catalogue",
    "contact_sheet",
    "is_rendered",
    "render_dataset",
]
