"""Traces a network with torch.fx, and runs every node on tensors that know what they see of the image.

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
from torch.fx.node import map_aggregate, map_arg
from torch.fx.proxy import Attribute, TraceError
from torchvision.ops import DropBlock2d, DropBlock3d, StochasticDepth

from pixpnet.errors import ConfigError, PixPNetError, UnsupportedOperationError
from pixpnet.receptive_fields.operations import OutOfSight, Seen
from pixpnet.receptive_fields.tensor import DoesNotFit, FieldTensor, NotKnown, image

WAY_OUT = (
    "Take a layer before it, or express it by operations that are known "
    "(docs/explanation/receptive_fields.md lists them)."
)

_KEPT_WHOLE = (StochasticDepth, DropBlock2d, DropBlock3d)
"""Modules, besides torch's own, that are one node each."""


@dataclass(frozen=True)
class Unknown:
    """In place of a value that could not be found; whoever asks for it gets the error."""

    error: PixPNetError


class GraphValues:
    """The values of a graph's nodes.

    Attributes:
        now: Value of every node at this point of the graph.
        at_node: Receptive field, if it has one, that every node had when it was evaluated (later in-place
            operations don't count).
        constants: Tensors that the graph mentions and the network does not hold.
        is_running: A node is being evaluated.
    """

    def __init__(self, root: nn.Module) -> None:
        self.now: dict[fx.Node, Any] = {}
        self.at_node: dict[fx.Node, FieldTensor | Unknown | None] = {}
        self.constants: dict[str, torch.Tensor] = {}
        self.is_running = False
        self._root = root
        self._lost: Unknown | None = None

    def set(self, node: fx.Node, value: Any) -> None:
        """Give a node its value."""
        self.now[node] = value
        self.at_node[node] = value if isinstance(value, Unknown) else None
        if isinstance(value, Seen):
            try:
                self.at_node[node] = value.read()
            except NotKnown as error:
                self.now[node] = self.at_node[node] = Unknown(self._not_known(node, "", str(error)))

    def run(self, node: fx.Node, path: str, *, in_place: Callable[[Any, Any], Any] | None = None) -> None:
        """Evaluate a node whose inputs have been evaluated; if that fails, its value is `Unknown`.

        Args:
            node: The node.
            path: Dotted path of the module that it belongs to, for error messages.
            in_place: In place of its function.
        """
        self.is_running = True
        try:
            self.set(node, self._lost or self._value(node, in_place))
        except PixPNetError as error:
            self.set(node, Unknown(error))
        except (NotKnown, DoesNotFit, Exception) as error:
            self.set(node, self._unknown(node, path, error))
        finally:
            self.is_running = False

    def _unknown(self, node: fx.Node, path: str, cause: Exception) -> Unknown:
        if isinstance(cause, DoesNotFit):
            hint = "Try a larger image, or check the number of channels."
            if cause.channels and any(given.op == "placeholder" for given in node.all_input_nodes):
                hint = f"For an image of {cause.channels} channels pass channels={cause.channels}."
            error: PixPNetError = ConfigError(
                f"the network cannot run on an image of this size: {self._describe(node, path)}: {cause}. "
                f"{hint}"
            )
        elif isinstance(cause, NotKnown):
            error = self._not_known(node, path, str(cause))
        else:  # torch refusing, or what a rule was not written for
            error = self._not_known(node, path, f"{type(cause).__name__}: {cause}")
        error.__cause__ = cause
        unknown = Unknown(error)
        if isinstance(cause, OutOfSight):
            self._lost = unknown
        return unknown

    def _not_known(self, node: fx.Node, path: str, reason: str) -> PixPNetError:
        return UnsupportedOperationError(
            f"the receptive field of {self._describe(node, path)} is not known: {reason}. {WAY_OUT}"
        )

    def _value(self, node: fx.Node, in_place: Callable[[Any, Any], Any] | None) -> Any:
        if node.op == "get_attr":
            return self._attribute(str(node.target))
        args = map_arg(node.args, self._current)
        kwargs = map_arg(node.kwargs, self._current)
        if node.op == "output":
            return args[0]
        given: list[Any] = []
        map_aggregate((args, kwargs), given.append)
        sees_image = any(isinstance(value, Seen) for value in given)
        if node.op == "call_module":
            if not sees_image:
                raise NotKnown("a module applied to something that does not depend on the image")
            return self._root.get_submodule(str(node.target)).forward(*args, **kwargs)
        if not sees_image and len({value.device for value in given if isinstance(value, torch.Tensor)}) > 1:
            args, kwargs = map_aggregate(args, _without_value), map_aggregate(kwargs, _without_value)
        if node.op == "call_method":
            return getattr(args[0], str(node.target))(*args[1:], **kwargs)
        value = (in_place or node.target)(*args, **kwargs)  # pyright: ignore[reportCallIssue]
        if value is None and sees_image and node.target is getattr:
            raise NotKnown(f"attribute {args[1]} of a tensor that depends on the image")
        return value

    def _current(self, node: fx.Node) -> Any:
        value = self.now[node]
        if isinstance(value, Unknown):
            raise value.error
        return value

    def _attribute(self, target: str) -> Any:
        """A parameter or buffer. Numbers stay, as they may be indices; of weights only the shape counts."""
        value: Any = self.constants.get(target)
        if value is None:
            path, _, name = target.rpartition(".")
            owner = self._root.get_submodule(path)
            value = {**vars(owner), **owner._buffers, **owner._parameters}[name]
        if isinstance(value, torch.Tensor) and value.is_floating_point():
            return value.detach().to("meta")
        return value

    def _describe(self, node: fx.Node, path: str) -> str:
        target: Any = node.target
        operation = target
        if node.op == "call_module":
            path = str(target)
            operation = type(self._root.get_submodule(path)).__name__
        elif not isinstance(target, str):
            operation = (
                f"{getattr(target, '__module__', None) or 'torch'}.{getattr(target, '__name__', target)}"
            )
        where = f"module {path!r}" if path else "the network itself"
        return f"operation {operation} (node {node.name!r} in {where})"


