"""From similarities to pixels: what a prototype's similarity map says about the image."""

from pixpnet.pixel_space.mappings import MAPPING_TITLES, MAPPINGS, pixel_space_map
from pixpnet.pixel_space.random import random_map
from pixpnet.pixel_space.receptive_field import REDUCTIONS, receptive_field_map
from pixpnet.pixel_space.request import MapRequest
from pixpnet.pixel_space.upsampling import upsampling_map, upsampling_region

__all__ = [
    "MAPPINGS",
    "MAPPING_TITLES",
    "REDUCTIONS",
    "MapRequest",
    "pixel_space_map",
    "random_map",
    "receptive_field_map",
    "upsampling_map",
    "upsampling_region",
]
