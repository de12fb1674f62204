"""The published ways of measuring consistency and stability, by name."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Protocol:
    """What a number of consistency or stability depends on beside the model."""

    image: str
    """`box-224`: cropped to the object's box and squashed to 224 × 224; `test-transform`: the data set's."""
    center: str
    """`upsampled-argmax`: the first maximum of the upsampled similarities; `mapping`: the mapping's own."""
    merge_sides: bool
    """Whether left and right of a part count as one."""
    noise_clip: float | None
    """Largest absolute value of the noise; none: as drawn."""
    skip_hidden: bool
    """Whether images without any visible part are left out of stability; else they count as stable."""
    half_size: float = 36.0
    """Half the side of a prototype's region, in pixels."""
    noise_sigma: float = 0.2
    """Standard deviation of the noise on the normalised image."""
    threshold: float = 0.8
    """Presence of a part from which a prototype is consistent."""


PROTOCOLS = {
    "eval-2023": Protocol(
        image="box-224", center="upsampled-argmax", merge_sides=False, noise_clip=0.25, skip_hidden=False
    ),
    "pixpnet-2023": Protocol(
        image="test-transform", center="mapping", merge_sides=True, noise_clip=None, skip_hidden=True
    ),
}
"""`eval-2023`: Huang et al. 2022 (arXiv 2212.05946); `pixpnet-2023`: Carmichael et al. (PixPNet)."""
