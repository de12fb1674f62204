"""Operations that random networks don't draw, one by one against the probe."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torchvision.ops import DropBlock2d, StochasticDepth

from pixpnet.errors import UnsupportedOperationError
from pixpnet.receptive_fields import probe_receptive_field, receptive_field, receptive_fields

SIZE = (13, 10)


class Net(nn.Module):
    """Two convolutions that see different things, and a function of both."""

    def __init__(self, function, *parts: nn.Module) -> None:
        super().__init__()
        self.narrow = nn.Conv2d(3, 4, 1)
        self.wide = nn.Conv2d(3, 4, (3, 5), padding="same")
        self.parts = nn.ModuleList(parts)
        self.function = function

    def forward(self, images: Tensor) -> Tensor:
        return self.function(self.narrow(images), self.wide(images), *self.parts)


class AddsInPlace(nn.Module):
    def __init__(self, reads_the_changed: bool) -> None:
        super().__init__()
        self.narrow = nn.Conv2d(3, 4, 1)
        self.wide = nn.Conv2d(3, 4, 3, padding=1)
        self.reads_the_changed = reads_the_changed

    def forward(self, images: Tensor) -> Tensor:
        x = self.narrow(images)
        y = self.wide(images)
        y.add_(1)
        x.add_(y)
        return x if self.reads_the_changed else y


def dynamic_same(x: Tensor, kernel: int, stride: int) -> Tensor:
    """TensorFlow's padding, computed from the size with Python's numbers."""
    amounts = []
    for side in (x.size(3), x.shape[2]):
        total = max((math.ceil(side / stride) - 1) * stride + kernel - side, 0)
        amounts += [total // 2, total - total // 2]
    if any(amount > 0 for amount in amounts):
        x = F.pad(x, amounts)
    return F.max_pool2d(x, kernel, stride)


def as_numbers(x: Tensor) -> Tensor:
    height, width = x.shape[2:]
    smaller = [round(float(height) / 2), int(width * 0.5)]
    for _ in range(height - 11):
        x = F.max_pool2d(x, 3, 1, 1)
    return F.interpolate(x, size=smaller)


def autocast(a: Tensor, b: Tensor) -> Tensor:
    with torch.autocast(device_type=b.device.type, enabled=False):
        return b * 2


def coordinates(x: Tensor) -> Tensor:
    b, _, h, w = x.shape
    y = torch.linspace(0, 1, h).view(1, 1, h, 1).expand(b, 1, h, w)
    return torch.cat([x, y], dim=1)


def pyramid(a: Tensor, linear: nn.Module | None = None) -> Tensor:
    pooled = [F.adaptive_avg_pool2d(a, side) for side in (1, 2, 4)]
    joined = torch.cat([F.interpolate(p, size=a.shape[-2:], mode="bilinear") for p in pooled], 1)
    return F.max_pool2d(joined, 2)


def flattened_pyramid(a: Tensor, b: Tensor) -> Tensor:
    vector = torch.cat([F.adaptive_max_pool2d(a, 2).flatten(1), F.adaptive_avg_pool2d(b, 3).flatten(1)], 1)
    return vector[:, 5:].view(1, -1, 1, 1)[:, :3]


def linear_attention(x: Tensor) -> Tensor:
    b, c, h, w = x.shape
    tokens = x.reshape(b, c, h * w)
    context = tokens @ tokens.transpose(1, 2)
    return (context @ tokens).reshape(b, c, h, w)


def attention(x: Tensor) -> Tensor:
    b, c, h, w = x.shape
    tokens = x.reshape(b, 2, c // 2, h * w).transpose(2, 3)
    return F.scaled_dot_product_attention(tokens, tokens, tokens).transpose(2, 3).reshape(b, c, h, w)


CASES = {
    "stack and sum": Net(lambda a, b: torch.stack([a, b], 1).sum(1)),
    "stack and unbind": Net(lambda a, b: torch.stack([a, b]).unbind()[1]),
    "stack last": Net(lambda a, b: torch.stack([a, b], -1).amax(-1)),
    "split": Net(lambda a, b: torch.cat([b, a], 1).split([3, 2, 3], dim=1)[2]),
    "split evenly": Net(lambda a, b: torch.cat([b, a], 1).split(3, 1)[2]),
    "tensor_split": Net(lambda a, b: torch.cat([b, a], 1).tensor_split(3, dim=1)[1]),
    "chunk": Net(lambda a, b: torch.chunk(torch.cat([b, a], 1), 2, 1)[1]),
    "narrow": Net(lambda a, b: torch.cat([a, b], 1).narrow(1, 1, 3)),
    "select": Net(lambda a, b: torch.cat([a, b], 1).select(1, 5)[:, None]),
    "index": Net(lambda a, b: torch.cat([a, b], 1)[:, -5].unsqueeze(1)),
    "index list": Net(lambda a, b: torch.cat([a, b], 1)[:, [0, 2]]),
    "index tensor": Net(lambda a, b: torch.cat([a, b], 1)[:, torch.tensor([0, 6])]),
    "index_select": Net(lambda a, b: torch.cat([a, b], 1).index_select(1, torch.tensor([3, 1]))),
    "ellipsis": Net(lambda a, b: b[..., 2:, ::3] + a[..., None, 0].mean()),
    "one row": Net(lambda a, b: b[:, :, 4].unsqueeze(2)),
    "one column repeated": Net(lambda a, b: b[..., 4:5].expand(-1, -1, -1, 3)),
    "flip": Net(lambda a, b: b.flip(2, 3) + a),
    "roll": Net(lambda a, b: torch.roll(b, 2, 3)),
    "tiled": Net(lambda a, b: b.repeat(1, 1, 2, 1)),
    "repeat_interleave": Net(lambda a, b: b.repeat_interleave(2, dim=3)),
    "expand_as": Net(lambda a, b: a.mean((2, 3), keepdim=True).expand_as(b) * b),
    "softmax over channels": Net(lambda a, b: torch.cat([a, b], 1).softmax(dim=1)[:, :2]),
    "softmax over rows": Net(lambda a, b: b.softmax(dim=2)),
    "normalize": Net(lambda a, b: F.normalize(torch.cat([a, b], 1))[:, :1]),
    "normalized tokens": Net(
        lambda a, b: F.normalize(b.flatten(2).transpose(1, 2), dim=1).transpose(1, 2).reshape(b.shape)
    ),
    "glu": Net(lambda a, b: F.glu(torch.cat([a, b, a, a], 1), 1)[:, :3]),
    "max over channels": Net(lambda a, b: torch.cat([a, b], 1).max(1, keepdim=True)[0]),
    "max of two": Net(torch.max),
    "mean over rows": Net(lambda a, b: b.mean(2, keepdim=True)),
    "mean of all": Net(lambda a, b: b - b.mean()),
    "std": Net(lambda a, b: (b - b.mean(1, keepdim=True)) / b.std(1, keepdim=True).clamp(min=1.0)),
    "norm": Net(lambda a, b: b + a.norm(p=2, dim=(2, 3), keepdim=True)),
    "vector_norm": Net(lambda a, b: b + torch.linalg.vector_norm(a, 2, dim=3, keepdim=True)),
    "batch statistics": Net(lambda a, b: F.batch_norm(b, None, None, training=True)),
    "functional batch norm": Net(lambda a, b: F.batch_norm(b, torch.zeros(4), torch.ones(4))),
    "functional instance norm": Net(lambda a, b: F.instance_norm(b)),
    "functional group norm": Net(lambda a, b: F.group_norm(b, 2)[:, :1] + a),
    "functional layer norm": Net(lambda a, b: F.layer_norm(b, b.shape[1:])),
    "groups keep what they see": Net(
        lambda a, b, conv: conv(torch.cat([b, a], 1))[:, 4:], nn.Conv2d(8, 8, 3, groups=4)
    ),
    "functional conv2d": Net(lambda a, b: F.conv2d(b, torch.ones(2, 4, 3, 3), None, 2, (1, 0))),
    "functional conv_transpose2d": Net(
        lambda a, b: F.conv_transpose2d(b, torch.ones(4, 1, 2, 2), stride=3, groups=2)
    ),
    "functional pools": Net(
        lambda a, b: (
            F.avg_pool2d(F.max_pool2d(b, 3, 2, 1), 2) + F.adaptive_max_pool2d(F.lp_pool2d(a, 2.0, 2), (3, 2))
        )
    ),
    "pad channels": Net(
        lambda a, b: torch.cat(
            [a, F.pad(b[:, :, ::2, ::2], (0, 0, 0, 0, 1, 3))[:, :4].repeat(1, 1, 2, 2)[:, :, :13]], 1
        )
    ),
    "nothing seen": Net(lambda a, b: F.pad(a, (0, 0, 0, 0, 0, 2))[:, 4:]),
    "functional channel shuffle": Net(lambda a, b: F.channel_shuffle(torch.cat([a, b], 1), 4)[:, ::2]),
    "pixel unshuffle": Net(lambda a, b: F.pixel_unshuffle(b[:, :, :12], 2)[:, 3:4]),
    "dynamic same padding": Net(lambda a, b: dynamic_same(dynamic_same(b, 3, 2), 2, 3)),
    "control flow over sizes": Net(lambda a, b: b if b.size(-1) > 12 and len(b.shape) == 4 else a),
    "coordinates": Net(lambda a, b: coordinates(b)),
    "pyramid": Net(lambda a, b: pyramid(b)),
    "flattened pyramid": Net(flattened_pyramid),
    "attention by products": Net(lambda a, b: linear_attention(b)),
    "attention": Net(lambda a, b: attention(b)),
    "channel attention": Net(
        lambda a, b, conv: b * conv(b.mean((2, 3)).unsqueeze(1)).transpose(1, 2).unsqueeze(-1),
        nn.Conv1d(1, 1, 3, padding=1),
    ),
    "channels last linear": Net(
        lambda a, b: F.linear(b.movedim(1, -1), torch.ones(5, 4)).permute(0, 3, 1, 2)
    ),
    "matmul by a constant": Net(lambda a, b: (b.permute(0, 2, 3, 1) @ torch.ones(4, 2)).permute(0, 3, 1, 2)),
    "linear over a flattened map": Net(
        lambda a, b, linear: b * linear(b.flatten(1)).view(1, 4, 1, 1), nn.Linear(520, 4)
    ),
    "unflatten": Net(lambda a, b: b.flatten(2).unflatten(2, (13, -1))),
    "squeeze": Net(lambda a, b: a.mean((2, 3), keepdim=True).squeeze(-1).squeeze().view(1, -1, 1, 1) + b),
    "operators": Net(lambda a, b: abs(-a) ** 2 + (1 - b) / 3 - (a > 0) * 2),
    "fractional scale": Net(lambda a, b: F.interpolate(b, scale_factor=1.7, recompute_scale_factor=True)),
    "sizes as Python's numbers": Net(lambda a, b: as_numbers(b)),
    "torch.batch_norm": Net(
        lambda a, b: torch.batch_norm(b, None, None, torch.zeros(4), torch.ones(4), False, 0.1, 1e-5, False)
    ),
    "torch.instance_norm": Net(
        lambda a, b: torch.instance_norm(b[:, :, :5], None, None, None, None, True, 0.1, 1e-5, False)
    ),
    "response over channels": Net(lambda a, b: F.local_response_norm(torch.cat([a, b], 1), 3)[:, 2:4]),
    "normalised vector": Net(lambda a, b: F.layer_norm(b.mean((2, 3)), (4,)).view(1, 4, 1, 1) * a),
    "keepdim without its name": Net(lambda a, b: b.mean((2, 3), True) * 0 + b),
    "in place without its name": Net(lambda a, b: F.relu(b, True) + a),
    "attribute ndim": Net(lambda a, b: b if b.ndim == 4 and b.dtype == torch.float32 else a),
    "autocast": Net(autocast),
    "one dimension": Net(lambda a, b, conv: conv(b.mean(3)).unsqueeze(3), nn.Conv1d(4, 4, 3)),
    "output_size": Net(lambda a, b, conv: conv(b, output_size=(27, 20)), nn.ConvTranspose2d(4, 1, 2, 2)),
    "maxima beside their indices": Net(lambda a, b, pool: pool(b)[0], nn.MaxPool2d(2, return_indices=True)),
    "einsum": Net(lambda a, b: torch.einsum("bchw,dc->bdhw", b, torch.ones(3, 4))),
    "matrix times rows": Net(lambda a, b: torch.ones(3, 13) @ b),
    "repeated by views": Net(
        lambda a, b: b[:, :, :, None, :, None].expand(-1, -1, -1, 2, -1, 3).reshape(1, 4, 26, 30)
    ),
    "shuffled by views": Net(
        lambda a, b: b.view(1, 2, 2, 13, 10).transpose(1, 2).reshape(1, 4, 13, 10)[:, 1:]
    ),
    "rms norm": Net(lambda a, b: F.rms_norm(b.permute(0, 2, 3, 1), (4,)).permute(0, 3, 1, 2)),
    "noise of its size": Net(lambda a, b: b + torch.zeros_like(b) + b.new_ones(4, 1, 1)),
    "half": Net(lambda a, b: b.half().to(a.dtype)),
    "in place, the changed": AddsInPlace(True),
    "in place, the other": AddsInPlace(False),
}


@pytest.mark.parametrize("name", CASES)
def test_operation_sees_what_the_probe_finds(name: str):
    network = CASES[name]
    ours, probed = receptive_field(network, SIZE), probe_receptive_field(network, SIZE)
    np.testing.assert_array_equal(ours.boxes, probed.boxes)


ARGUMENTS = {
    nn.Conv2d: (3, 2, 3),
    nn.ConvTranspose2d: (3, 2, 3, 2),
    nn.Linear: (10, 4),
    nn.MaxPool2d: (3,),
    nn.AvgPool2d: (3,),
    nn.LPPool2d: (2, 3),
    nn.AdaptiveAvgPool2d: (4,),
    nn.AdaptiveMaxPool2d: ((None, 4),),
    nn.BatchNorm2d: (3,),
    nn.SyncBatchNorm: (3,),
    nn.InstanceNorm2d: (3,),
    nn.GroupNorm: (1, 3),
    nn.LayerNorm: (10,),
    nn.RMSNorm: (10,),
    nn.LocalResponseNorm: (3,),
    nn.Softmax: (1,),
    nn.Softmin: (2,),
    nn.LogSoftmax: (3,),
    nn.GLU: (3,),
    nn.ZeroPad2d: (1,),
    nn.ConstantPad2d: ((1, 0, 2, -1), 0.5),
    nn.ReflectionPad2d: (2,),
    nn.ReplicationPad2d: ((0, 1, 2, 0),),
    nn.CircularPad2d: (2,),
    nn.Upsample: (None, 2),
    nn.UpsamplingNearest2d: ((5, 15),),
    nn.UpsamplingBilinear2d: (None, 2),
    nn.PixelShuffle: (1,),
    nn.PixelUnshuffle: (1,),
    nn.ChannelShuffle: (3,),
    nn.Flatten: (1,),
    nn.Threshold: (0.1, 0.0),
}
WITHOUT_ARGUMENTS = (
    nn.CELU, nn.ELU, nn.GELU, nn.Hardshrink, nn.Hardsigmoid, nn.Hardswish, nn.Hardtanh, nn.Identity,
    nn.LeakyReLU, nn.LogSigmoid, nn.Mish, nn.PReLU, nn.RReLU, nn.ReLU, nn.ReLU6, nn.SELU, nn.SiLU,
    nn.Sigmoid, nn.Softmax2d, nn.Softplus, nn.Softshrink, nn.Softsign, nn.Tanh, nn.Tanhshrink,
)  # fmt: skip


@pytest.mark.parametrize(
    ("kind", "arguments"),
    [*((kind, ()) for kind in WITHOUT_ARGUMENTS), *ARGUMENTS.items()],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_modules_see_what_the_probe_finds(kind: type[nn.Module], arguments: tuple):
    # A convolution before it, and the module in a container, so that it is kept whole.
    network = nn.Sequential(nn.Conv2d(3, 3, 3, padding=1), kind(*arguments))
    ours, probed = receptive_field(network, SIZE), probe_receptive_field(network, SIZE)
    np.testing.assert_array_equal(ours.boxes, probed.boxes)


@pytest.mark.parametrize(
    "module",
    [
        *(kind(0.5) for kind in (nn.Dropout, nn.Dropout2d, nn.AlphaDropout, nn.FeatureAlphaDropout)),
        StochasticDepth(0.5, "row"),
        DropBlock2d(0.5, 3),
    ],
    ids=lambda module: type(module).__name__,
)
def test_dropout_counts_as_it_does_when_the_network_predicts(module: nn.Module):
    field = receptive_field(nn.Sequential(module), SIZE)
    np.testing.assert_array_equal(field.boxes, receptive_field(nn.Identity(), SIZE).boxes)
    assert receptive_fields(nn.Sequential(module), SIZE, ["_0"])


def test_both_choices_of_where_count():
    """Which one it takes is a matter of values, and the probe only finds the one that is taken."""
    for function in (
        lambda a, b: torch.where(torch.ones(1, 4, 1, 1) > 0, a, b),
        lambda a, b: torch.where(b > 1, a, 2.0),
        lambda a, b: a.masked_fill(b > 0, 0.0),
    ):
        network = Net(function)
        np.testing.assert_array_equal(
            receptive_field(network, SIZE).boxes, receptive_field(network, SIZE, "wide").boxes
        )


INTERPOLATIONS = [
    {"mode": "nearest"},
    {"mode": "nearest-exact"},
    {"mode": "area"},
    *(
        {"mode": mode, "align_corners": aligned, "antialias": antialias}
        for mode in ("bilinear", "bicubic")
        for aligned in (False, True)
        for antialias in (False, True)
    ),
]


@pytest.mark.parametrize("options", INTERPOLATIONS, ids=str)
@pytest.mark.parametrize(
    "target",
    [{"scale_factor": 2}, {"scale_factor": 3}, {"scale_factor": 0.5}, {"size": (11, 15)}, {"size": (3, 4)}],
    ids=str,
)
def test_taps_of_weight_zero_are_not_seen(options: dict, target: dict):
    """The smallest box: that of the pixels with a derivative."""

    def function(x: Tensor) -> Tensor:
        return F.interpolate(x, **target, **options)

    field = receptive_field(Net(lambda a, b: function(a)), (6, 8))
    derivatives = torch.autograd.functional.jacobian(function, torch.zeros(1, 1, 6, 8))[0, 0, :, :, 0, 0]
    for row, column in np.ndindex(*field.grid_size):
        rows, columns = (derivatives[row, column] != 0).nonzero(as_tuple=True)
        expected = (int(columns.min()), int(rows.min()), int(columns.max()) + 1, int(rows.max()) + 1)
        assert field.box(row, column) == expected


def test_borders_of_doubled_images_see_one_pixel():
    field = receptive_field(nn.Upsample(scale_factor=2, mode="bilinear"), (3, 4))
    assert field.rows.tolist() == [[0, 1], [0, 2], [0, 2], [1, 3], [1, 3], [2, 3]]
    assert field.box(0, 0) == (0, 0, 1, 1)
    probed = probe_receptive_field(nn.Upsample(scale_factor=2, mode="bilinear"), (3, 4))
    np.testing.assert_array_equal(field.boxes, probed.boxes)


class WritesIntoAConstant(nn.Module):
    """What is no operation on the image holds it afterwards."""

    def forward(self, x: Tensor) -> Tensor:
        kept = torch.zeros(1, 3, 13, 10)
        kept.copy_(x)
        return F.avg_pool2d(x, 3, 1, 1) * kept


def test_constants_that_the_image_is_written_into_are_refused():
    with pytest.raises(UnsupportedOperationError, match="into a tensor that does not"):
        receptive_field(WritesIntoAConstant(), SIZE)


def test_batch_norm_of_a_vector():
    network = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.BatchNorm1d(3))
    assert receptive_field(network, SIZE).boxes.tolist() == [[[0, 0, 10, 13]]]


class Inherits(nn.Conv2d):
    """A convolution in everything but its name."""

    def __init__(self) -> None:
        super().__init__(3, 1, 3)


class Overrides(nn.Conv2d):
    """Looks like a convolution of one tap and crops first."""

    def forward(self, input: Tensor) -> Tensor:
        return super().forward(input[..., 4:])


def test_subclasses_of_modules_that_have_a_rule():
    assert receptive_field(nn.Sequential(Inherits()), SIZE).box(0, 0) == (0, 0, 3, 3)
    assert receptive_field(nn.Sequential(Overrides(3, 1, 1)), SIZE).box(0, 0) == (4, 0, 5, 1)


def test_a_module_whose_forward_was_replaced():
    pool = nn.MaxPool2d(2)
    pool.forward = lambda x: F.max_pool2d(x, 3)  # type: ignore[method-assign]
    assert receptive_field(nn.Sequential(pool), SIZE).box(0, 0) == (0, 0, 3, 3)


def test_a_network_whose_own_forward_was_replaced():
    pool = nn.MaxPool2d(2)
    pool.forward = lambda x: F.max_pool2d(x, 3)  # type: ignore[method-assign]
    with pytest.raises(UnsupportedOperationError, match="forward was replaced"):
        receptive_field(pool, SIZE)


def test_parametrized_weights():
    conv = nn.utils.parametrizations.weight_norm(nn.Conv2d(3, 1, 3))
    assert receptive_field(nn.Sequential(conv), SIZE).box(1, 1) == (1, 1, 4, 4)


class ChangesAView(nn.Module):
    """A view of what an in-place sum changes is read afterwards."""

    def forward(self, x: Tensor) -> Tensor:
        y = x * 1
        part = y[:, :1]
        y.add_(F.avg_pool2d(x, 3, 1, 1))
        return part


class ChangesAViewByOperator(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        y = x * 1
        part = y[:, :1]
        y += F.avg_pool2d(x, 3, 1, 1)
        return part


class FailsInPlace(nn.Module):
    """What an in-place operation without a rule leaves behind is read."""

    def forward(self, x: Tensor) -> Tensor:
        y = x * 1
        y.cumsum_(1)
        return y


class ChangesAShape(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        y = x * 1
        y.transpose_(2, 3)
        return y


@pytest.mark.parametrize(
    "network", [ChangesAView(), ChangesAViewByOperator(), FailsInPlace(), ChangesAShape()]
)
def test_memory_shared_with_what_changes_in_place_is_refused(network: nn.Module):
    with pytest.raises(UnsupportedOperationError, match="shares its memory"):
        receptive_field(network, SIZE)


REFUSED = {
    "interleaves": Net(lambda a, b: F.pixel_shuffle(torch.cat([a[:, :2], b[:, 1:3]], 1), 2)),
    "cuts rows or columns": Net(lambda a, b: b[:, :, :12].reshape(1, 4, 6, 2, 10)),
    "in two dimensions at once": Net(lambda a, b: b.flatten(2).transpose(1, 2) @ b.flatten(2)),
    "lie in different dimensions": Net(lambda a, b: b[:, :, :10] + b[:, :, :10].transpose(2, 3)),
    r"grid_sample .* no rule for torch's aten.grid_sampler_2d": Net(
        lambda a, b: F.grid_sample(b, torch.zeros(1, 4, 4, 2), align_corners=False)
    ),
    r"Unfold .* no rule for torch's aten.im2col": Net(lambda a, b, unfold: unfold(b), nn.Unfold(2)),
    "attention with a mask": Net(
        lambda a, b: F.scaled_dot_product_attention(b, b, b, is_causal=True),
    ),
    "weights depend on the image": Net(F.conv2d),
    "indices of maxima": Net(lambda a, b, pool: pool(b)[1] * 2, nn.MaxPool2d(2, return_indices=True)),
    "which elements it picks depends": Net(lambda a, b: b[b > 0]),
    "attribute grad": Net(lambda a, b: b.grad),
}


@pytest.mark.parametrize("reason", REFUSED)
def test_what_is_not_known_is_refused_by_name(reason: str):
    with pytest.raises(UnsupportedOperationError, match=reason):
        receptive_field(REFUSED[reason], SIZE)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float16, torch.bfloat16])
def test_precision_of_the_weights_does_not_matter(dtype: torch.dtype):
    network = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Conv2d(4, 2, 3, stride=2))
    wanted = receptive_field(network, (12, 12))
    assert receptive_field(network.to(dtype), (12, 12)).box(1, 2) == wanted.box(1, 2)
