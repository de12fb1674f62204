"""From similarities to pixels: what a prototype's similarity map says about the image."""

from pixpnet.pixel_space.mappings import (
    MAPPINGS,
    Mapping,
    box_centers,
    mapping_title,
    pixel_space_map,
    random_map,
    region_mappings,
    region_title,
    upsampled_centers,
    upsampling_map,
    upsampling_region,
)
from pixpnet.pixel_space.prp import prp_maps, relevance_shares
from pixpnet.pixel_space.receptive_field import REDUCTIONS, receptive_field_map
from pixpnet.pixel_space.request import MapRequest

MAPPING_TITLES = {name: mapping.title for name, mapping in MAPPINGS.items()}
"""`Mapping.title` of each mapping that comes with PixPNet: an older name of that."""

__all__ = [
    "MAPPINGS",
    "MAPPING_TITLES",
    "REDUCTIONS",
    "MapRequest",
    "Mapping",
    "box_centers",
    "mapping_title",
    "pixel_space_map",
    "prp_maps",
    "random_map",
    "receptive_field_map",
    "region_mappings",
    "region_title",
    "relevance_shares",
    "upsampled_centers",
    "upsampling_map",
    "upsampling_region",
]
