"""What torch's functions and the methods of tensors do."""

from __future__ import annotations

import operator
from collections.abc import Callable
from typing import Any

import torch
import torchvision
from torch.nn import functional

from pixpnet.receptive_fields.rules import joining, mixing, normalization, resize, shape, spatial
from pixpnet.receptive_fields.rules.pointwise import expand, expand_as, pointwise, same, where
from pixpnet.receptive_fields.tensor import FieldTensor, NotKnown

Rule = Callable[..., Any]

POINTWISE = [
    "abs", "add", "addcdiv", "addcmul", "atan", "bitwise_not", "celu", "ceil", "clamp", "clamp_max",
    "clamp_min", "clip", "cos", "div", "divide", "elu", "eq", "erf", "exp", "expm1", "float_power", "floor",
    "floor_divide", "fmod", "ge", "gelu", "gt", "hardshrink", "hardsigmoid", "hardswish", "hardtanh",
    "isnan", "le", "leaky_relu", "lerp", "log", "log10", "log1p", "log2", "logical_and", "logical_not",
    "logical_or", "logsigmoid", "logit", "lt", "masked_fill", "maximum", "minimum", "mish", "mul",
    "multiply", "nan_to_num", "ne", "neg", "negative", "pow", "prelu", "reciprocal", "relu", "relu6",
    "remainder", "round", "rrelu", "rsqrt", "rsub", "selu", "sigmoid", "sign", "silu", "sin", "softplus",
    "softshrink", "softsign", "sqrt", "square", "sub", "subtract", "tan", "tanh", "tanhshrink", "threshold",
    "true_divide",
]  # fmt: skip
"""Functions that act on matching elements."""

UNCHANGED = [
    "alpha_dropout", "bfloat16", "bool", "clone", "contiguous", "cpu", "cuda", "detach", "double",
    "dropout", "dropout1d", "dropout2d", "dropout3d", "feature_alpha_dropout", "feature_dropout", "float",
    "half", "positive", "to", "type_as",
]  # fmt: skip
"""Functions that keep every element; dropout counts as it does when the network predicts."""

NAMED: dict[str, Rule] = {
    "adaptive_avg_pool2d": spatial.adaptive_pool2d,
    "adaptive_max_pool2d": spatial.adaptive_pool2d,
    "amax": mixing.total,
    "amin": mixing.total,
    "avg_pool2d": spatial.avg_pool2d,
    "batch_norm": normalization.batch_norm,
    "bmm": mixing.matmul,
    "cat": joining.cat,
    "channel_shuffle": resize.channel_shuffle,
    "chunk": shape.chunk,
    "concat": joining.cat,
    "concatenate": joining.cat,
    "conv2d": spatial.conv2d,
    "conv_transpose2d": spatial.conv_transpose2d,
    "expand": expand,
    "expand_as": expand_as,
    "flatten": shape.flatten,
    "flip": shape.flip,
    "glu": mixing.glu,
    "group_norm": normalization.group_norm,
    "index_select": shape.index_select,
    "instance_norm": normalization.instance_norm,
    "interpolate": resize.interpolate,
    "layer_norm": normalization.layer_norm,
    "linear": mixing.linear,
    "local_response_norm": normalization.local_response_norm,
    "log_softmax": mixing.softmax,
    "logsumexp": mixing.total,
    "lp_pool2d": spatial.lp_pool2d,
    "matmul": mixing.matmul,
    "max": mixing.extreme,
    "max_pool2d": spatial.max_pool2d,
    "mean": mixing.total,
    "min": mixing.extreme,
    "movedim": shape.movedim,
    "narrow": shape.narrow,
    "norm": mixing.norm,
    "normalize": normalization.normalize,
    "pad": resize.pad,
    "permute": shape.permute,
    "pixel_shuffle": resize.pixel_shuffle,
    "pixel_unshuffle": resize.pixel_unshuffle,
    "prod": mixing.total,
    "repeat_interleave": shape.repeat_interleave,
    "reshape": shape.view,
    "reshape_as": shape.view_as,
    "rms_norm": normalization.layer_norm,
    "roll": shape.roll,
    "scaled_dot_product_attention": mixing.attention,
    "select": shape.select,
    "softmax": mixing.softmax,
    "softmin": mixing.softmax,
    "split": shape.split,
    "squeeze": shape.squeeze,
    "stack": joining.stack,
    "std": mixing.deviation,
    "sum": mixing.total,
    "swapaxes": shape.transpose,
    "tensor_split": shape.tensor_split,
    "transpose": shape.transpose,
    "unbind": shape.unbind,
    "unflatten": shape.unflatten,
    "unsqueeze": shape.unsqueeze,
    "upsample": resize.interpolate,
    "var": mixing.deviation,
    "view": shape.view,
    "view_as": shape.view_as,
    "where": where,
    **dict.fromkeys(POINTWISE, pointwise),
    **dict.fromkeys(UNCHANGED, same),
}
"""One rule per name, whether torch has it as a function, in torch.nn.functional, or as a method."""


