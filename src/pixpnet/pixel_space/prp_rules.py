"""What each operation of a network does to relevance: tables of treatments, and zennit's rules for them.

Relevance is carried by the backward pass of torch. Where an operation has a rule, the rule takes the place of
its derivative (`by_rule`); operations that only move values (cut, join, reshape, take the largest) keep
theirs, which moves relevance the way back. zennit's hooks, which would have to be put on the network's own
modules, are not needed for this: the rules are called directly, on layers made for the purpose.
"""

from __future__ import annotations

import operator
from collections.abc import Callable
from enum import Enum, auto
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional
from torchvision.ops import DropBlock2d, StochasticDepth

from pixpnet.errors import ConfigError

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
