"""Normalisation: local, over channels, or over the whole image."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from pixpnet.receptive_fields.rules.arguments import only, whole_numbers
from pixpnet.receptive_fields.rules.mixing import dims_of, spread
from pixpnet.receptive_fields.rules.pointwise import pointwise
from pixpnet.receptive_fields.rules.shape import view
from pixpnet.receptive_fields.tensor import DoesNotFit, FieldTensor, NotKnown, arrange_words, combine


def normalize(x: FieldTensor, p: float = 2.0, dim: Any = 1, eps: float = 1e-12) -> FieldTensor:
    """torch.nn.functional.normalize."""
    del p, eps
    return spread(x, dims_of(x, dim))


def layer_norm(x: FieldTensor, normalized_shape: Any, *parameters: Any, **options: Any) -> FieldTensor:
    """torch.nn.functional.layer_norm and rms_norm: local if only channels are normalised."""
    only(*parameters, *options.values())
    shape = whole_numbers(normalized_shape)
    if tuple(shape) != x.shape[-len(shape) :]:
        raise DoesNotFit(f"it normalises {tuple(shape)} of an input of shape {x.shape}")
    return spread(x, range(len(x.dims) - len(shape), len(x.dims)))


def group_norm(x: FieldTensor, num_groups: int, *parameters: Any, **options: Any) -> FieldTensor:
    """torch.nn.functional.group_norm: the whole image, for the channels of each group."""
    only(*parameters, *options.values())
    batch, channels, *rest = x.shape
    if channels % num_groups:
        raise DoesNotFit(f"{num_groups} groups do not divide {channels} channels")
    if x.is_map:
        x = x.spread(rows=True, columns=True)
    grouped = view(x, (batch, num_groups, channels // num_groups, *rest))
    return replace(view(spread(grouped, range(2, len(grouped.dims))), x.shape), alias=object())


def instance_norm(
    x: FieldTensor,
    running_mean: Any = None,
    running_var: Any = None,
    weight: Any = None,
    bias: Any = None,
    use_input_stats: bool = True,
    momentum: float = 0.1,
    eps: float = 1e-5,
) -> FieldTensor:
    """torch.nn.functional.instance_norm: the whole image, unless it uses running statistics."""
    del momentum, eps
    only(running_mean, running_var, weight, bias)
    return spread(x, range(2, len(x.dims))) if use_input_stats else pointwise(x)


def batch_norm(
    x: FieldTensor,
    running_mean: Any,
    running_var: Any,
    weight: Any = None,
    bias: Any = None,
    training: bool = False,
    momentum: float = 0.1,
    eps: float = 1e-5,
) -> FieldTensor:
    """torch.nn.functional.batch_norm: local, unless it uses the statistics of the image itself."""
    del momentum, eps
    only(running_mean, running_var, weight, bias)
    if not training and running_mean is not None:
        return pointwise(x)
    return spread(x, [dim for dim in range(len(x.dims)) if dim != 1])


def torch_batch_norm(
    x: FieldTensor, weight: Any, bias: Any, mean: Any, var: Any, training: bool, *options: Any
) -> FieldTensor:
    """torch.batch_norm, whose arguments come in another order."""
    del options
    return batch_norm(x, mean, var, weight, bias, training)


def torch_instance_norm(
    x: FieldTensor, weight: Any, bias: Any, mean: Any, var: Any, use_input_stats: bool, *options: Any
) -> FieldTensor:
    """torch.instance_norm, whose arguments come in another order."""
    del options
    return instance_norm(x, mean, var, weight, bias, use_input_stats)


def local_response_norm(x: FieldTensor, size: int, *parameters: Any, **options: Any) -> FieldTensor:
    """torch.nn.functional.local_response_norm: every channel sees its neighbours."""
    del parameters, options
    if len(x.fields) == 1:
        return pointwise(x)
    if not x.is_map:
        raise NotKnown(f"its input of shape {x.shape} is not a feature map [1, channels, rows, columns]")
    channels = x.channels()
    offsets = np.arange(size) - size // 2
    window = np.clip(np.arange(len(channels)) + offsets[:, None], 0, len(channels) - 1)
    labels, fields = combine(channels[window], x.fields)
    return arrange_words(x.dims, labels, fields, x.grid, None)
