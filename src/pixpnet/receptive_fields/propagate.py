"""Exact receptive fields of a network's layers, by propagation of intervals through its torch.fx graph."""

from __future__ import annotations

import difflib
import operator
from collections.abc import Iterable
from typing import Any, Protocol, runtime_checkable

import numpy as np
import torch
from jaxtyping import Int64
from torch import fx, nn

from pixpnet.errors import ConfigError
from pixpnet.modes import evaluating
from pixpnet.receptive_fields.field import ReceptiveField
from pixpnet.receptive_fields.intervals import EMPTY, Term, empty_where, unite
from pixpnet.receptive_fields.tensor import FieldTensor
from pixpnet.receptive_fields.trace import Unknown, trace

Intervals = Int64[np.ndarray, "_ 2"]


@runtime_checkable
class SaysItsField(Protocol):
    """A module that knows each cell's box by construction; every other module is traced."""

    def receptive_field(self, image_size: tuple[int, int], /) -> ReceptiveField:
        """What each cell of its output sees of images of that (height, width)."""
        ...


def receptive_field(
    module: nn.Module, image_size: tuple[int, int], layer: str | None = None, *, channels: int = 3
) -> ReceptiveField:
    """Which box of the image each cell of a layer depends on, exactly, as the network predicts (eval mode).

    Args:
        module: A convolutional network that torch.fx can trace, a traced one, or one that says its field
            itself (`SaysItsField`, such as a tiled backbone); it is not changed nor run.
        image_size: (height, width) in pixels.
        layer: Name of a torch.fx node, or dotted path of a module: its output (of the last call if there are
            several). A node's name goes first. None: the network's output. What is no feature map
            [b d h w] (after flattening, say) is one cell that sees the whole image.
        channels: Channels of the image.

    Raises:
        UnsupportedOperationError: An operation is not known, or the network cannot be traced.
        ConfigError: There is no such layer, or the image is too small.

    >>> receptive_field(nn.Conv2d(3, 8, 3, padding=1), (8, 8)).box(0, 7)
    Box(left=6, top=0, right=8, bottom=2)
    """
    if layer is None and isinstance(module, SaysItsField):
        return module.receptive_field(_checked(image_size, channels))
    known = Layers(module, image_size, channels)
    return known.field(known.find(layer), layer)


def receptive_fields(
    module: nn.Module,
    image_size: tuple[int, int],
    layers: Iterable[str] | None = None,
    *,
    channels: int = 3,
) -> dict[str, ReceptiveField]:
    """Receptive fields of many layers in one propagation.

    Args:
        module: As in `receptive_field`.
        image_size: (height, width) in pixels.
        layers: As in `receptive_field`. None: every node that is a feature map [b d h w], by the node's name.
        channels: Channels of the image.
    """
    known = Layers(module, image_size, channels)
    if layers is None:
        return {node.name: known.field(node, node.name) for node in known.maps()}
    return {layer: known.field(known.find(layer), layer) for layer in layers}


class Layers:
    """A network whose nodes' receptive fields are known, as far as they can be.

    Attributes:
        graph: The network as a graph.
    """

    def __init__(self, module: nn.Module, image_size: tuple[int, int], channels: int) -> None:
        self._image_size = _checked(image_size, channels)
        with evaluating(module):
            self._trace = trace(module, self._image_size, channels)
        self.graph = self._trace.graph
        self._nodes = {node.name: node for node in self.graph.nodes}
        self._fields: dict[tuple[int, bool], ReceptiveField] = {}

    @property
    def constants(self) -> dict[str, torch.Tensor]:
        """Tensors that the graph mentions and the network does not hold."""
        return self._trace.evaluation.constants

    def find(self, layer: str | None) -> fx.Node:
        """The node of a layer."""
        nodes, outputs, error = self._nodes, self._trace.outputs, self._trace.error
        # If tracing failed, it is not sure that a module isn't called once more.
        node = nodes.get(layer or "output") or (outputs.get(layer or "") if error is None else None)
        if node is not None and (node.op != "output" or layer is None):
            return node
        if error is not None:
            raise error
        names = [*nodes, *outputs]
        near = difflib.get_close_matches(layer or "", names, n=5) or names[:5]
        raise ConfigError(
            f"there is no layer {layer!r} (neither a torch.fx node nor the path of a module that is called); "
            f"nearest: {', '.join(near)}"
        )

    def maps(self) -> list[fx.Node]:
        """The nodes that are feature maps.

        Raises:
            UnsupportedOperationError: One of the nodes is not known.
        """
        if self._trace.error is not None:
            raise self._trace.error
        nodes = [node for node in self.graph.nodes if node.op not in ("placeholder", "output")]
        return [node for node in nodes if (x := self._value(node)) is not None and x.is_map]

    def field(self, node: fx.Node, layer: str | None) -> ReceptiveField:
        """The receptive field of a node."""
        name = "the network's output" if layer is None else f"layer {layer!r}"
        value = self._value(node)
        if value is None:
            raise ConfigError(f"{name} is not one tensor that depends on the image; name a layer that is")
        places = [dim for dim, word in enumerate(value.dims) if word and not value.is_map and "c" not in word]
        if places:
            raise ConfigError(
                f"{name}, of shape {value.shape}, has rows or columns of the image in its dimensions "
                f"{', '.join(map(str, places))}, where a feature map is [batch, channels, rows, columns]; "
                "permute it, or name a layer before"
            )
        key = (id(value.fields), value.is_map)  # activations and the like share their input's fields
        if key not in self._fields:
            self._fields[key] = assemble(value, self._image_size)
        return self._fields[key]

    def _value(self, node: fx.Node) -> FieldTensor | None:
        value = self._trace.evaluation.at_node[node]
        if isinstance(value, Unknown):
            raise value.error
        return value