ATTRIBUTES: dict[str, Rule] = {
    "T": lambda x: shape.permute(x, tuple(reversed(range(len(x.dims))))),
    "data": same,
    "device": lambda x: torch.device("cpu"),
    "dtype": lambda x: torch.float32,
    "is_cuda": lambda x: False,
    "is_quantized": lambda x: False,
    "mT": lambda x: shape.transpose(x, -2, -1),
    "ndim": lambda x: len(x.dims),
    "requires_grad": lambda x: False,
    "shape": lambda x: torch.Size(x.shape),
}
"""Attributes of tensors that do not depend on their values."""


def _attribute(x: FieldTensor, name: str) -> Any:
    if name not in ATTRIBUTES:
        raise NotKnown(f"attribute {name} of a tensor that depends on the image")
    return ATTRIBUTES[name](x)


def _size(x: FieldTensor, dim: int | None = None) -> Any:
    return torch.Size(x.shape) if dim is None else x.shape[x.dim(dim)]


METHODS: dict[str, Rule] = {
    **NAMED,
    **{f"{name}_": rule for name, rule in NAMED.items()},
    "dim": lambda x: len(x.dims),
    "is_contiguous": lambda x, **options: True,
    "is_floating_point": lambda x: True,
    "ndimension": lambda x: len(x.dims),
    "nelement": lambda x: torch.Size(x.shape).numel(),
    "numel": lambda x: torch.Size(x.shape).numel(),
    "repeat": shape.repeat,
    "size": _size,
}

OPERATORS = [
    "abs",
    "add",
    "eq",
    "floordiv",
    "ge",
    "gt",
    "le",
    "lt",
    "mod",
    "mul",
    "ne",
    "neg",
    "pos",
    "pow",
    "sub",
    "truediv",
]
IN_PLACE_OPERATORS = [operator.iadd, operator.ifloordiv, operator.imod, operator.imul, operator.ipow]
IN_PLACE_OPERATORS += [operator.isub, operator.itruediv]

FUNCTIONS: dict[Any, Rule] = {
    **{
        vars(library)[name]: rule
        for library in (torch, functional, torch.special, torch.linalg)
        for name, rule in METHODS.items()
        if name in vars(library)
    },
    **{getattr(operator, name): pointwise for name in OPERATORS},
    **dict.fromkeys(IN_PLACE_OPERATORS, pointwise),
    getattr: _attribute,
    operator.getitem: shape.getitem,
    operator.matmul: mixing.matmul,
    torch.batch_norm: normalization.torch_batch_norm,
    torch.instance_norm: normalization.torch_instance_norm,
    torch.linalg.vector_norm: mixing.norm,
    torchvision.ops.drop_block2d: same,
    torchvision.ops.stochastic_depth: same,
}
"""The rule of every function that a graph may call."""
