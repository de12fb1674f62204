"""Traces a network with torch.fx while its receptive fields are being followed.

Sizes are known along the way, so that control flow that depends on them (dynamic 'same' padding, checks) can
be traced; the graph and the names of its nodes are otherwise those of `torch.fx.symbolic_trace`.
"""

from __future__ import annotations

import inspect
import operator
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import fx, nn
from torch.fx.proxy import Attribute, TraceError

from pixpnet.errors import PixPNetError, UnsupportedOperationError
from pixpnet.receptive_fields.evaluate import WAY_OUT, Evaluation, Unknown
from pixpnet.receptive_fields.rules import module_rule
from pixpnet.receptive_fields.tensor import FieldTensor


class _Proxy(fx.Proxy):
    """A value of the network that knows its size and, if it is no tensor, itself."""

    @property
    def device(self) -> torch.device:
        """Where the value lies; known, so that it can be passed to what is no operation (autocast)."""
        return torch.device("cpu")

    @property
    def dtype(self) -> torch.dtype:
        """Type of the value's numbers."""
        value = _tracer(self).evaluation.now[self.node]
        return value.dtype if isinstance(value, torch.Tensor) else torch.float32

    def __getattr__(self, k: str) -> _Attribute:
        return _Attribute(self, k)  # pyright: ignore[reportArgumentType]

    def __iter__(self) -> Iterator[Any]:
        indexed: Any = self
        return (indexed[index] for index in range(len(self)))

    def __len__(self) -> int:
        return len(self._known())

    def __int__(self) -> int:
        return int(self._known())

    def __float__(self) -> float:
        return float(self._known())

    def __index__(self) -> int:
        return operator.index(self._known())

    def __round__(self, digits: int | None = None) -> Any:
        return round(self._known(), digits)

    def __hash__(self) -> int:
        return id(self)

    def __iadd__(self, other: Any) -> Any:
        return self._in_place(operator.add, other)

    def __isub__(self, other: Any) -> Any:
        return self._in_place(operator.sub, other)

    def __imul__(self, other: Any) -> Any:
        return self._in_place(operator.mul, other)

    def __itruediv__(self, other: Any) -> Any:
        return self._in_place(operator.truediv, other)

    def _in_place(self, function: Callable[[Any, Any], Any], other: Any) -> Any:
        with _tracer(self).changing_arguments():
            return function(self, other)

    def _known(self) -> Any:
        return _tracer(self).known(self)


class _Attribute(_Proxy, Attribute):
    """An attribute or method of a value."""


def _tracer(proxy: fx.Proxy) -> FieldTracer:
    assert isinstance(proxy.tracer, FieldTracer)
    return proxy.tracer


class FieldTracer(fx.Tracer):
    """Traces modules and evaluates every node as soon as it is there.

    Attributes:
        evaluation: Values of the nodes.
        outputs: Node of the (last) output of every module that was called, by dotted path.
    """

    def __init__(self, root: nn.Module, inputs: tuple[Any, ...], path: str = "") -> None:
        super().__init__()
        prefix = f"{path}." if path else ""
        self.evaluation = Evaluation(root, trace_through, prefix)
        self.outputs: dict[str, fx.Node] = {}
        self._inputs = inputs
        self._in_place = False

    def proxy(self, node: fx.Node) -> fx.Proxy:
        return _Proxy(node, self)

    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        replaced = "forward" in vars(m)
        return module_rule(m) is not None or (
            not replaced and super().is_leaf_module(m, module_qualified_name)
        )

    def call_module(self, m: nn.Module, forward: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        output = super().call_module(m, forward, args, kwargs)
        if isinstance(output, fx.Proxy):
            self.outputs[self.path_of_module(m)] = output.node
        return output

    def create_args_for_root(self, root_fn: Any, is_module: bool, concrete_args: Any = None) -> Any:
        """The first arguments of the network; what else it takes keeps its default."""
        names = inspect.unwrap(root_fn).__code__.co_varnames[1:]
        args: list[Any] = [self.root]
        for index, value in enumerate(self._inputs):
            if isinstance(value, FieldTensor):
                name = names[index] if index < len(names) else f"input_{index}"
                proxy = self.create_proxy("placeholder", name, (), {})
                self.evaluation.set(proxy.node, value)
                args.append(proxy)
            else:
                args.append(value)
        return root_fn, args

    def create_arg(self, a: Any) -> Any:
        if isinstance(a, torch.Tensor) and not isinstance(a, nn.Parameter):
            name = self.tensor_attrs.get(a)
            if not isinstance(name, str):
                # Kept here, where torch.fx would write it into the network.
                name = f"_tensor_constant{len(self.evaluation.constants)}"
                self.evaluation.constants[name] = a
                self.tensor_attrs[a] = name
            return self.create_node("get_attr", name, (), {})
        return super().create_arg(a)

    def create_node(self, kind: str, *args: Any, **kwargs: Any) -> fx.Node:
        node = super().create_node(kind, *args, **kwargs)
        if kind != "placeholder":
            self.evaluation.run(node, self.scope.module_path, in_place=self._in_place)
        return node

    @contextmanager
    def changing_arguments(self) -> Iterator[None]:
        """What is traced here changes its first argument."""
        self._in_place = True
        try:
            yield
        finally:
            self._in_place = False

    def known(self, proxy: fx.Proxy) -> Any:
        """The value of something that does not depend on the image."""
        value = self.evaluation.now[proxy.node]
        if isinstance(value, Unknown):
            raise value.error
        if isinstance(value, FieldTensor):
            raise TraceError(f"the control flow depends on the values of {proxy.node.name!r}")
        return value

    def to_bool(self, obj: fx.Proxy) -> bool:
        return bool(self.known(obj))


@dataclass(frozen=True)
class Trace:
    """A traced module.

    Attributes:
        graph: Its graph; the first part of it if tracing failed.
        evaluation: Values of the nodes.
        outputs: As in FieldTracer.
        error: Why tracing failed.
    """

    graph: fx.Graph
    evaluation: Evaluation
    outputs: dict[str, fx.Node]
    error: PixPNetError | None = None


def trace(root: nn.Module, inputs: tuple[Any, ...], path: str = "") -> Trace:
    """Trace a module and follow the receptive fields of its inputs."""
    tracer, failure = FieldTracer(root, inputs, path), None
    try:
        if "forward" in vars(root):
            raise TypeError("its forward was replaced after it was made, which torch.fx does not see")
        tracer.trace(root)
    except PixPNetError as error:
        failure = error
    except Exception as error:  # whatever the network's own code raises when it meets a symbolic value
        place = tracer.scope.module_path or path
        where = f"module {place!r}" if place else "the network itself"
        failure = UnsupportedOperationError(
            f"{type(root).__name__} cannot be traced by torch.fx ({where}): {type(error).__name__}: {error}. "
            "If its control flow depends on the values of the image, write it without; otherwise mark the "
            f"function with torch.fx.wrap, or pass a torch.fx.GraphModule. {WAY_OUT}"
        )
    graph = tracer.graph if tracer.evaluation.now else fx.Graph()
    return Trace(graph, tracer.evaluation, tracer.outputs, failure)


def trace_through(module: nn.Module, args: tuple[Any, ...], path: str) -> Any:
    """The output of a module that has no rule, found by tracing it."""
    traced = trace(module, args, path)
    if traced.error is not None:
        raise traced.error
    output = next(node for node in reversed(traced.graph.nodes) if node.op == "output")
    value = traced.evaluation.now[output]
    if isinstance(value, Unknown):
        raise value.error
    return value
