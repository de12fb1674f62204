"""What a figure shows and says for each pixel-space mapping."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from pixpnet.pixel_space import upsampling_region
from pixpnet.receptive_fields import ReceptiveField
from pixpnet.types import Box


@dataclass(frozen=True)
class Display:
    """How the maps of a method are shown."""

    region: Callable[[ReceptiveField, int, int], Box]
    """The box that is shown for the cell at (row, column)."""
    map_title: str
    note: str


DISPLAYS: dict[str, Display] = {
    "receptive_field": Display(
        ReceptiveField.box,
        "similarity map (yellow: high)",
        "Method receptive field: each box holds all pixels that the network compared, and no others.",
    ),
    "upsampling": Display(
        upsampling_region,
        "upsampled map (yellow: high)",
        "Method upsampling: each box is the cell's share of the image, as large as the receptive field; "
        "it is NOT what the network saw.",
    ),
    "random": Display(
        ReceptiveField.box,
        "noise",
        "Method random: the maps are noise and explain nothing; each box is the receptive field, "
        "which the network saw.",
    ),
    "prp": Display(
        ReceptiveField.box,
        "relevance map (yellow: high)",
        "Method PRP: the maps show how relevant pixels are to the best cell; each box is the receptive "
        "field, which the network saw.",
    ),
}
"""The names of ``pixpnet.pixel_space.MAPPINGS`` -> how their maps are shown."""