def _without_value(value: Any) -> Any:
    return value.to("meta") if isinstance(value, torch.Tensor) else value


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
        return _tracer(self).length(self)

    def __hash__(self) -> int:
        return id(self)


def _number(function: Callable[..., Any]) -> Callable[..., Any]:
    """A conversion of a value that does not depend on the image, where its kind of number is asked for."""
    return lambda self, *args: function(_tracer(self).known(self), *args)


def _in_place(name: str) -> Callable[[Any, Any], Any]:
    """The node of a plain operation, as torch.fx makes it, evaluated as the one in place that it is."""

    def operate(self: _Proxy, other: Any) -> Any:
        with _tracer(self).changing(getattr(operator, f"i{name}")):
            return getattr(operator, name)(self, other)

    return operate


for _name, _function in {"int": int, "float": float, "index": operator.index, "round": round}.items():
    setattr(_Proxy, f"__{_name}__", _number(_function))
for _name in ("add", "sub", "mul", "truediv"):
    setattr(_Proxy, f"__i{_name}__", _in_place(_name))


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

    def __init__(self, root: nn.Module, pixels: FieldTensor) -> None:
        super().__init__()
        self.evaluation = GraphValues(root)
        self.outputs: dict[str, fx.Node] = {}
        self._pixels = pixels
        self._changing: Callable[[Any, Any], Any] | None = None

    def proxy(self, node: fx.Node) -> fx.Proxy:
        return _Proxy(node, self)

    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        if "forward" in vars(m):
            return False
        inherits = str(type(m).forward.__module__).startswith("torch.nn.modules")
        return (
            super().is_leaf_module(m, module_qualified_name)
            or isinstance(m, _KEPT_WHOLE)
            or (inherits and not isinstance(m, nn.Sequential))
        )

    def call_module(self, m: nn.Module, forward: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        if self.evaluation.is_running:
            return forward(*args, **kwargs)
        output = super().call_module(m, forward, args, kwargs)
        if isinstance(output, fx.Proxy):
            self.outputs[self.path_of_module(m)] = output.node
        return output

    def getattr(self, attr: str, attr_val: Any, parameter_proxy_cache: dict[str, Any]) -> Any:
        if self.evaluation.is_running:
            return attr_val
        return super().getattr(attr, attr_val, parameter_proxy_cache)

    def create_args_for_root(self, root_fn: Any, is_module: bool, concrete_args: Any = None) -> Any:
        """The image; what else the network takes keeps its default."""
        names = inspect.unwrap(root_fn).__code__.co_varnames
        proxy = self.create_proxy("placeholder", names[1] if len(names) > 1 else "input_0", (), {})
        self.evaluation.set(proxy.node, Seen.of(self._pixels, dtype=_precision(self.root)))
        return root_fn, [self.root, proxy]

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
            self.evaluation.run(node, self.scope.module_path, in_place=self._changing)
        return node

    @contextmanager
    def changing(self, function: Callable[[Any, Any], Any]) -> Iterator[None]:
        """What is traced here is evaluated by this function."""
        self._changing = function
        try:
            yield
        finally:
            self._changing = None

    def length(self, proxy: fx.Proxy) -> int:
        """The number of items of a value, which is known of all."""
        value = self.evaluation.now[proxy.node]
        return len(value) if isinstance(value, Seen) else len(self.known(proxy))

    def known(self, proxy: fx.Proxy) -> Any:
        """The value of something that does not depend on the image."""
        value = self.evaluation.now[proxy.node]
        if isinstance(value, Unknown):
            raise value.error
        if isinstance(value, Seen):
            raise TraceError(f"the control flow depends on the values of {proxy.node.name!r}")
        return value

    def to_bool(self, obj: fx.Proxy) -> bool:
        return bool(self.known(obj))


@dataclass(frozen=True)
class Trace:
    """A traced network.

    Attributes:
        graph: Its graph; the first part of it if tracing failed.
        evaluation: Values of the nodes.
        outputs: As in FieldTracer.
        error: Why tracing failed.
    """

    graph: fx.Graph
    evaluation: GraphValues
    outputs: dict[str, fx.Node]
    error: PixPNetError | None = None


def trace(root: nn.Module, image_size: tuple[int, int], channels: int) -> Trace:
    """Trace a network and follow the receptive fields of an image; a graph is run as it stands."""
    pixels = image(channels, image_size)
    # In inference mode torch hands out convolutions whole, which no rule is for.
    with torch.inference_mode(False), torch.no_grad():
        return _run_graph(root, pixels) if isinstance(root, fx.GraphModule) else _trace(root, pixels)


def _trace(root: nn.Module, pixels: FieldTensor) -> Trace:
    tracer, failure = FieldTracer(root, pixels), None
    try:
        if "forward" in vars(root):
            raise TypeError("its forward was replaced after it was made, which torch.fx does not see")
        tracer.trace(root)
    except PixPNetError as error:
        failure = error
    except Exception as error:  # whatever the network's own code raises when it meets a symbolic value
        place = tracer.scope.module_path
        where = f"module {place!r}" if place else "the network itself"
        failure = UnsupportedOperationError(
            f"{type(root).__name__} cannot be traced by torch.fx ({where}): {type(error).__name__}: {error}. "
            "If its control flow depends on the values of the image, write it without; otherwise mark the "
            f"function with torch.fx.wrap, or pass a torch.fx.GraphModule. {WAY_OUT}"
        )
    graph = tracer.graph if tracer.evaluation.now else fx.Graph()
    return Trace(graph, tracer.evaluation, tracer.outputs, failure)


def _precision(network: nn.Module) -> torch.dtype:
    """The type of numbers that the network calculates with, which its images have, too."""
    floats = (weight.dtype for weight in network.parameters() if weight.is_floating_point())
    return next(floats, torch.float32)


def _run_graph(module: fx.GraphModule, pixels: FieldTensor) -> Trace:
    evaluation = GraphValues(module)
    outputs: dict[str, fx.Node] = {}
    inputs = [node for node in module.graph.nodes if node.op == "placeholder"]
    for node in module.graph.nodes:
        if node.op == "placeholder":
            evaluation.set(
                node, Seen.of(pixels, dtype=_precision(module)) if node is inputs[0] else _default(node)
            )
            continue
        stack = [path for path, _ in node.meta.get("nn_module_stack", {}).values()]
        evaluation.run(node, stack[-1] if stack else "")
        paths = [*stack, str(node.target)] if node.op == "call_module" else stack
        outputs.update(dict.fromkeys(paths, node))
    return Trace(module.graph, evaluation, outputs)


def _default(node: fx.Node) -> Any:
    if not node.args:
        raise ConfigError(f"the network takes more than an image: input {node.name!r} has no default")
    return node.args[0]
