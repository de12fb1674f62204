"""What torch's ATen operations do to receptive fields: the table of rules, and tensors that follow them.

Whatever functions, methods and modules a network is written with, torch takes them apart into ATen operations
and hands those to `Seen`, a tensor without numbers.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from pixpnet.receptive_fields import mixing, shapes, windows
from pixpnet.receptive_fields.tensor import FieldTensor, NotKnown
from pixpnet.receptive_fields.windows import Interpolation

aten = torch.ops.aten
CPU = torch.device("cpu")

POINTWISE = (
    "_prelu_kernel", "floor_divide", "hardswish", "rrelu_with_noise",
)  # fmt: skip
"""Operations on matching elements that torch doesn't tag as such."""

UNCHANGED = (
    "_to_copy",
    "alias",
    "clone",
    "contiguous",
    "detach",
    "lift_fresh",
    "resolve_conj",
    "resolve_neg",
)

REDUCTIONS = (
    "all", "amax", "amin", "any", "argmax", "argmin", "logsumexp", "mean", "nansum", "prod", "std", "sum",
    "var",
)  # fmt: skip

TESTS = (
    "bitwise_and", "bitwise_not", "bitwise_or", "bitwise_xor", "eq", "ge", "gt", "isfinite", "isinf", "isnan",
    "le", "logical_and", "logical_not", "logical_or", "logical_xor", "lt", "ne",
)  # fmt: skip
"""Operations that give truth values."""

CONSTANTS = (
    "empty_like", "full_like", "new_empty", "new_full", "new_ones", "new_zeros", "ones_like", "rand_like",
    "randn_like", "zeros_like",
)  # fmt: skip
"""Operations that take the shape of a tensor only."""

RULES: dict[str, Callable[..., Any]] = {
    "_adaptive_avg_pool2d": windows.adaptive_pool,
    "_adaptive_avg_pool3d": windows.adaptive_pool,
    "_fused_rms_norm": lambda x, *options: mixing.layer_norm(x, *options)[:2],
    "_log_softmax": mixing.softmax,
    "_reshape_alias": shapes.view,
    "_safe_softmax": mixing.softmax,
    "_softmax": mixing.softmax,
    "_unsafe_view": shapes.view,
    "_upsample_bicubic2d_aa": Interpolation(aten._upsample_bicubic2d_aa, 2, antialias=True),
    "_upsample_bilinear2d_aa": Interpolation(aten._upsample_bilinear2d_aa, 1, antialias=True),
    "_upsample_nearest_exact2d": Interpolation(aten._upsample_nearest_exact2d),
    "adaptive_max_pool2d": windows.adaptive_max_pool,
    "addmm": mixing.product_with_sum,
    "avg_pool2d": windows.average_pool,
    "avg_pool3d": windows.average_pool,
    "baddbmm": mixing.product_with_sum,
    "bmm": mixing.product,
    "cat": shapes.cat,
    "constant_pad_nd": lambda x, pad, value=0: shapes.pad(x, pad),
    "convolution": windows.convolution,
    "copy": mixing.copy,
    "expand": mixing.expand,
    "flip": shapes.flip,
    "glu": shapes.glu,
    "index.Tensor": shapes.index,
    "index_select": shapes.index_select,
    "linalg_vector_norm": lambda x, order=2, *dims, **options: mixing.reduction(x, *dims),
    "log_sigmoid_forward": lambda x: (x, "buffers are not followed"),
    "max.dim": mixing.extreme,
    "max.default": mixing.reduction,
    "max_pool2d_with_indices": windows.max_pool,
    "max_pool3d_with_indices": windows.max_pool,
    "min.dim": mixing.extreme,
    "min.default": mixing.reduction,
    "mm": mixing.product,
    "native_channel_shuffle": shapes.channel_shuffle,
    "channel_shuffle": shapes.channel_shuffle,
    "native_batch_norm": mixing.batch_norm,
    "native_group_norm": mixing.group_norm,
    "native_layer_norm": mixing.layer_norm,
    "permute": shapes.permute,
    "pixel_shuffle": windows.pixel_shuffle,
    "pixel_unshuffle": windows.pixel_unshuffle,
    "reflection_pad2d": lambda x, pad: shapes.pad(x, pad, "reflect"),
    "repeat": shapes.tile,
    "replication_pad2d": lambda x, pad: shapes.pad(x, pad, "replicate"),
    "roll": shapes.roll,
    "select.int": shapes.select,
    "slice.Tensor": shapes.sliced,
    "split.Tensor": shapes.split,
    "split_with_sizes": shapes.split_with_sizes,
    "squeeze": shapes.squeeze,
    "stack": shapes.stack,
    "t": shapes.transpose,
    "transpose.int": shapes.transpose,
    "unbind.int": shapes.unbind,
    "unsqueeze": shapes.unsqueeze,
    "upsample_bicubic2d": Interpolation(aten.upsample_bicubic2d, 2),
    "upsample_bilinear2d": Interpolation(aten.upsample_bilinear2d, 1),
    "upsample_nearest2d": Interpolation(aten.upsample_nearest2d, is_exact=False),
    "view": shapes.view,
    **dict.fromkeys(POINTWISE, mixing.pointwise),
    **dict.fromkeys(REDUCTIONS, mixing.reduction),
    **dict.fromkeys(UNCHANGED, mixing.same),
}
"""The rule of an operation, by its name with or without that of the overload; those in place share it."""


class Memory:
    """What a tensor and its views share.

    Attributes:
        changes: How often an in-place operation changed it.
    """

    def __init__(self) -> None:
        self.changes = 0


