"""Exact receptive fields of a network's layers, by propagation of intervals through its torch.fx graph."""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from typing import Any

import torch
from torch import fx, nn

from pixpnet.errors import ConfigError
from pixpnet.modes import evaluating
from pixpnet.receptive_fields.assemble import assemble
from pixpnet.receptive_fields.evaluate import Evaluation, Unknown
from pixpnet.receptive_fields.field import ReceptiveField
from pixpnet.receptive_fields.tensor import FieldTensor, image
from pixpnet.receptive_fields.trace import Trace, trace, trace_through


def receptive_field(
    module: nn.Module, image_size: tuple[int, int], layer: str | None = None, *, channels: int = 3
) -> ReceptiveField:
    """Which box of the image each cell of a layer depends on, exactly, as the network predicts (eval mode).

    Args:
        module: A convolutional network that torch.fx can trace, or a traced one; it is not changed nor run.
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
        height, width = (int(side) for side in image_size)
        if min(height, width, channels) < 1:
            raise ConfigError(
                f"an image of {channels} channels and {height}x{width} pixels: all must be positive"
            )
        self._image_size = (height, width)
        pixels = image(channels, self._image_size)
        with evaluating(module):
            is_graph = isinstance(module, fx.GraphModule)
            self._trace = _run_graph(module, pixels) if is_graph else trace(module, (pixels,))
        self.graph = self._trace.graph
        self._fields: dict[tuple[int, bool], ReceptiveField] = {}

    @property
    def constants(self) -> dict[str, torch.Tensor]:
        """Tensors that the graph mentions and the network does not hold."""
        return self._trace.evaluation.constants

    def find(self, layer: str | None) -> fx.Node:
        """The node of a layer."""
        nodes = {node.name: node for node in self.graph.nodes}
        outputs, error = self._trace.outputs, self._trace.error
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
        return [node for node in nodes if _is_map(self._value(node))]

    def field(self, node: fx.Node, layer: str | None) -> ReceptiveField:
        """The receptive field of a node."""
        value = self._value(node)
        if not isinstance(value, FieldTensor):
            name = "the network's output" if layer is None else f"layer {layer!r}"
            raise ConfigError(f"{name} is not one tensor that depends on the image; name a layer that is")
        key = (id(value.fields), value.is_map)  # activations and the like share their input's fields
        if key not in self._fields:
            self._fields[key] = assemble(value, self._image_size)
        return self._fields[key]

    def _value(self, node: fx.Node) -> Any:
        value = self._trace.evaluation.at_node[node]
        if isinstance(value, Unknown):
            raise value.error
        return value


def _is_map(value: Any) -> bool:
    return isinstance(value, FieldTensor) and value.is_map


def _run_graph(module: fx.GraphModule, pixels: FieldTensor) -> Trace:
    """Evaluate a graph as it stands; modules in it that have no rule are traced."""
    evaluation = Evaluation(module, trace_through)
    outputs: dict[str, fx.Node] = {}
    inputs = [node for node in module.graph.nodes if node.op == "placeholder"]
    for node in module.graph.nodes:
        if node.op == "placeholder":
            evaluation.set(node, pixels if node is inputs[0] else _default(node))
            continue
        stack = [path for path, _ in node.meta.get("nn_module_stack", {}).values()]
        evaluation.run(node, stack[-1] if stack else "")
        paths = [*stack, str(node.target)] if node.op == "call_module" else stack
        outputs.update(dict.fromkeys(paths, node))
    return Trace(module.graph, evaluation, outputs)


def _default(node: fx.Node) -> Any:
    if not node.args:
        raise ConfigError(f"the network takes more than an image: input {node.name!r} has no default")
    return node.args[0]
