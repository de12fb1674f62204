"""The 1×1 convolutions between backbone and prototypes (ProtoPNet, section 2.1)."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable

import torch
from jaxtyping import Float
from torch import Tensor, nn

from pixpnet.choices import choose

ADD_ON_ACTIVATIONS: dict[str, Callable[[], nn.Module] | None] = {"sigmoid": nn.Sigmoid, "none": None}


def regular_widths(in_channels: int, prototype_dim: int) -> list[int]:
    """Channels after each convolution: two, straight to the prototypes' dimension."""
    return [prototype_dim, prototype_dim]


def bottleneck_widths(in_channels: int, prototype_dim: int) -> list[int]:
    """Channels after each convolution: pairs, each pair halving the channels until the prototypes' dimension.

    >>> bottleneck_widths(256, 64)
    [128, 128, 64, 64]
    """
    widths: list[int] = []
    while not widths or widths[-1] != prototype_dim:
        width = max(prototype_dim, in_channels // 2)
        widths += [width, width]
        in_channels //= 2
    return widths


def linear_widths(in_channels: int, prototype_dim: int) -> list[int]:
    """One convolution, with nothing between: what a pretrained network's pooled output needs no more of."""
    return [prototype_dim]


ADD_ONS: dict[str, Callable[[int, int], list[int]]] = {
    "regular": regular_widths,
    "bottleneck": bottleneck_widths,
    "linear": linear_widths,
}
"""Name of the add-on -> channels after each of its convolutions."""


def build_add_on(
    kind: str,
    in_channels: int,
    *,
    prototype_dim: int,
    activation: str,
    init_weights: bool,
    generator: torch.Generator | None = None,
) -> nn.Sequential:
    """Convolutions with ReLU between them and the activation last.

    With init_weights: Kaiming-normal (fan-out), the last convolution Xavier-normal, biases 0; else torch's
    default (drawn from torch's global generator).

    Raises:
        ConfigError: unknown kind or activation.
    """
    widths = choose(ADD_ONS, kind, what="add-on-layers-type")(in_channels, prototype_dim)
    last = choose(ADD_ON_ACTIVATIONS, activation, what="add-on-activation")
    layers: OrderedDict[str, nn.Module] = OrderedDict()
    for number, (before, after) in enumerate(zip([in_channels, *widths], widths, strict=False), start=1):
        is_last = number == len(widths)
        layers["conv_last" if is_last else f"conv{number}"] = nn.Conv2d(before, after, kernel_size=1)
        if not is_last:
            layers[f"relu{number}"] = nn.ReLU(inplace=True)
    if last is not None:
        layers[activation] = last()
    add_on = nn.Sequential(layers)
    if init_weights:
        _initialise(add_on, generator)
    return add_on


def _initialise(add_on: nn.Sequential, generator: torch.Generator | None) -> None:
    for name, layer in add_on.named_children():
        if not isinstance(layer, nn.Conv2d):
            continue
        if name == "conv_last":
            nn.init.xavier_normal_(layer.weight, generator=generator)
        else:
            nn.init.kaiming_normal_(layer.weight, mode="fan_out", nonlinearity="relu", generator=generator)
        if layer.bias is not None:
            nn.init.zeros_(layer.bias)


@torch.no_grad()
def standardise_inputs(add_on: nn.Module, *, mean: Float[Tensor, "d"], std: Float[Tensor, "d"]) -> None:
    """Make the first layer give, in place, what it now gives for channels of mean 0 and deviation 1.

    A channel that hardly changes (a deviation below a thousandth of the mean one) is scaled as if it did.
    """
    first = next(layer for layer in add_on.children() if isinstance(layer, nn.Conv2d))
    assert first.bias is not None
    std = std.clamp(min=1e-3 * float(std.mean()) or 1.0)
    first.weight /= std[:, None, None]
    first.bias -= first.weight[:, :, 0, 0] @ mean
