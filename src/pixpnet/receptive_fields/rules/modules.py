"""What the modules of torch and torchvision that are kept whole do, in terms of the functions."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch import nn
from torchvision.ops import DropBlock2d, DropBlock3d, StochasticDepth

from pixpnet.receptive_fields.rules import mixing, normalization, resize, shape, spatial
from pixpnet.receptive_fields.rules.pointwise import pointwise, same
from pixpnet.receptive_fields.tensor import FieldTensor, NotKnown

ModuleRule = Callable[..., Any]


def _conv2d(module: nn.Conv2d, x: FieldTensor) -> FieldTensor:
    padding = module.padding
    if module.padding_mode != "zeros":
        # torch pads first and keeps the amounts under this name, 'same' padding already resolved.
        x, padding = resize.pad(x, module._reversed_padding_repeated_twice, module.padding_mode), 0
    return spatial.convolve(
        x,
        (module.out_channels, module.in_channels // module.groups, *module.kernel_size),
        stride=module.stride,
        padding=padding,
        dilation=module.dilation,
        groups=module.groups,
    )


def _conv_transpose2d(module: nn.ConvTranspose2d, x: FieldTensor, output_size: Any = None) -> FieldTensor:
    if output_size is not None:
        raise NotKnown("a transposed convolution with output_size; give output_padding instead")
    return spatial.convolve_transposed(
        x,
        (module.in_channels, module.out_channels // module.groups, *module.kernel_size),
        stride=module.stride,
        padding=module.padding,
        output_padding=module.output_padding,
        groups=module.groups,
        dilation=module.dilation,
    )


def _conv1d(module: nn.Conv1d, x: FieldTensor) -> FieldTensor:
    (kernel,), (stride,), (dilation,) = module.kernel_size, module.stride, module.dilation
    length, span = x.shape[-1], dilation * (kernel - 1) + 1
    if module.padding == "same":
        outputs = length
    else:
        padding = 0 if isinstance(module.padding, str) else module.padding[0]
        outputs = (length + 2 * padding - span) // stride + 1
    return mixing.pooled_mix(x, (*x.shape[:-2], module.out_channels, outputs))


def _max_pool2d(module: nn.MaxPool2d, x: FieldTensor) -> FieldTensor:
    return spatial.max_pool2d(
        x,
        module.kernel_size,
        module.stride,
        module.padding,
        module.dilation,
        module.ceil_mode,
        module.return_indices,
    )


def _avg_pool2d(module: nn.AvgPool2d, x: FieldTensor) -> FieldTensor:
    return spatial.avg_pool2d(x, module.kernel_size, module.stride, module.padding, module.ceil_mode)


def _lp_pool2d(module: nn.LPPool2d, x: FieldTensor) -> FieldTensor:
    return spatial.lp_pool2d(x, module.norm_type, module.kernel_size, module.stride, module.ceil_mode)


def _batch_norm(module: nn.modules.batchnorm._NormBase, x: FieldTensor) -> FieldTensor:
    return normalization.batch_norm(x, module.running_mean, module.running_var)


def _instance_norm(module: nn.modules.batchnorm._NormBase, x: FieldTensor) -> FieldTensor:
    return normalization.instance_norm(x, use_input_stats=not module.track_running_stats)


def _upsample(module: nn.Upsample, x: FieldTensor) -> FieldTensor:
    return resize.interpolate(
        x,
        module.size,
        module.scale_factor,
        module.mode,
        module.align_corners,
        module.recompute_scale_factor,
    )


def _pad(mode: str) -> ModuleRule:
    def rule(module: Any, x: FieldTensor) -> FieldTensor:
        return resize.pad(x, module.padding, mode)

    return rule


def _whole(function: ModuleRule) -> ModuleRule:
    """A rule that needs nothing of the module."""

    def rule(module: nn.Module, *arguments: Any) -> Any:
        del module
        return function(*arguments)

    return rule


ACTIVATIONS: tuple[type[nn.Module], ...] = (
    nn.CELU, nn.ELU, nn.GELU, nn.Hardshrink, nn.Hardsigmoid, nn.Hardswish, nn.Hardtanh,
    nn.LeakyReLU, nn.LogSigmoid, nn.Mish, nn.PReLU, nn.RReLU, nn.ReLU, nn.ReLU6, nn.SELU, nn.SiLU,
    nn.Sigmoid, nn.Softplus, nn.Softshrink, nn.Softsign, nn.Tanh, nn.Tanhshrink, nn.Threshold,
)  # fmt: skip
UNCHANGED: tuple[type[nn.Module], ...] = (
    nn.Identity, nn.Dropout, nn.Dropout1d, nn.Dropout2d, nn.Dropout3d, nn.AlphaDropout,
    nn.FeatureAlphaDropout, StochasticDepth, DropBlock2d, DropBlock3d,
)  # fmt: skip

MODULES: dict[type[nn.Module], ModuleRule] = {
    **dict.fromkeys(ACTIVATIONS, _whole(pointwise)),
    **dict.fromkeys(UNCHANGED, _whole(same)),
    nn.Conv2d: _conv2d,
    nn.Conv1d: _conv1d,
    nn.ConvTranspose2d: _conv_transpose2d,
    nn.Linear: lambda module, x: mixing.project(x, (module.out_features, module.in_features)),
    nn.MaxPool2d: _max_pool2d,
    nn.AvgPool2d: _avg_pool2d,
    nn.LPPool2d: _lp_pool2d,
    nn.AdaptiveAvgPool2d: lambda module, x: spatial.adaptive_pool2d(x, module.output_size),
    nn.AdaptiveMaxPool2d: lambda module, x: spatial.adaptive_pool2d(
        x, module.output_size, module.return_indices
    ),
    nn.BatchNorm1d: _batch_norm,
    nn.BatchNorm2d: _batch_norm,
    nn.SyncBatchNorm: _batch_norm,
    nn.InstanceNorm2d: _instance_norm,
    nn.GroupNorm: lambda module, x: normalization.group_norm(x, module.num_groups),
    nn.LayerNorm: lambda module, x: normalization.layer_norm(x, module.normalized_shape),
    nn.RMSNorm: lambda module, x: normalization.layer_norm(x, module.normalized_shape),
    nn.LocalResponseNorm: lambda module, x: normalization.local_response_norm(x, module.size),
    nn.Softmax: lambda module, x: mixing.softmax(x, module.dim),
    nn.Softmin: lambda module, x: mixing.softmax(x, module.dim),
    nn.LogSoftmax: lambda module, x: mixing.softmax(x, module.dim),
    nn.Softmax2d: lambda module, x: mixing.softmax(x, -3),
    nn.GLU: lambda module, x: mixing.glu(x, module.dim),
    nn.ZeroPad2d: _pad("constant"),
    nn.ConstantPad2d: _pad("constant"),
    nn.ReflectionPad2d: _pad("reflect"),
    nn.ReplicationPad2d: _pad("replicate"),
    nn.CircularPad2d: _pad("circular"),
    nn.Upsample: _upsample,
    nn.UpsamplingNearest2d: _upsample,
    nn.UpsamplingBilinear2d: _upsample,
    nn.PixelShuffle: lambda module, x: resize.pixel_shuffle(x, module.upscale_factor),
    nn.PixelUnshuffle: lambda module, x: resize.pixel_unshuffle(x, module.downscale_factor),
    nn.ChannelShuffle: lambda module, x: resize.channel_shuffle(x, module.groups),
    nn.Flatten: lambda module, x: shape.flatten(x, module.start_dim, module.end_dim),
    nn.Unflatten: lambda module, x: shape.unflatten(x, module.dim, module.unflattened_size),
}
"""The rule of every module class that is kept whole; subclasses that override nothing of it share it."""


HARMLESS = frozenset(
    {"__init__", "__repr__", "extra_repr", "reset_parameters", "train", "eval", "_load_from_state_dict"}
    | {"__setstate__", "__getstate__", "__deepcopy__", "__class__"}
)
"""Methods that a subclass may override without changing what the module computes."""


def module_rule(module: nn.Module) -> ModuleRule | None:
    """The rule of a module whose class has one, or inherits from one and overrides nothing that counts."""
    overridden = {"forward"} & set(vars(module))
    if not overridden and type(module) in MODULES:
        return MODULES[type(module)]
    for ancestor in type(module).__mro__:
        if ancestor in MODULES:
            return MODULES[ancestor] if not (overridden - HARMLESS) & set(dir(ancestor)) else None
        overridden.update(name for name, value in vars(ancestor).items() if callable(value))
    return None
