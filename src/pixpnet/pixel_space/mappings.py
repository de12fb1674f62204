"""The mappings from similarities to pixels: the simple ones, the table of all, and what picks from it."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn import functional

from pixpnet.choices import choose
from pixpnet.errors import ConfigError
from pixpnet.pixel_space.receptive_field import receptive_field_map
from pixpnet.pixel_space.request import MapRequest
from pixpnet.prototypes import PrototypeNetwork
from pixpnet.receptive_fields import ReceptiveField
from pixpnet.types import Box


@dataclass(frozen=True)
class Mapping:
    """A way from similarities to pixels, and all that figures, measures and messages need to know of it."""

    function: Callable[[MapRequest], Tensor]
    """From a request to maps [b n H W]."""
    title: str
    """How people call it."""
    note: str = ""
    """What a figure says of the maps and boxes that it shows."""
    map_title: str = "map (yellow: high)"
    """Above the maps of a figure."""
    region: Callable[[ReceptiveField, int, int], Box] = ReceptiveField.box
    """The box that is shown for the cell at (row, column)."""
    region_title: str = "receptive field (displayed)"
    """How a certificate calls these boxes."""
    centers: Callable[[ReceptiveField, Int[Tensor, "*n 2"]], Float[Tensor, "*n 2"]] | None = None
    """The points (x, y) that it shows for cells (row, column); None: where its maps are largest."""
    shows_box: bool = False
    """Whether the box of the best cell is what it displays, and its map says little more than that."""
    colour: str = "#CC79A7"
    line: str = "-"
    """Style of its lines, as matplotlib writes them."""
    is_slow: bool = False
    """Whether its maps are worth keeping."""
    is_baseline: bool = False
    """Whether its maps are noise of the request's generator, one map as good for a prototype as another."""
    require: Callable[[], object] = lambda: None
    """Raises a ConfigError where a package that it needs is not installed."""


def box_centers(receptive_field: ReceptiveField, cells: Int[Tensor, "*n 2"]) -> Float[Tensor, "*n 2"]:
    """The middle of the box of each cell."""
    boxes = torch.from_numpy(receptive_field.boxes).to(cells.device)
    found = boxes[cells[..., 0], cells[..., 1]].float()
    return (found[..., :2] + found[..., 2:]) / 2


@torch.no_grad()
def upsampling_map(request: MapRequest) -> Float[Tensor, "b n H W"]:
    """Bicubic interpolation of the similarities (Chen et al. 2019, section 2.2); without gradient."""
    similarities = request.similarities.to(request.dtype)
    size = tuple(request.image_size)
    return functional.interpolate(similarities, size=size, mode="bicubic", align_corners=False)


def upsampling_region(receptive_field: ReceptiveField, row: int, column: int) -> Box:
    """The box of the image that upsampling suggests for a cell, as large as the box that the cell sees.

    It is the cell's share of the image (row i of h: from i·H/h to (i + 1)·H/h), scaled about its centre to
    the area of the receptive field's box, its shape kept; then moved, and reshaped where a side would be
    longer than the image, until it lies in the image. Its corners are no whole numbers; it is empty where the
    cell sees nothing.
    """
    area = receptive_field.box(row, column).area
    if area == 0:
        return Box(0, 0, 0, 0)
    (height, width), (rows, columns) = receptive_field.image_size, receptive_field.grid_size
    share = height / rows, width / columns
    factor = math.sqrt(area / (share[0] * share[1]))
    tall = min(height, max(factor * share[0], area / width))
    wide = min(width, area / tall)
    top = _inside((row + 0.5) * share[0] - tall / 2, tall, height)
    left = _inside((column + 0.5) * share[1] - wide / 2, wide, width)
    return Box(left, top, min(left + wide, width), min(top + tall, height))


def _inside(start: float, length: float, size: float) -> float:
    return min(max(start, 0.0), size - length)


def upsampled_centers(receptive_field: ReceptiveField, cells: Int[Tensor, "*n 2"]) -> Float[Tensor, "*n 2"]:
    """The middle of each cell's share of the image."""
    from pixpnet.metrics import cell_centers  # which takes its time to import

    sizes = {"grid_size": receptive_field.grid_size, "image_size": receptive_field.image_size}
    return cell_centers(cells, **sizes).float()


def random_map(request: MapRequest) -> Float[Tensor, "b n H W"]:
    """Uniform noise in [0, 1), drawn on the generator's device: a CPU generator gives one map on all devices.

    Raises:
        ConfigError: Without a generator.
    """
    generator, similarities = request.generator, request.similarities
    if generator is None:
        raise ConfigError(
            "a random map needs its source of noise; pass generator=torch.Generator().manual_seed(0)"
        )
    size = (*similarities.shape[:2], *request.image_size)
    noise = torch.rand(size, generator=generator, device=generator.device, dtype=request.dtype)
    return noise.to(similarities.device)


def prototype_relevance_map(request: MapRequest) -> Float[Tensor, "b n H W"]:
    """Relevance of each pixel for the prototype's best cell (Gautam et al. 2023); needs the extra prp."""
    from pixpnet.pixel_space.prp import prp_map

    return prp_map(request)


