"""Figures of arrays, boxes and words, as matplotlib objects: nothing here touches global state."""

from pixpnet.figures.atlas import AtlasEntry, atlas_figure
from pixpnet.figures.contrast import ContrastColumn, ContrastRow, contrast_figure
from pixpnet.figures.evidence import EvidenceRow, evidence_figure
from pixpnet.figures.panels import Picture, crop, overlay
from pixpnet.figures.saving import FIGURE_FORMATS, png_bytes, save_figure

__all__ = [
    "FIGURE_FORMATS",
    "AtlasEntry",
    "ContrastColumn",
    "ContrastRow",
    "EvidenceRow",
    "Picture",
    "atlas_figure",
    "contrast_figure",
    "crop",
    "evidence_figure",
    "overlay",
    "png_bytes",
    "save_figure",
]
