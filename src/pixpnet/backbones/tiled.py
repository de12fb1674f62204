"""Tiled backbones: a whole network on each tile of the picture, by itself, so that the tile is the field."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int64
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.checkpoint import checkpoint

from pixpnet.backbones.names import REFERENCE_SIZE
from pixpnet.backbones.tracing import output_shape
from pixpnet.errors import ConfigError, UnsupportedOperationError
from pixpnet.receptive_fields import ReceptiveField, receptive_field

TILES_AT_ONCE = {"cpu": 16, "cuda": 1024}
"""Most tiles that run together, by kind of device: what bounds the memory, whatever the number of tiles."""


def tile_starts(side: int, tile: int, stride: float) -> list[int]:
    """First pixel of each tile along a side: about a stride apart, spread evenly from border to border.

    Raises:
        ConfigError: The tile is larger than the side, or the stride larger than the tile.

    >>> tile_starts(224, 80, 36), tile_starts(224, 112, 37), tile_starts(64, 64, 1)
    ([0, 36, 72, 108, 144], [0, 37, 74, 112], [0])
    """
    if not 1 <= tile <= side:
        raise ConfigError(f"a tile of {tile} pixels does not fit into an image whose side is {side}.")
    if not 1 <= stride <= tile:
        raise ConfigError(f"tiles of {tile} pixels, {stride:g} apart, leave pixels out; take 1 to {tile}.")
    gaps = max(round((side - tile) / stride), math.ceil((side - tile) / tile))
    return [(side - tile) * number // gaps for number in range(gaps + 1)] if gaps else [0]


def usual_tile_input(tile: int) -> int:
    """The side that a tile is resized to for a network trained on whole pictures of 224 pixels.

    Half as large again as the tile, since what is small is known less well, rounded up to a multiple of 32,
    and no more than the network's own size unless the tile is.

    >>> [usual_tile_input(tile) for tile in (32, 56, 80, 112, 160, 300)]
    [64, 96, 128, 192, 224, 320]
    """
    rounded_up = (math.ceil(length / 32) * 32 for length in (1.5 * tile, tile))
    larger, as_it_is = rounded_up
    return min(larger, max(as_it_is, REFERENCE_SIZE[0]))


@dataclass(frozen=True)
class Layout:
    """Where the tiles of images of one size lie, and in which order their cells make a grid."""

    tile: int
    tops: list[int]
    lefts: list[int]
    rows: Int64[np.ndarray, "h"]
    """For each row of the grid its place among tile rows × rows in a tile: sorted by the middle."""
    columns: Int64[np.ndarray, "w"]
    field: ReceptiveField

    @property
    def is_sorted(self) -> bool:
        """Whether the order is that of the tiles, as with one cell a tile."""
        return bool((np.diff(self.rows) > 0).all() and (np.diff(self.columns) > 0).all())


class JointNetwork(nn.Module):
    """Several networks that look at the same pictures; their vectors [b d] lie behind one another."""

    def __init__(self, networks: Sequence[nn.Module]) -> None:
        super().__init__()
        self.networks = nn.ModuleList(networks)
        self.layer = str(networks[0].layer)

    def forward(self, images: Float[Tensor, "b 3 H W"]) -> Float[Tensor, "b d 1 1"]:
        return torch.cat([network(images) for network in self.networks], dim=1)


class TiledBackbone(nn.Module):
    """A network run on overlapping tiles of the image, each alone: images [b 3 H W] → features [b d h w].

    A cell's receptive field is its tile, exactly and by construction, whatever the network is made of:
    nothing has to be traced. Where the network gives a grid, its cells see their (traced) field within the
    tile and never beyond. On a CPU an image's features don't depend on the batch it is in, to the last bit:
    its tiles run by themselves, always in the same parts.

    The last tiles lie at the border, so every pixel is in one. In training, with a network that learns, the
    tiles are run anew on the way back (Chen et al. 2016), so memory stays flat; batch norm sees parts of the
    batch's tiles.
    """

    def __init__(
        self,
        network: nn.Module,
        *,
        tile: float,
        stride: float | None = None,
        tile_input: int | None = None,
        name: str | None = None,
        layer: str = "pooled output",
    ) -> None:
        """Wrap a network.

        Args:
            network: From tiles [n 3 t t], normalised as images are, to vectors [n d] or grids [n d h w].
            tile: Side of a tile in pixels; below 1: as a share of the image's shorter side.
            stride: From one tile to the next (about: they are spread evenly); pixels or a share. None: half a
                tile.
            tile_input: Side that each tile is resized to, by itself; None: as it is.
            name: What it is called; None: the network's class.
            layer: What of the network a cell is.

        Raises:
            ConfigError: The network does not take such tiles, or gives neither vectors nor grids.
        """
        super().__init__()
        self.network = network
        self.tile = float(tile)
        self.stride = stride
        self.tile_input = tile_input
        self.name = type(network).__name__ if name is None else name
        self.layer = layer
        side = tile_input or (round(tile) if tile >= 1 else REFERENCE_SIZE[0])
        shape = output_shape(network, (side, side))
        if len(shape) not in (2, 4):
            raise ConfigError(
                f"{self.name} gives tiles neither vectors nor grids, but the shape {list(shape)}."
            )
        self.out_channels = shape[1]
        self._gives_vectors = len(shape) == 2
        self._layouts: dict[tuple[int, int], Layout] = {}

    def receptive_field(self, image_size: tuple[int, int]) -> ReceptiveField:
        """Each cell's box for images of that (height, width): its tile, or its field within the tile.

        Raises:
            ConfigError: The tiles don't fit into the image.
            UnsupportedOperationError: The network gives grids, and has an operation that is not known.
        """
        return self.layout(image_size).field

    def forward(self, images: Float[Tensor, "b 3 H W"]) -> Float[Tensor, "b d h w"]:
        height, width = images.shape[2:]
        layout = self.layout((height, width))
        if torch.compiler.is_compiling():  # in one piece, as the number of images may be any
            return self._grid(images, layout)
        at_once = TILES_AT_ONCE.get(images.device.type, TILES_AT_ONCE["cpu"])
        tiles_each = len(layout.tops) * len(layout.lefts)
        # By itself each image gives the same, to the last bit, in any batch; a GPU wants more at once.
        together = 1 if images.device.type == "cpu" and not self.training else max(1, at_once // tiles_each)
        features = [self._grid(part, layout, at_once) for part in images.split(together)]
        return torch.cat(features)

    def extra_repr(self) -> str:
        return f"{self.name}, {self.layer}, {self.tile=}, {self.stride=}, {self.tile_input=}"

    def of_one_tile(self, image_size: tuple[int, int]) -> nn.Module:
        """From a tile [n 3 t t], where the field's boxes say, to its one cell: the resize and the network.

        Raises:
            ConfigError: The tiles don't fit into the image.
            UnsupportedOperationError: A tile has more than one cell.
        """
        layout = self.layout(image_size)
        if layout.field.grid_size != (len(layout.tops), len(layout.lefts)):
            raise UnsupportedOperationError(f"a tile of {self.name} has more than one cell.")
        side = self.tile_input or layout.tile
        as_cell = [nn.Unflatten(1, (self.out_channels, 1, 1))] if self._gives_vectors else []
        return nn.Sequential(_Resize(layout.tile, side), self.network, *as_cell)

    def each_alone(self) -> list[TiledBackbone]:
        """Itself; of a joint network one backbone for each, whose features lie behind one another."""
        if not isinstance(self.network, JointNetwork):
            return [self]
        options: dict[str, Any] = {"tile": self.tile, "stride": self.stride, "tile_input": self.tile_input}
        return [
            TiledBackbone(one, **options, name=str(one.name), layer=str(one.layer))
            for one in self.network.networks
        ]

    def layout(self, image_size: tuple[int, int]) -> Layout:
        """Where tiles and cells lie in images of that (height, width); raises as `receptive_field`."""
        if image_size not in self._layouts:
            self._layouts[image_size] = self._lay(image_size)
        return self._layouts[image_size]

    def _lay(self, image_size: tuple[int, int]) -> Layout:
        shorter = min(image_size)
        tile = round(_pixels(self.tile, shorter))
        stride = tile / 2 if self.stride is None else _pixels(self.stride, shorter)
        tops, lefts = (tile_starts(side, tile, stride) for side in image_size)
        inside = self._field_in_tile(tile)
        rows, columns = _shifted(inside.rows, tops), _shifted(inside.columns, lefts)
        row_order, column_order = (np.argsort(axis.sum(1), kind="stable") for axis in (rows, columns))
        rows, columns = rows[row_order], columns[column_order]
        cells = None if inside.cells is None else _shifted_boxes(inside, tops, lefts)
        if cells is not None:
            cells = cells[row_order][:, column_order]
        field = ReceptiveField(image_size, rows, columns, rows, columns, cells)
        return Layout(tile, tops, lefts, row_order, column_order, field)

    def _field_in_tile(self, tile: int) -> ReceptiveField:
        side = self.tile_input or tile
        if math.prod(output_shape(self.network, (side, side))[2:]) == 1:
            whole = np.array([[0, tile]])
            return ReceptiveField((tile, tile), whole, whole, whole, whole)
        return receptive_field(nn.Sequential(_Resize(tile, side), self.network), (tile, tile))

    def _grid(
        self, images: Float[Tensor, "b 3 H W"], layout: Layout, at_once: int | None = None
    ) -> Float[Tensor, "b d h w"]:
        tiles = torch.cat(list(_tiles(images, layout)))
        learns = torch.is_grad_enabled() and any(one.requires_grad for one in self.network.parameters())
        parts = []
        for part in [tiles] if at_once is None else tiles.split(at_once):
            cells = checkpoint(self._cells, part, use_reentrant=False) if learns else self._cells(part)
            assert isinstance(cells, Tensor)
            parts.append(cells)
        shape = (len(layout.tops), len(layout.lefts), images.shape[0])
        cells = torch.cat(parts).unflatten(0, shape)  # [tops lefts b d rows columns], the last two of a tile
        grid = cells.permute(2, 3, 0, 4, 1, 5).flatten(4, 5).flatten(2, 3)
        if layout.is_sorted:
            return grid
        rows, columns = (
            torch.as_tensor(order, device=grid.device) for order in (layout.rows, layout.columns)
        )
        return grid[:, :, rows][:, :, :, columns]

    def _cells(self, tiles: Float[Tensor, "n 3 t t"]) -> Float[Tensor, "n d h w"]:
        """What the network gives for tiles."""
        tile = tiles.shape[-1]
        tiles = _Resize(tile, self.tile_input or tile)(tiles)
        cells = self.network(tiles.contiguous(memory_format=torch.channels_last))
        return cells[:, :, None, None] if self._gives_vectors else cells


class _Resize(nn.Module):
    """Each tile by itself to another side: bilinear, with antialiasing where it gets smaller."""

    def __init__(self, tile: int, side: int) -> None:
        super().__init__()
        self.is_same = side == tile
        self.options = {"size": (side, side), "mode": "bilinear", "antialias": side < tile}

    def forward(self, tiles):  # no types: torch.fx traces it with stand-ins that type checkers refuse
        return tiles if self.is_same else functional.interpolate(tiles, **self.options)


def _tiles(images: Float[Tensor, "b 3 H W"], layout: Layout) -> Iterator[Float[Tensor, "b 3 t t"]]:
    """The tiles, row by row."""
    for top in layout.tops:
        for left in layout.lefts:
            yield images[:, :, top : top + layout.tile, left : left + layout.tile]


def _pixels(length: float, side: int) -> float:
    """A length in pixels, or below 1 as a share of a side, in pixels.

    >>> _pixels(80, 224), _pixels(0.25, 224)
    (80, 56.0)
    """
    return length if length >= 1 else length * side


def _shifted(intervals: Int64[np.ndarray, "h 2"], starts: list[int]) -> Int64[np.ndarray, "n 2"]:
    """Intervals in a tile, in the image; (0, 0) where nothing is seen."""
    seeing = intervals[:, 1:] > intervals[:, :1]
    return np.concatenate([(intervals + start) * seeing for start in starts])


def _shifted_boxes(inside: ReceptiveField, tops: list[int], lefts: list[int]) -> Int64[np.ndarray, "h w 4"]:
    """Boxes in a tile, in the image, tile after tile; (0, 0, 0, 0) where nothing is seen."""
    seeing = (inside.percents > 0)[..., None]
    shifts = [[np.array([left, top, left, top]) for left in lefts] for top in tops]
    return np.block([[[(inside.boxes + shift) * seeing] for shift in row] for row in shifts])
