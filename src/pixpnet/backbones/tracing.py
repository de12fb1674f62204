"""Networks as torch.fx graphs: tracing, finding a layer by node name or module path, and cutting there."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, TypeVar

import torch
from torch import fx, nn
from torchvision.ops import DropBlock2d, StochasticDepth

from pixpnet.errors import ConfigError

Network = TypeVar("Network", bound=nn.Module)

_PATHS = "module_paths"
"""Key of a node's meta: the dotted paths of the modules whose output the node is, innermost first."""

_LEAVES = (StochasticDepth, DropBlock2d)
"""Modules that act differently in training; traced into, they would freeze the mode of the moment."""


class _Tracer(fx.Tracer):
    """Traces as torch.fx does, and marks on each node the modules that end there."""

    def __init__(
        self,
        leaves: tuple[type[nn.Module], ...] = _LEAVES,
        functions: tuple[Callable[..., Any], ...] = (),
    ) -> None:
        super().__init__(autowrap_functions=functions)
        self._leaves = leaves

    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        return isinstance(m, self._leaves) or super().is_leaf_module(m, module_qualified_name)

    def call_module(self, m: nn.Module, forward: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        output = super().call_module(m, forward, args, kwargs)
        if isinstance(output, fx.Proxy):
            output.node.meta.setdefault(_PATHS, []).append(self.path_of_module(m))
        return output


def graph_of(
    model: nn.Module,
    leaves: Sequence[type[nn.Module]] = (),
    *,
    functions: Sequence[Callable[..., Any]] = (),
) -> fx.GraphModule:
    """The model as a graph over its own parameters and submodules; state-dict keys stay as they are.

    Args:
        model: A network whose control flow does not depend on the values or the size of its input.
        leaves: Further module classes to keep whole.
        functions: Functions to keep whole.
    """
    graph = _Tracer((*_LEAVES, *leaves), tuple(functions)).trace(model)
    return fx.GraphModule(model, graph, class_name=type(model).__name__)


def module_paths(node: fx.Node) -> list[str]:
    """Dotted paths of the modules whose output the node is, innermost first."""
    return node.meta.get(_PATHS, [])


def find_node(network: fx.GraphModule, layer: str) -> fx.Node | None:
    """The node of that name, else the output of the (last call of the) module at that dotted path."""
    nodes = [node for node in network.graph.nodes if node.op not in ("placeholder", "output")]
    by_name = next((node for node in nodes if node.name == layer), None)
    by_path = next((node for node in reversed(nodes) if layer in module_paths(node)), None)
    return by_name or by_path


def cut(network: fx.GraphModule, node_name: str) -> fx.GraphModule:
    """The part of the network that computes one node, with the parameters of that part only.

    Whatever would run after the node is gone, in-place activations on its result included: a cut before an
    in-place ReLU gives the values before the ReLU.
    """
    graph = copy.deepcopy(network.graph)
    for node in reversed(graph.nodes):
        if node.op == "output":
            graph.erase_node(node)
        elif node.name == node_name:
            with graph.inserting_after(node):
                graph.output(node)
        elif not node.users and node.op != "placeholder":
            graph.erase_node(node)
    return fx.GraphModule(network, graph, class_name=network._get_name())


def layer_shapes(network: fx.GraphModule, image_size: tuple[int, int]) -> dict[str, tuple[int, ...]]:
    """Shape of every tensor in the graph for one image, by node name; nothing is computed.

    Raises:
        ConfigError: The network does not take images of that size.
    """
    network = _without_values(network)
    shapes: dict[str, tuple[int, ...]] = {}

    class Recorder(fx.Interpreter):
        def run_node(self, n: fx.Node) -> Any:
            value = super().run_node(n)
            if isinstance(value, torch.Tensor):
                shapes[n.name] = tuple(value.shape)
            return value

    with refusing_images(network, image_size):
        Recorder(network).run(torch.empty(1, 3, *image_size, device="meta"))
    return shapes


def output_shape(network: nn.Module, image_size: tuple[int, int]) -> tuple[int, ...]:
    """Shape of what any network gives for one image; nothing is computed.

    Raises:
        ConfigError: The network does not take images of that size.
    """
    network = _without_values(network)
    dtype = next(network.parameters(), torch.empty(0)).dtype
    with torch.no_grad(), refusing_images(network, image_size):
        return tuple(network(torch.empty(1, 3, *image_size, device="meta", dtype=dtype)).shape)


def _without_values(network: Network) -> Network:
    """A copy in eval mode whose tensors have shapes only; no value is copied on the way."""
    known = [*network.parameters(), *network.buffers()]
    shapes: dict[int, Any] = {id(tensor): torch.empty_like(tensor, device="meta") for tensor in known}
    shapes |= {id(one): nn.Parameter(shapes[id(one)], one.requires_grad) for one in network.parameters()}
    return copy.deepcopy(network, shapes).to("meta").eval()


@contextmanager
def refusing_images(network: nn.Module, image_size: tuple[int, int]) -> Iterator[None]:
    """Tell what a network raises for an image of that size as one error."""
    try:
        yield
    except (AssertionError, RuntimeError, TypeError, ValueError) as error:
        reason = f"{image_size[0]}x{image_size[1]} ({str(error).partition(chr(10))[0]})"
        raise ConfigError(f"{network._get_name()} does not take images of {reason}.") from error
