"""Random small networks for hypothesis, made of everything that convolutional networks are made of."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn import functional

Draw = Callable[[st.SearchStrategy], Any]


class Step(nn.Module):
    """A function of one tensor and the modules that it needs."""

    def __init__(self, about: str, function: Callable[..., Tensor], *modules: nn.Module) -> None:
        super().__init__()
        self.parts = nn.ModuleList(modules)
        self.function = function
        self.about = about

    def extra_repr(self) -> str:
        return self.about

    def forward(self, x: Tensor) -> Tensor:
        return self.function(x, *self.parts)


def numbers(low: int, high: int) -> st.SearchStrategy[int]:
    return st.integers(low, high)


def pairs(low: int, high: int) -> st.SearchStrategy[tuple[int, int]]:
    return st.tuples(numbers(low, high), numbers(low, high))


def divisors(number: int) -> list[int]:
    return [k for k in range(1, number + 1) if number % k == 0]


def convolution(draw: Draw, channels: int) -> nn.Module:
    stride = draw(pairs(1, 3))
    paddings = [pairs(0, 2), st.just("valid")] + ([st.just("same")] if stride == (1, 1) else [])
    groups = draw(st.sampled_from(divisors(channels)))
    return nn.Conv2d(
        channels,
        groups * draw(numbers(1, 2)),
        draw(pairs(1, 4)),
        stride=stride,
        padding=draw(st.one_of(paddings)),
        dilation=draw(pairs(1, 3)),
        groups=groups,
        padding_mode=draw(st.sampled_from(["zeros", "zeros", "zeros", "reflect", "replicate", "circular"])),
    )


def transposed(draw: Draw, channels: int) -> nn.Module:
    stride, dilation = draw(pairs(1, 3)), draw(pairs(1, 2))
    groups = draw(st.sampled_from(divisors(channels)))
    return nn.ConvTranspose2d(
        channels,
        groups,
        draw(pairs(1, 3)),
        stride=stride,
        padding=draw(pairs(0, 1)),
        output_padding=tuple(draw(numbers(0, max(s, d) - 1)) for s, d in zip(stride, dilation, strict=True)),
        dilation=dilation,
        groups=groups,
    )


def max_pool(draw: Draw, channels: int) -> nn.Module:
    kernel = draw(pairs(1, 4))
    return nn.MaxPool2d(
        kernel,
        draw(pairs(1, 4)),
        padding=tuple(draw(numbers(0, side // 2)) for side in kernel),
        dilation=draw(pairs(1, 2)),
        ceil_mode=draw(st.booleans()),
    )


def average_pool(draw: Draw, channels: int) -> nn.Module:
    kernel = draw(pairs(1, 4))
    return nn.AvgPool2d(
        kernel,
        draw(pairs(1, 4)),
        padding=tuple(draw(numbers(0, side // 2)) for side in kernel),
        ceil_mode=draw(st.booleans()),
        count_include_pad=draw(st.booleans()),
    )


def lp_pool(draw: Draw, channels: int) -> nn.Module:
    return nn.LPPool2d(2, draw(pairs(1, 3)), draw(pairs(1, 3)), ceil_mode=draw(st.booleans()))


def adaptive_pool(draw: Draw, channels: int) -> nn.Module:
    pool = draw(st.sampled_from([nn.AdaptiveAvgPool2d, nn.AdaptiveMaxPool2d]))
    side = st.one_of(st.none(), numbers(1, 7))
    return pool((draw(side), draw(side)))


def padding(draw: Draw, channels: int) -> nn.Module:
    mode = draw(st.sampled_from(["constant", "reflect", "replicate", "circular"]))
    low = -1 if mode == "constant" else 0
    amounts = tuple(draw(numbers(low, 3)) for _ in range(4))
    return Step(f"pad {amounts} {mode}", lambda x: functional.pad(x, amounts, mode=mode))


def upsampling(draw: Draw, channels: int) -> nn.Module:
    mode = draw(st.sampled_from(["nearest", "nearest-exact", "bilinear", "bicubic", "area"]))
    smooth = mode in ("bilinear", "bicubic")
    options: dict[str, Any] = {"mode": mode}
    if smooth:
        options |= {"align_corners": draw(st.booleans()), "antialias": draw(st.booleans())}
    if draw(st.booleans()):
        options["size"] = draw(pairs(1, 14))
    else:
        options["scale_factor"] = draw(st.sampled_from([2, 3, 0.5, 1.5, (2.0, 1.0), (0.7, 1.3)]))
    return Step(f"interpolate {options}", lambda x: functional.interpolate(x, **options))


def normalization(draw: Draw, channels: int) -> nn.Module:
    kind = draw(st.sampled_from(["batch", "batch", "channels", "instance", "group", "response"]))
    if kind == "batch":
        return nn.Sequential(nn.BatchNorm2d(channels), nn.ReLU(inplace=draw(st.booleans())))
    if kind == "channels":
        # Normalised over channels, then mixed by a linear layer, as ConvNeXt does.
        return Step(
            "channels-last",
            lambda x, norm, linear: linear(norm(x.permute(0, 2, 3, 1))).permute(0, 3, 1, 2),
            nn.LayerNorm(channels),
            nn.Linear(channels, channels),
        )
    if kind == "instance":
        return nn.InstanceNorm2d(channels, track_running_stats=draw(st.booleans()))
    if kind == "response":
        return nn.LocalResponseNorm(3)
    return nn.GroupNorm(draw(st.sampled_from(divisors(channels))), channels)


def shuffle(draw: Draw, channels: int) -> nn.Module:
    groups = draw(st.sampled_from(divisors(channels)))

    def function(x: Tensor) -> Tensor:
        b, c, h, w = x.size()
        return x.view(b, groups, c // groups, h, w).transpose(1, 2).contiguous().view(b, -1, h, w)

    return Step(f"shuffle {groups}", function)


def channel_cut(draw: Draw, channels: int) -> nn.Module:
    start = draw(numbers(0, channels - 1))
    step = draw(numbers(1, 2))
    return Step(f"channels {start}::{step}", lambda x: x[:, start::step])


def spatial_cut(draw: Draw, channels: int) -> nn.Module:
    top, left, step = draw(numbers(0, 2)), draw(numbers(0, 2)), draw(numbers(1, 2))
    return Step(f"rows {top}: columns {left}::{step}", lambda x: x[..., top:, left::step])


def same_size(draw: Draw, channels: int, out_channels: int) -> nn.Module:
    """A layer that keeps rows and columns."""
    kernel, dilation = (draw(st.sampled_from([1, 3, 5])) for _ in range(2)), draw(numbers(1, 2))
    return nn.Conv2d(channels, out_channels, tuple(kernel), padding="same", dilation=dilation)


def residual(draw: Draw, channels: int) -> nn.Module:
    in_place = draw(st.booleans())

    def function(x: Tensor, branch: nn.Module) -> Tensor:
        y = branch(x)
        if in_place:
            y += x
            return y
        return x + y

    return Step(f"residual {in_place=}", function, same_size(draw, channels, channels))


def joined(draw: Draw, channels: int) -> nn.Module:
    first, second = same_size(draw, channels, 1), same_size(draw, channels, 2)
    return Step("joined", lambda x, a, b: torch.cat([a(x), x, b(x)], 1), first, second)


def half_changed(draw: Draw, channels: int) -> nn.Module:
    if channels < 2:
        return nn.Identity()
    half = channels - (channels + 1) // 2

    def function(x: Tensor, branch: nn.Module) -> Tensor:
        kept, changed = x.chunk(2, dim=1)
        return torch.cat((kept, branch(changed)), dim=1)

    return Step("half changed", function, same_size(draw, half, half))


def gate(draw: Draw, channels: int) -> nn.Module:
    """Squeeze and excite, or a gate over places."""
    if draw(st.booleans()):
        return Step(
            "squeeze and excite",
            lambda x, scale: x * torch.sigmoid(scale(x.mean((2, 3), keepdim=True))),
            nn.Conv2d(channels, channels, 1, groups=draw(st.sampled_from([1, channels]))),
        )
    return Step("gate", lambda x, conv: x * conv(x.mean(1, keepdim=True)), same_size(draw, 1, 1))


def pixels(draw: Draw, channels: int) -> nn.Module:
    factor = draw(numbers(1, 2))
    unshuffle = nn.PixelUnshuffle(factor)
    if draw(st.booleans()):
        return unshuffle
    return nn.Sequential(nn.Conv2d(channels, factor * factor, 1), nn.PixelShuffle(factor))


def joined_places(draw: Draw, channels: int) -> nn.Module:
    dim = draw(st.sampled_from([2, 3]))
    return Step(
        f"joined along {dim}",
        lambda x, conv: torch.cat([conv(x), x], dim) if dim == 2 else torch.cat([x, conv(x)], dim),
        same_size(draw, channels, channels),
    )


STEPS = {
    "convolution": convolution,
    "convolution again": convolution,
    "transposed": transposed,
    "max_pool": max_pool,
    "average_pool": average_pool,
    "lp_pool": lp_pool,
    "adaptive_pool": adaptive_pool,
    "padding": padding,
    "upsampling": upsampling,
    "normalization": normalization,
    "shuffle": shuffle,
    "channel_cut": channel_cut,
    "spatial_cut": spatial_cut,
    "residual": residual,
    "joined": joined,
    "half_changed": half_changed,
    "gate": gate,
    "pixels": pixels,
    "joined_places": joined_places,
}


@st.composite
def small_networks(draw: Draw, steps: tuple[str, ...] = tuple(STEPS)) -> tuple[nn.Module, tuple[int, int]]:
    """A network of up to six steps, and an image size that it can run on."""
    size = draw(pairs(5, 20))
    network = nn.Sequential()
    x = torch.zeros(1, 3, *size, device="meta")
    for name in draw(st.lists(st.sampled_from(steps), min_size=1, max_size=6)):
        step = STEPS[name](draw, x.shape[1]).eval()
        try:
            y = step.to("meta")(x)
        except (RuntimeError, ValueError):
            continue  # too large a window for what is left of the image
        if min(y.shape) > 0 and y.shape[1] <= 24 and y.shape[2] * y.shape[3] <= 1500:
            x = y
            network.append(step.to_empty(device="cpu"))
    if draw(st.booleans()):  # the hull over channels hides what single ones see
        channel = draw(numbers(0, x.shape[1] - 1))
        network.append(Step(f"channel {channel}", lambda x: x[:, channel : channel + 1]))
    return network, size