class Seen(Tensor):
    """A tensor without numbers, whose receptive field every operation follows.

    Attributes:
        field: What its elements see of the image, or why that isn't followed.
        memory: What it shares with its views.
        version: State of the memory that the field is about.
    """

    field: FieldTensor | str
    memory: Memory
    version: int

    @staticmethod
    def of(
        field: FieldTensor,
        *,
        memory: Memory | None = None,
        dtype: torch.dtype = torch.float32,
        reason: str = "",
    ) -> Seen:
        """A tensor of that field's shape; with a ``reason``, one whose field isn't followed."""
        seen = Tensor._make_wrapper_subclass(Seen, field.shape, dtype=dtype, device=CPU)
        seen.field = reason or field
        seen.memory = memory or Memory()
        seen.version = seen.memory.changes
        return seen

    def read(self) -> FieldTensor:
        """The field, if it is known."""
        if isinstance(self.field, str):
            raise NotKnown(self.field)
        if self.version != self.memory.changes:
            raise NotKnown(
                "its input was changed by an in-place operation on a tensor that shares its memory"
            )
        return self.field

    def write(self, field: FieldTensor) -> None:
        """Give it another field; what shares its memory is not known any more."""
        assert isinstance(self.field, FieldTensor)
        if field.shape != self.field.shape:
            raise NotKnown("an in-place operation that changes the shape")
        if not _same_content(self.field, field):
            self.memory.changes += 1
            self.version = self.memory.changes
            self.field = field

    @classmethod
    def __torch_function__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        del types
        kwargs = kwargs or {}
        with torch._C.DisableTorchFunctionSubclass():
            if func is functional.scaled_dot_product_attention:
                return _apply(mixing.attention, args, kwargs)
            if func is functional.pad:
                return _padded(*args, **kwargs)
            return func(*args, **kwargs)

    @classmethod
    def __torch_dispatch__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        del types
        kwargs = kwargs or {}
        operation = _operation(func)
        if operation.name in CONSTANTS:
            like = torch.empty(args[0].shape, dtype=args[0].dtype, device="meta")
            return func(like, *args[1:], **{**kwargs, "device": "meta"})
        if not operation.in_place:
            memory = args[0].memory if func.is_view else None
            return _apply(operation.rule, args, kwargs, memory=memory, dtype=operation.dtype(args, kwargs))
        target = args[0]
        if not isinstance(target, Seen):
            raise OutOfSight("it writes what depends on the image into a tensor that does not")
        try:
            target.write(operation.rule(*_fields(args), **kwargs))
        except Exception:
            target.memory.changes += 1
            raise
        return target


class OutOfSight(NotKnown):
    """From here on no tensor is what it is taken for."""


@dataclass(frozen=True)
class Operation:
    """One of torch's.

    Attributes:
        name: Without that of the overload, and without the underscore of the in-place ones.
        rule: What it does.
        in_place: It changes its first argument.
    """

    name: str
    rule: Callable[..., Any]
    in_place: bool

    def dtype(self, args: Sequence[Any], kwargs: dict[str, Any]) -> torch.dtype:
        """Type of the result, as far as it matters."""
        if self.name in TESTS:
            return torch.bool
        given = [x.dtype for x in args if isinstance(x, Seen) and x.dtype != torch.bool]
        return kwargs.get("dtype") or (given[0] if given else torch.float32)


@cache
def _operation(func: Any) -> Operation:
    full = func._schema.name.removeprefix("aten::")
    in_place = func._schema.is_mutable and full.endswith("_")
    name = full.removesuffix("_") if in_place else full
    rule = RULES.get(f"{name}.{func._overloadname}") or RULES.get(name)
    writes_elsewhere = func._schema.is_mutable and not in_place
    if rule is None and torch.Tag.pointwise in func.tags and not writes_elsewhere:
        rule = mixing.pointwise
    return Operation(name, rule or _refuse(func), in_place)


def _refuse(func: Any) -> Callable[..., Any]:
    def rule(*args: Any, **kwargs: Any) -> Any:
        del args, kwargs
        raise NotKnown(f"there is no rule for torch's {func}")

    return rule


def _padded(x: Any, pad: Sequence[int], mode: str = "constant", value: float | None = None) -> Any:
    """Circular padding, which torch takes apart into copies between views, whole."""
    if mode == "circular":
        return _apply(shapes.pad, (x, pad, mode), {})
    return functional.pad(x, pad, mode, value)


def _apply(
    rule: Callable[..., Any],
    args: Sequence[Any],
    kwargs: dict[str, Any],
    *,
    memory: Memory | None = None,
    dtype: torch.dtype = torch.float32,
) -> Any:
    """The tensors that a rule gives, or the tensor and the reasons why further ones aren't followed."""
    result = rule(*_fields(args), **{key: _field(value) for key, value in kwargs.items()})
    if isinstance(result, FieldTensor):
        return Seen.of(result, memory=memory, dtype=dtype)
    return type(result)(
        Seen.of(result[0], reason=item)
        if isinstance(item, str)
        else Seen.of(item, memory=memory, dtype=dtype)
        for item in result
    )


def _fields(values: Sequence[Any]) -> list[Any]:
    return [_field(value) for value in values]


def _field(value: Any) -> Any:
    if isinstance(value, Seen):
        return value.read()
    return _fields(value) if isinstance(value, (list, tuple)) else value


def _same_content(a: FieldTensor, b: FieldTensor) -> bool:
    return a is b or (a.dims == b.dims and a.fields == b.fields and np.array_equal(a.labels, b.labels))
