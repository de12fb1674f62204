"""Evaluates the nodes of a torch.fx graph, one by one, on receptive fields instead of tensors."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import fx, nn
from torch.fx.node import map_aggregate, map_arg

from pixpnet.errors import ConfigError, PixPNetError, UnsupportedOperationError
from pixpnet.receptive_fields.rules import FUNCTIONS, IN_PLACE_OPERATORS, METHODS, module_rule
from pixpnet.receptive_fields.rules.pointwise import pointwise
from pixpnet.receptive_fields.tensor import DoesNotFit, FieldTensor, NotKnown

WAY_OUT = (
    "Take a layer before it, or express it by operations that are known "
    "(docs/explanation/receptive_fields.md lists them)."
)

ThroughModule = Callable[[nn.Module, tuple[Any, ...], str], Any]
"""Evaluates a module that has no rule of its own by what it is made of: (module, arguments, its path)."""


class Overwritten:
    """In place of a tensor whose memory an in-place operation has changed through another one."""


@dataclass(frozen=True)
class Unknown:
    """In place of a value that could not be found; whoever asks for it gets the error."""

    error: PixPNetError


class Evaluation:
    """The values of a graph's nodes.

    Attributes:
        now: Value of every node at this point of the graph.
        at_node: Value that every node had when it was evaluated (later in-place operations don't count).
    """

    def __init__(self, root: nn.Module, through: ThroughModule, prefix: str = "") -> None:
        self.now: dict[fx.Node, Any] = {}
        self.at_node: dict[fx.Node, Any] = {}
        self.constants: dict[str, torch.Tensor] = {}
        self._root = root
        self._through = through
        self._prefix = prefix

    def set(self, node: fx.Node, value: Any) -> None:
        """Give a node its value."""
        self.now[node] = self.at_node[node] = value

    def run(self, node: fx.Node, path: str, *, in_place: bool = False) -> None:
        """Evaluate a node whose inputs have been evaluated; if that fails, its value is `Unknown`.

        Args:
            node: The node.
            path: Dotted path of the module that it belongs to, for error messages.
            in_place: It changes its first argument.
        """
        try:
            value = self._value(node)
        except PixPNetError as error:
            value = Unknown(error)
        except DoesNotFit as error:
            value = _unknown(
                error,
                ConfigError(
                    f"the network cannot run on an image of this size: {self._describe(node, path)}: "
                    f"{error}. "
                    "Try a larger image, or check the number of channels."
                ),
            )
        except NotKnown as error:
            value = self._not_known(node, path, error, str(error))
        except Exception as error:  # a rule called with arguments that it doesn't take, or torch refusing
            value = self._not_known(node, path, error, f"{type(error).__name__}: {error}")
        if in_place or self._is_in_place(node):
            value = self._overwrite(node, value)
        self.set(node, value)

    def _not_known(self, node: fx.Node, path: str, cause: Exception, reason: str) -> Unknown:
        return _unknown(
            cause,
            UnsupportedOperationError(
                f"the receptive field of {self._describe(node, path)} is not known: {reason}. {WAY_OUT}"
            ),
        )

    def _value(self, node: fx.Node) -> Any:
        if node.op == "get_attr":
            return self._attribute(str(node.target))
        args = map_arg(node.args, self._current)
        kwargs = map_arg(node.kwargs, self._current)
        if node.op == "output":
            return args[0]
        sees_image = any(True for _ in tensors_in((args, list(kwargs.values()))))
        if node.op == "call_module":
            return self._call_module(str(node.target), args, kwargs)
        if not sees_image:
            return _plain(node, args, kwargs)
        rule = METHODS.get(str(node.target)) if node.op == "call_method" else FUNCTIONS.get(node.target)
        if rule is None:
            raise NotKnown("there is no rule for this operation")
        return rule(*args, **_named(kwargs))

    def _current(self, node: fx.Node) -> Any:
        value = self.now[node]
        if isinstance(value, Unknown):
            raise value.error
        if isinstance(value, Overwritten):
            raise NotKnown(
                f"its input {node.name!r} was changed by an in-place operation on a tensor that shares "
                "its memory"
            )
        return value

    def _attribute(self, target: str) -> Any:
        """A parameter or buffer. Numbers stay, as they may be indices; of weights only the shape counts."""
        value: Any = self.constants.get(target)
        if value is None:
            path, _, name = target.rpartition(".")
            owner = self._root.get_submodule(path)
            # Not getattr: while torch.fx traces, that gives a symbolic value.
            value = {**vars(owner), **owner._buffers, **owner._parameters}[name]
        if isinstance(value, torch.Tensor) and value.is_floating_point():
            return value.detach().to("meta")
        return value

    def _call_module(self, target: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        module = self._root.get_submodule(target)
        if not any(True for _ in tensors_in((args, list(kwargs.values())))):
            raise NotKnown("a module applied to something that does not depend on the image")
        rule = module_rule(module)
        if rule is not None:
            return rule(module, *args, **_named(kwargs))
        if type(module).__module__.startswith("torch.nn.") and not isinstance(module, nn.Sequential):
            raise NotKnown("there is no rule for this module")
        if kwargs:
            raise NotKnown("a module called with named arguments")
        return self._through(module, args, f"{self._prefix}{target}")

    def _is_in_place(self, node: fx.Node) -> bool:
        if node.op == "call_method":
            return str(node.target).endswith("_")
        if node.op == "call_module":
            return vars(self._root.get_submodule(str(node.target))).get("inplace", False) is True
        if node.op != "call_function":
            return False
        named = node.kwargs.get("inplace") is True
        # An activation's `inplace` may come without its name.
        unnamed = FUNCTIONS.get(node.target) is pointwise and any(flag is True for flag in node.args[1:])
        ends = str(getattr(node.target, "__name__", "")).endswith("_")
        return node.target in IN_PLACE_OPERATORS or named or unnamed or ends

    def _overwrite(self, node: fx.Node, value: Any) -> Any:
        """The result of an in-place operation, which is also the new value of its first argument."""
        first = node.args[0] if node.args else None
        old = self.now.get(first) if isinstance(first, fx.Node) else None
        if isinstance(old, FieldTensor) and isinstance(value, Unknown):
            self._mark(old, value)
        if not isinstance(old, FieldTensor) or not isinstance(value, FieldTensor):
            return value
        value = replace(value, alias=old.alias)
        if not _same_content(old, value):
            self._mark(old, value)
        return value

    def _mark(self, old: FieldTensor, value: Any) -> None:
        """The tensor has another value from now on, and what shares its memory an unknown one."""
        for other, current in self.now.items():
            if current is old:
                self.now[other] = value
            elif any(tensor.alias is old.alias for tensor in tensors_in(current)):
                self.now[other] = Overwritten()

    def _describe(self, node: fx.Node, path: str) -> str:
        operation = node.target if isinstance(node.target, str) else _qualified(node.target)
        if node.op == "call_module":
            path = str(node.target)
            operation = type(self._root.get_submodule(path)).__name__
        where = f"module {self._prefix + path!r}" if self._prefix + path else "the network itself"
        return f"operation {operation} (node {node.name!r} in {where})"


def _unknown(cause: Exception, error: PixPNetError) -> Unknown:
    error.__cause__ = cause
    return Unknown(error)


def _named(kwargs: dict[str, Any]) -> dict[str, Any]:
    """Named arguments as the rules call them."""
    given = {"x" if key == "input" else key: value for key, value in kwargs.items()}
    if given.get("out", 0) is None:
        del given["out"]
    return given


def _plain(node: fx.Node, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """An operation on values that do not depend on the image: really run, of weights only the shape."""

    def run(args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        if node.op == "call_method":
            return getattr(args[0], str(node.target))(*args[1:], **kwargs)
        assert callable(node.target)
        return node.target(*args, **kwargs)

    def without_value(value: Any) -> Any:
        return value.to("meta") if isinstance(value, torch.Tensor) else value

    given: list[Any] = []
    map_aggregate((args, kwargs), given.append)
    devices = {value.device for value in given if isinstance(value, torch.Tensor)}
    if len(devices) > 1:
        args, kwargs = map_aggregate(args, without_value), map_aggregate(kwargs, without_value)
    return run(args, kwargs)


def _qualified(function: Any) -> str:
    module = getattr(function, "__module__", None) or "torch"
    return f"{module}.{getattr(function, '__name__', function)}"


def _same_content(a: FieldTensor, b: FieldTensor) -> bool:
    return a.dims == b.dims and a.fields == b.fields and np.array_equal(a.labels, b.labels)


def tensors_in(value: Any) -> Iterator[FieldTensor]:
    """The tensors with a receptive field in nested lists, tuples, dicts and slices."""
    if isinstance(value, FieldTensor):
        yield value
    elif isinstance(value, (tuple, list)):
        for item in value:
            yield from tensors_in(item)
    elif isinstance(value, dict):
        yield from tensors_in(list(value.values()))
    elif isinstance(value, slice):
        yield from tensors_in([value.start, value.stop, value.step])