def _checked(image_size: Any, channels: Any) -> tuple[int, int]:
    try:
        height, width = (operator.index(side) for side in image_size)
        wrong = min(height, width, operator.index(channels)) < 1
    except (TypeError, ValueError):
        raise ConfigError(
            f"image_size is (height, width) in pixels, as in (224, 224), and channels a number; got "
            f"{image_size!r} and {channels!r}"
        ) from None
    if wrong:
        raise ConfigError(
            f"an image of {channels} channels and {height}x{width} pixels: all must be positive"
        )
    return height, width


def assemble(x: FieldTensor, image_size: tuple[int, int]) -> ReceptiveField:
    """The hull over channels; a tensor that is no feature map becomes one cell that sees all of it."""
    terms = unite(x.fields)
    grid = x.grid
    if not x.is_map:
        terms = tuple(Term(term.rows.whole(1), term.columns.whole(1)) for term in terms)
        grid = (1, 1)
    if not terms:
        return _seeing_nothing(grid, image_size)
    pairs = [(term.rows.clipped, term.columns.clipped) for term in terms]
    endless = [(term.rows.unclipped, term.columns.unclipped) for term in terms]
    return ReceptiveField(
        image_size,
        _hull([(rows, columns) for rows, columns in pairs]),
        _hull([(columns, rows) for rows, columns in pairs]),
        _hull([(rows, columns) for rows, columns in endless]),
        _hull([(columns, rows) for rows, columns in endless]),
        None if _separable(pairs) else _cells(pairs),
    )


def _seeing_nothing(grid: tuple[int, int], image_size: tuple[int, int]) -> ReceptiveField:
    rows, columns = np.zeros((grid[0], 2), dtype=np.int64), np.zeros((grid[1], 2), dtype=np.int64)
    return ReceptiveField(image_size, rows, columns, rows, columns)


def _hull(pairs: list[tuple[Intervals, Intervals]]) -> Intervals:
    """Hull of the first of each pair, over pairs whose second sees anything; (0, 0) if that is nothing."""
    if len(pairs) == 1 and not any(empty_where(intervals).any() for intervals in pairs[0]):
        return pairs[0][0]
    seeing = [first for first, second in pairs if not empty_where(second).all()]
    stacked = np.stack(seeing or [np.broadcast_to(EMPTY, pairs[0][0].shape)])
    merged = np.stack([stacked[..., 0].min(axis=0), stacked[..., 1].max(axis=0)], axis=1)
    return np.where(empty_where(merged)[:, None], 0, merged)


def _separable(pairs: list[tuple[Intervals, Intervals]]) -> bool:
    """Whether rows × columns says it all: one pair, or none with empty intervals."""
    return len(pairs) == 1 or not any(empty_where(intervals).any() for pair in pairs for intervals in pair)


def _cells(pairs: list[tuple[Intervals, Intervals]]) -> Int64[np.ndarray, "h w 4"]:
    """(left, top, right, bottom) of every cell, over the pairs that see anything there."""
    low = np.full((len(pairs[0][0]), len(pairs[0][1]), 2), EMPTY[0])
    high = np.full_like(low, EMPTY[1])
    for rows, columns in pairs:
        sees = ~(empty_where(rows)[:, None] | empty_where(columns))[..., None]
        starts = np.stack(np.broadcast_arrays(columns[None, :, 0], rows[:, None, 0]), axis=-1)
        stops = np.stack(np.broadcast_arrays(columns[None, :, 1], rows[:, None, 1]), axis=-1)
        low = np.where(sees, np.minimum(low, starts), low)
        high = np.where(sees, np.maximum(high, stops), high)
    boxes = np.concatenate([low, high], axis=-1)
    return np.where((low < high).all(axis=-1, keepdims=True), boxes, 0)
