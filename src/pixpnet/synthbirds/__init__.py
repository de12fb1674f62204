"""SynthBirds: rendered birds of which everything is known, in the layout of CUB-200-2011.

The generator knows nothing of PixPNet: it makes folders of images that any program can read.
"""

from pixpnet.synthbirds.anatomy import UPRIGHT, Pose
from pixpnet.synthbirds.folder import (
    GENERATOR_VERSION,
    MAX_SIZE,
    MIN_SIZE,
    contact_sheet,
    is_rendered,
    render_dataset,
)
from pixpnet.synthbirds.picture import Rendering, min_pixels, render_picture
from pixpnet.synthbirds.species import (
    COLOURS,
    FORMS,
    MAX_CLASSES,
    PART_IDS,
    PARTS,
    Species,
    Variant,
    catalogue,
    colour_distance,
    differing_organs,
)

__all__ = [
    "COLOURS",
    "FORMS",
    "GENERATOR_VERSION",
    "MAX_CLASSES",
    "MAX_SIZE",
    "MIN_SIZE",
    "PARTS",
    "PART_IDS",
    "UPRIGHT",
    "Pose",
    "Rendering",
    "Species",
    "Variant",
    "catalogue",
    "colour_distance",
    "contact_sheet",
    "differing_organs",
    "is_rendered",
    "min_pixels",
    "render_dataset",
    "render_picture",
]
