"""Where `pixpnet.synthbirds` was at first: the names that documents and scripts of that time import."""

from pixpnet.synthbirds import (
    GENERATOR_VERSION,
    MAX_CLASSES,
    MAX_SIZE,
    MIN_SIZE,
    catalogue,
    contact_sheet,
    is_rendered,
    render_dataset,
)

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
