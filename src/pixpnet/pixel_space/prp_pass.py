"""The network's features once more, such that their derivative is relevance."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterator
from typing import Any, cast

import torch
from jaxtyping import Float
from torch import Tensor, fx, nn
from torch.fx.node import map_aggregate
from torch.nn.utils import fuse_conv_bn_weights

from pixpnet.backbones.tracing import cut, trace
from pixpnet.errors import UnsupportedOperationError
from pixpnet.pixel_space.prp_rules import (
    FUNCTIONS,
    METHODS,
    MODULES,
    Treatment,
    box_rule,
    by_rule,
    pass_rule,
    positive_rule,
    share_rule,
)
from pixpnet.prototypes import PrototypeNetwork

WAY_OUT = "take a layer before it, or another mapping, such as receptive_field"


class NoRule(Exception):
    """Why relevance cannot pass an operation; the pass adds which one it is."""


class RelevancePass(fx.Interpreter):
    """Features of images; the derivative of them by the images is relevance, not a gradient.

    Operations are those of the traced network. Convolutions and linear layers are new modules that share the
    network's weights, or have them merged with those of the batch norm behind; the network's own modules are
    only called. (zennit's canonizers merge in the network itself, and keep the batch norm's ε.)
    """

    def __init__(
        self,
        network: PrototypeNetwork,
        image_size: tuple[int, int],
        *,
        lowest: Float[Tensor, "3"],
        highest: Float[Tensor, "3"],
    ) -> None:
        """The network: in eval mode, now and while this is used.

        Raises:
            UnsupportedOperationError: The network cannot be traced.
        """
        traced = _traced(network)
        super().__init__(traced)
        self.extra_traceback = False  # it would add lines to our messages
        self._traced = traced
        self._modules = {
            node: traced.get_submodule(str(node.target))
            for node in traced.graph.nodes
            if node.op == "call_module"
        }
        self._merged = dict(self._merges())
        self._layers = {node: self._layer(node) for node in self._modules if self._is_weighted(node)}
        self._boxes = {node: self._box(node, image_size, lowest, highest) for node in self._first_layers()}

    def run_node(self, n: fx.Node) -> Any:
        """As the interpreter's, with rules for what depends on the image."""
        args, kwargs = self.fetch_args_kwargs_from_env(n)
        if n.op in ("placeholder", "output"):
            return super().run_node(n)
        # What depends on the image is what takes part in derivatives: nothing else here does.
        sources = [tensor for tensor in _tensors((args, kwargs)) if tensor.requires_grad]
        if not sources:
            with torch.no_grad():
                value = super().run_node(n)
            return value.detach() if isinstance(value, Tensor) else value
        try:
            return self._apply(n, args, kwargs, sources)
        except NoRule as reason:
            raise UnsupportedOperationError(
                f"PRP has no rule for the operation {n.name!r} ({self._operation(n)}): {reason}; {WAY_OUT}."
            ) from None

    def _apply(
        self, node: fx.Node, args: tuple[Any, ...], kwargs: dict[str, Any], sources: list[Tensor]
    ) -> Any:
        if node in self._merged.values():
            return args[0]
        if node in self._layers:
            (source,) = sources
            return by_rule(self._layers[node], self._layer_rule(node, source), source)
        treatment = self._treatment(node)
        function = self._function(node)
        if treatment is Treatment.ROUTE:
            output = function(*args, **kwargs)
            if any(not tensor.requires_grad for tensor in _tensors(output)):
                raise NoRule("what it gives has no derivative")
            return output
        if len(sources) == 1:
            (source,) = sources
            rule = share_rule() if treatment is Treatment.SHARE else pass_rule()
            layer = _Operation(
                lambda value: function(*_put(args, source, value), **_put(kwargs, source, value))
            )
            output = by_rule(layer, rule, source)
            if treatment is not Treatment.SHARE and output.shape != source.shape:
                raise NoRule("it changes the shape")
            return output
        if treatment is not Treatment.SUM:
            raise NoRule("two maps are joined, neither of them a constant")
        if kwargs or len(args) != 2 or args[0].shape != args[1].shape:
            raise NoRule("a sum of two maps of different shapes, or weighted")
        return by_rule(_Operation(lambda maps: maps.sum(-1)), share_rule(), torch.stack(args, -1))

    def _layer_rule(self, node: fx.Node, value: Tensor) -> Any:
        if node in self._boxes:
            return box_rule(*self._boxes[node])
        return positive_rule(has_negative_input=bool((value < 0).any()))

    def _treatment(self, node: fx.Node) -> Treatment:
        if node in self._modules:
            module = self._modules[node]
            if isinstance(module, nn.BatchNorm2d) and module.running_var is None:
                raise NoRule("without running statistics it sees the whole image")
            treatment = MODULES.get(type(module))
        else:
            table: dict[Any, Treatment] = METHODS if node.op == "call_method" else FUNCTIONS
            treatment = table.get(node.target)
        if treatment is None:
            raise NoRule("it is none of those that relevance is defined for")
        return treatment

    def _function(self, node: fx.Node) -> Callable[..., Any]:
        if node in self._modules:
            return self._modules[node].forward  # without the hooks that others have put on it
        if node.op == "call_method":
            name = str(node.target)
            return lambda value, *args, **kwargs: getattr(value, name)(*args, **kwargs)
        return cast(Callable[..., Any], node.target)

    def _operation(self, node: fx.Node) -> str:
        if node in self._modules:
            return f"{type(self._modules[node]).__name__} at {node.target}"
        return str(getattr(node.target, "__name__", node.target))

    def _is_weighted(self, node: fx.Node) -> bool:
        return MODULES.get(type(self._modules[node])) is Treatment.POSITIVE

    def _merges(self) -> Iterator[tuple[fx.Node, fx.Node]]:
        """Convolutions whose output goes to a batch norm only, with that batch norm."""
        for node, module in self._modules.items():
            if type(module) is not nn.BatchNorm2d or module.running_var is None:
                continue
            (before,) = node.all_input_nodes
            if type(self._modules.get(before)) is nn.Conv2d and len(before.users) == 1:
                yield before, node

    def _layer(self, node: fx.Node) -> nn.Module:
        """A layer of the same weights, of which parameters may be set without touching the network."""
        module = cast(nn.Conv2d | nn.Linear, self._modules[node])
        has_bias = module.bias is not None or node in self._merged
        if isinstance(module, nn.Linear):
            layer = nn.Linear(module.in_features, module.out_features, bias=has_bias, device="meta")
        else:
            layer = nn.Conv2d(
                *(module.in_channels, module.out_channels, cast(Any, module.kernel_size)),
                stride=cast(Any, module.stride),
                padding=cast(Any, module.padding),
                dilation=cast(Any, module.dilation),
                groups=module.groups,
                bias=has_bias,
                padding_mode=cast(Any, module.padding_mode),
                device="meta",
            )
        weight, bias = module.weight, module.bias
        if node in self._merged:
            norm = cast(nn.BatchNorm2d, self._modules[self._merged[node]])
            statistics = cast(Tensor, norm.running_mean), cast(Tensor, norm.running_var)
            weight, bias = fuse_conv_bn_weights(weight, bias, *statistics, norm.eps, norm.weight, norm.bias)
        layer.weight = nn.Parameter(weight.detach(), requires_grad=False)
        if bias is not None:
            layer.bias = nn.Parameter(bias.detach(), requires_grad=False)
        return layer

    def _first_layers(self) -> list[fx.Node]:
        """Weighted layers that see the image before any other has."""
        behind: set[fx.Node] = set()
        for node in self._traced.graph.nodes:
            if any(source in behind or source in self._layers for source in node.all_input_nodes):
                behind.add(node)
        return [node for node in self._layers if node not in behind]

    def _box(
        self, layer: fx.Node, image_size: tuple[int, int], lowest: Tensor, highest: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Least and largest values that the input of a first layer can have, element by element.

        What may come before it (scales, shifts, padding, pooling) keeps or turns the order of values.
        """
        ends = torch.stack([lowest, highest])[:, :, None, None].expand(-1, -1, *image_size)
        (source,) = layer.all_input_nodes
        with torch.no_grad():
            values = cut(self._traced, source.name)(ends)
        return values.amin(0, keepdim=True), values.amax(0, keepdim=True)


class _Operation(nn.Module):
    """A function as a module, as zennit's rules want it."""

    def __init__(self, function: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self._function = function

    def forward(self, value: Tensor) -> Tensor:
        return self._function(value)


def _traced(network: PrototypeNetwork) -> fx.GraphModule:
    """Backbone and add-on as one graph over their own modules."""
    parts = OrderedDict(backbone=network.backbone, add_on=network.add_on)
    try:
        return trace(nn.Sequential(parts))
    except Exception as error:  # whatever the network's own code raises when it meets a symbolic value
        raise UnsupportedOperationError(
            f"PRP follows operations with torch.fx, which cannot trace {type(network.backbone).__name__}: "
            f"{type(error).__name__}: {error}; {WAY_OUT}."
        ) from error


def _tensors(value: Any) -> Iterator[Tensor]:
    """All tensors in an argument or result."""
    if isinstance(value, Tensor):
        yield value
    elif isinstance(value, (tuple, list)):
        for item in value:
            yield from _tensors(item)
    elif isinstance(value, dict):
        yield from _tensors(list(value.values()))


def _put(arguments: Any, old: Tensor, new: Tensor) -> Any:
    """Arguments with one tensor replaced."""
    return map_aggregate(arguments, lambda value: new if value is old else value)