def require_zennit() -> None:
    """Check that PRP can be had.

    Raises:
        ConfigError: The package zennit is not installed.
    """
    from pixpnet.pixel_space.relevance_pass import import_zennit

    import_zennit()


# The colours are Okabe and Ito's, which colour-blind readers can tell apart; the line styles differ, too.
MAPPINGS: dict[str, Mapping] = {
    "receptive_field": Mapping(
        receptive_field_map,
        title="receptive field",
        note="Method receptive field: each box holds all pixels that the network compared, and no others.",
        map_title="similarity map (yellow: high)",
        centers=box_centers,
        shows_box=True,
        colour="#E69F00",
    ),
    "upsampling": Mapping(
        upsampling_map,
        title="upsampling",
        note="Method upsampling: each box is the cell's share of the image, as large as the receptive field; "
        "it is NOT what the network saw.",
        map_title="upsampled map (yellow: high)",
        region=upsampling_region,
        region_title="upsampling, same area",
        centers=upsampled_centers,
        colour="#0072B2",
        line="--",
    ),
    "random": Mapping(
        random_map,
        title="random",
        note="Method random: the maps are noise and explain nothing; each box is the receptive field, "
        "which the network saw.",
        map_title="noise",
        colour="#666666",
        line=":",
        is_baseline=True,
    ),
    "prp": Mapping(
        prototype_relevance_map,
        title="PRP",
        note="Method PRP: the maps show how relevant pixels are to the best cell; each box is the receptive "
        "field, which the network saw.",
        map_title="relevance map (yellow: high)",
        colour="#009E73",
        line="-.",
        is_slow=True,
        require=require_zennit,
    ),
}


def region_mappings() -> dict[str, Mapping]:
    """The mappings that show regions of their own: of those that show the same, the first."""
    first: dict[Callable[[ReceptiveField, int, int], Box], str] = {}
    for name, mapping in MAPPINGS.items():
        first.setdefault(mapping.region, name)
    return {name: MAPPINGS[name] for name in first.values()}


def mapping_title(name: str) -> str:
    """How people call a mapping; of one that is not in the table (any more), its name."""
    return MAPPINGS[name].title if name in MAPPINGS else name


def region_title(name: str) -> str:
    """How a certificate calls a mapping's boxes; of one that is not in the table (any more), its name."""
    return MAPPINGS[name].region_title if name in MAPPINGS else name


def pixel_space_map(
    method: str,
    similarities: Float[Tensor, "b p h w"],
    receptive_field: ReceptiveField,
    image_size: tuple[int, int],
    *,
    prototypes: Sequence[int] | None = None,
    reduction: str = "max",
    sigma_factor: float = 1.0,
    generator: torch.Generator | None = None,
    network: PrototypeNetwork | None = None,
    images: Float[Tensor, "b 3 H W"] | None = None,
    lowest: Float[Tensor, "3"] | None = None,
    highest: Float[Tensor, "3"] | None = None,
    out: Tensor | None = None,
) -> Float[Tensor, "b n H W"]:
    """Which pixels speak for each prototype, and how much.

    Args:
        method: A name of MAPPINGS.
        similarities: Of all prototypes, at every cell.
        receptive_field: Of the network's patches (``ReceptiveField.for_kernel``), for images of this size.
        image_size: (height, width) of the maps.
        prototypes: Indices of the n prototypes to map, in the order wanted; all if None.
            This and all that follows: as of `MapRequest`.
        out: Memory [b n H W] for the maps, which is returned then. Painting image after image into the same
            one spares `receptive_field` taking some each time; the maps of the other methods are copied.

    >>> field = pixpnet.receptive_field(nn.Conv2d(3, 1, 5, stride=2), (9, 9))
    >>> similarities = torch.rand(1, 2, 3, 3)
    >>> pixpnet.pixel_space_map("receptive_field", similarities, field, (9, 9)).shape
    torch.Size([1, 2, 9, 9])

    Raises:
        ConfigError: If the method or reduction is unknown, a prototype does not exist, sizes differ, or
            something that the method needs is missing.
    """
    mapping = choose(MAPPINGS, method, what="method")
    count = similarities.shape[1]
    chosen = tuple(range(count)) if prototypes is None else tuple(prototypes)
    wrong = [index for index in chosen if not 0 <= index < count]
    if wrong or not chosen:
        found = f"prototype {wrong[0]} does not exist" if wrong else "no prototype was chosen"
        raise ConfigError(f"{found}: there are {count}, numbered from 0")
    if prototypes is not None:
        similarities = similarities[:, list(chosen)]
    maps = mapping.function(
        MapRequest(
            similarities=similarities,
            receptive_field=receptive_field,
            image_size=image_size,
            prototypes=chosen,
            reduction=reduction,
            sigma_factor=sigma_factor,
            generator=generator,
            network=network,
            images=images,
            lowest=lowest,
            highest=highest,
            out=out,
        )
    )
    return maps if out is None or maps is out else out.copy_(maps)
