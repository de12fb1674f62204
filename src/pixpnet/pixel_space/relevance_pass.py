"""The network's features once more, such that their derivative is relevance.

Relevance is carried by the backward pass of torch. Where an operation has a rule, the rule takes the place of
its derivative (`by_rule`); operations that only move values (cut, join, reshape, take the largest) keep
theirs, which moves relevance the way back. zennit's hooks, which would have to be put on the network's own
modules, are not needed for this: the rules are called directly, on layers made for the purpose.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Iterator
from enum import Enum, auto
from typing import Any, cast

import torch
from jaxtyping import Float
from torch import Tensor, fx, nn
from torch.fx.node import map_aggregate
from torch.nn import functional
from torch.nn.utils import fuse_conv_bn_weights
from torchvision.ops import DropBlock2d, StochasticDepth

from pixpnet.backbones import cut, trace_with_timm
from pixpnet.errors import ConfigError, UnsupportedOperationError

WAY_OUT = "take a layer before it, or another mapping, such as receptive_field"

SMALLEST = 1e-30
"""Sums of contributions below this count as none, so that no quotient overflows."""


class Treatment(Enum):
    """Ways of passing relevance on."""

    POSITIVE = auto()
    """To the inputs in proportion to their positive contributions, without bias (α1β0; first layer: box)."""
    PASS = auto()
    """To the one input, element by element."""
    SHARE = auto()
    """To the inputs in proportion to their contributions, with ε."""
    SUM = auto()
    """Of two maps: SHARE; of a map and a constant: PASS."""
    SCALE = auto()
    """Of a map and a constant: PASS; of two maps: no rule."""
    ROUTE = auto()
    """To where each value came from, which is what the derivative does."""


MODULES: dict[type[nn.Module], Treatment] = {
    nn.Conv2d: Treatment.POSITIVE,
    nn.Linear: Treatment.POSITIVE,
    nn.BatchNorm2d: Treatment.PASS,
    nn.ReLU: Treatment.PASS,
    nn.ReLU6: Treatment.PASS,
    nn.Sigmoid: Treatment.PASS,
    nn.AvgPool2d: Treatment.SHARE,
    nn.AdaptiveAvgPool2d: Treatment.SHARE,
    nn.MaxPool2d: Treatment.ROUTE,
    nn.AdaptiveMaxPool2d: Treatment.ROUTE,
    nn.Flatten: Treatment.ROUTE,
    nn.Unflatten: Treatment.ROUTE,
    nn.ChannelShuffle: Treatment.ROUTE,
    nn.PixelUnshuffle: Treatment.ROUTE,
    nn.ZeroPad2d: Treatment.ROUTE,
    nn.ReflectionPad2d: Treatment.ROUTE,
    nn.ReplicationPad2d: Treatment.ROUTE,
    **dict.fromkeys(
        (nn.Identity, nn.Dropout, nn.Dropout2d, nn.AlphaDropout, StochasticDepth, DropBlock2d),
        Treatment.ROUTE,  # they keep every value when the network predicts
    ),
}
"""Exact class of a module -> treatment; a subclass may compute something else."""

FUNCTIONS: dict[Callable[..., Any], Treatment] = {
    **dict.fromkeys((operator.add, operator.iadd, torch.add), Treatment.SUM),
    **dict.fromkeys((operator.mul, operator.imul, torch.mul, operator.sub, torch.sub), Treatment.SCALE),
    **dict.fromkeys((torch.relu, functional.relu, functional.relu6), Treatment.PASS),
    **dict.fromkeys((torch.sigmoid, functional.sigmoid), Treatment.PASS),
    **dict.fromkeys(
        (functional.avg_pool2d, functional.adaptive_avg_pool2d, torch.mean),
        Treatment.SHARE,
    ),
    **dict.fromkeys(
        (functional.max_pool2d, torch.max_pool2d, functional.adaptive_max_pool2d), Treatment.ROUTE
    ),
    **dict.fromkeys((torch.cat, torch.concat, torch.concatenate, torch.stack), Treatment.ROUTE),
    **dict.fromkeys((torch.chunk, torch.split, torch.unbind, operator.getitem), Treatment.ROUTE),
    **dict.fromkeys((torch.flatten, torch.reshape, torch.permute, torch.transpose), Treatment.ROUTE),
    **dict.fromkeys((torch.squeeze, torch.unsqueeze, functional.pad), Treatment.ROUTE),
    **dict.fromkeys((functional.dropout, functional.dropout2d), Treatment.ROUTE),
    functional.interpolate: Treatment.ROUTE,  # its weights sum to 1, so relevance does, too
    getattr: Treatment.ROUTE,  # of shape and the like
}
"""Function -> treatment."""

METHODS: dict[str, Treatment] = {
    **dict.fromkeys(("add", "add_"), Treatment.SUM),
    **dict.fromkeys(("mul", "mul_", "sub", "sub_"), Treatment.SCALE),
    **dict.fromkeys(("relu", "relu_", "sigmoid", "sigmoid_"), Treatment.PASS),
    "mean": Treatment.SHARE,
    **dict.fromkeys(("chunk", "split", "unbind", "narrow"), Treatment.ROUTE),
    **dict.fromkeys(("flatten", "reshape", "view", "permute", "transpose", "contiguous"), Treatment.ROUTE),
    **dict.fromkeys(("squeeze", "unsqueeze", "size", "dim", "clone"), Treatment.ROUTE),
}
"""Method of tensors -> treatment."""


def import_zennit() -> Any:
    """The package zennit, with its modules core and rules.

    Raises:
        ConfigError: It is not installed; says how to.
    """
    try:
        import zennit
        import zennit.core
        import zennit.rules
    except ImportError:
        raise ConfigError(
            "prp maps need the package zennit, which is not installed: pip install 'pixpnet[prp]'"
        ) from None
    return zennit


def positive_rule(*, has_negative_input: bool) -> Any:
    """α1β0 without bias: x⁺ with w⁺, and x⁻ with w⁻ where there are negative inputs."""
    parts = [lambda value: value.clamp(min=0), lambda value: value.clamp(max=0)]
    return _contributions(parts if has_negative_input else parts[:1])


def box_rule(lowest: Float[Tensor, "1 c h w"], highest: Float[Tensor, "1 c h w"]) -> Any:
    """zᴮ: relevance in proportion to (x − lowest)·w⁺ + (x − highest)·w⁻ (Montavon et al. 2017, eq. 13).

    Differences are taken before the convolution: as differences of three convolutions (zennit's ZBox), the
    sum of an image at the range's end would be rounding noise, by which relevance is divided. Values beyond
    the range count as its end.
    """
    return _contributions(
        [lambda value: (value - lowest).clamp(min=0), lambda value: (value - highest).clamp(max=0)]
    )


def _contributions(parts: list[Callable[[Tensor], Tensor]]) -> Any:
    """Relevance in proportion to part 0 times w⁺ plus part 1 times w⁻; none where that sum is 0."""
    zennit = import_zennit()
    weights = [
        zennit.rules.ClampMod(min=0.0, zero_params=["bias"]),
        zennit.rules.ClampMod(max=0.0, zero_params=["bias"]),
    ]

    def per_contribution(relevance: Tensor, sums: list[Tensor]) -> list[Tensor]:
        total = sums[0] if len(sums) == 1 else sums[0] + sums[1]
        return [relevance / total.masked_fill(total < SMALLEST, torch.inf)] * len(sums)

    return zennit.core.BasicHook(
        input_modifiers=parts, param_modifiers=weights[: len(parts)], gradient_mapper=per_contribution
    )


def share_rule() -> Any:
    """Relevance in proportion to the contributions, ε = 1e-6."""
    return import_zennit().rules.Norm(stabilizer=1e-6)


def pass_rule() -> Any:
    """Relevance as it comes."""
    return import_zennit().rules.Pass()


def by_rule(layer: nn.Module, rule: Any, value: Tensor) -> Tensor:
    """The layer's output, on whose way back relevance follows the rule.

    The layer belongs to the rule, which sets its parameters to others for a moment on the way back.
    """
    output = _ByRule.apply(value, layer, rule)
    assert isinstance(output, Tensor)
    return output


class _ByRule(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, value: Tensor, layer: nn.Module, rule: Any) -> Tensor:
        ctx.save_for_backward(value)
        ctx.layer, ctx.rule = layer, rule
        return layer(value.clone())  # it may work in place

    @staticmethod
    def backward(ctx: Any, *relevance: Tensor) -> tuple[Tensor, None, None]:
        (value,) = ctx.saved_tensors
        ctx.rule.forward(ctx.layer, (value,), None)
        (below,) = ctx.rule.backward(ctx.layer, (value,), relevance)
        ctx.rule.stored_tensors.clear()
        return below, None, None


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
        network: nn.Module,
        image_size: tuple[int, int],
        *,
        lowest: Float[Tensor, "3"],
        highest: Float[Tensor, "3"],
    ) -> None:
        """The network: from images to features, in eval mode, now and while this is used.

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


def _traced(network: nn.Module) -> fx.GraphModule:
    """The network as one graph over its own modules."""
    try:
        return trace_with_timm(network)
    except Exception as error:  # whatever the network's own code raises when it meets a symbolic value
        raise UnsupportedOperationError(
            "PRP follows operations with torch.fx, which cannot trace this network: "
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
