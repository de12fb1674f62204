"""Figures of arrays, boxes and words, as matplotlib objects: nothing here touches global state."""

from pixpnet.figures.charts import BarPanel, CurveLine, bars_figure, curves_figure
from pixpnet.figures.explanations import (
    AtlasEntry,
    ContrastColumn,
    EvidenceRow,
    atlas_figure,
    contrast_figure,
    evidence_figure,
)
from pixpnet.figures.goldilocks import LayerPoint, goldilocks_figure
from pixpnet.figures.panels import DPI, FIGURE_FORMATS, Picture, crop, overlay, png_bytes, save_figure

__all__ = [
    "DPI",
    "FIGURE_FORMATS",
    "AtlasEntry",
    "BarPanel",
    "ContrastColumn",
    "CurveLine",
    "EvidenceRow",
    "LayerPoint",
    "Picture",
    "atlas_figure",
    "bars_figure",
    "contrast_figure",
    "crop",
    "curves_figure",
    "evidence_figure",
    "goldilocks_figure",
    "overlay",
    "png_bytes",
    "save_figure",
]
