"""Convolutional networks of timm (extra `timm`), traced into torch's own modules."""

from __future__ import annotations

import copy
from typing import Any

import torch
from torch import Tensor, fx, nn
from torch.nn import functional

from pixpnet.backbones.tracing import graph_of
from pixpnet.backbones.weights import missing_weights
from pixpnet.errors import ConfigError
from pixpnet.types import Normalization

PREFIX = "timm/"
"""Before a name that torchvision and timm share, for timm's network."""


def import_timm() -> Any:
    """The package timm.

    Raises:
        ConfigError: It is not installed; says how to.
    """
    try:
        import timm
    except ImportError:
        raise ConfigError(
            "timm's backbones need the package timm, which is not installed: pip install pixpnet[timm]"
        ) from None
    return timm


def timm_names() -> list[str]:
    """Names of timm's networks, without prefix; none if timm is not installed."""
    try:
        return import_timm().list_models()
    except ConfigError:
        return []


def is_timm(name: str) -> bool:
    """Whether timm has a network of that name (with or without prefix); false if timm is not installed."""
    try:
        return import_timm().is_model(name.removeprefix(PREFIX))
    except ConfigError:
        return False


def build_timm(name: str, *, pretrained: bool, num_classes: int | None = None) -> nn.Module:
    """timm's network of that name, with or without prefix and weights' tag.

    num_classes: 0 for the network without its classifier: it gives what that would get; None: its own number.
    """
    options = {} if num_classes is None else {"num_classes": num_classes}
    return import_timm().create_model(name.removeprefix(PREFIX), pretrained=pretrained, **options)


def set_input_size(network: nn.Module, size: tuple[int, int]) -> None:
    """Make a network that is made for one size of image fit another: timm interpolates its positions.

    Raises:
        ConfigError: The size is none that the network can have.
    """
    # Not all of timm's networks have it: those that take images of any size don't.
    change = getattr(network, "set_input_size", None)
    if change is not None:
        try:
            change(img_size=size)
        except (AssertionError, ValueError, RuntimeError) as error:
            raise ConfigError(
                f"{type(network).__name__} does not take images of {size[0]}x{size[1]} ({error})."
            ) from error


def timm_normalization(name: str) -> Normalization:
    """Mean and standard deviation of the input that the network's published weights were trained on."""
    published = import_timm().get_pretrained_cfg(name.removeprefix(PREFIX))
    red, green, blue = published.mean
    red_std, green_std, blue_std = published.std
    return Normalization((red, green, blue), (red_std, green_std, blue_std))


def timm_weights(name: str) -> dict[str, Tensor]:
    """The published weights, downloaded once by timm.

    Raises:
        ConfigError: There are none.
        DataError: They can be neither found nor downloaded, or arrived damaged.
    """
    published = import_timm().get_pretrained_cfg(name.removeprefix(PREFIX))
    if not published.has_weights:
        raise ConfigError(f"{name} has no published weights: use --model.no-pretrained.")
    origin = f"https://huggingface.co/{published.hf_hub_id}" if published.hf_hub_id else published.url
    try:
        return build_timm(name, pretrained=True).state_dict()
    except (OSError, RuntimeError, ValueError) as error:
        raise missing_weights(
            name, "model.safetensors", f"{origin} ({type(error).__name__})", None
        ) from error


def trace_timm(model: nn.Module) -> fx.GraphModule:
    """The network as a graph in which timm's fused modules stand as torch's modules and functions.

    'Same' padding that depends on the size of the image becomes arithmetic on that size and a pad, before a
    plain convolution or pooling; batch norm with an activation inside becomes batch norm (node `…_no_act`)
    and activation (the node and module path of the whole). Parameters keep their names.

    Raises:
        ConfigError: The network's control flow depends on its input, so that it cannot be traced.
    """
    layers, models = import_timm().layers, import_timm().models
    leaves = (*models.get_notrace_modules(), layers.DropPath, layers.DropBlock2d)
    try:
        network = graph_of(model, leaves, functions=tuple(models.get_notrace_functions()))
    except Exception as error:  # fx raises whatever the model's code raises when it meets a stand-in
        raise ConfigError(f"{type(model).__name__} cannot be traced: {error}") from error
    plain = {
        layers.Conv2dSame: (nn.Conv2d, 0.0),
        layers.StdConv2dSame: (layers.StdConv2d, 0.0),
        layers.ScaledStdConv2dSame: (layers.ScaledStdConv2d, 0.0),
        layers.AvgPool2dSame: (nn.AvgPool2d, 0.0),
        layers.pool2d_same.MaxPool2dSame: (nn.MaxPool2d, -torch.inf),
    }
    nodes = [node for node in network.graph.nodes if node.op == "call_module"]
    modules: list[Any] = [network.get_submodule(node.target) for node in nodes]
    kinds = [type(module) for module in modules]  # before the first call of a shared module changes its class
    for node, module, kind in zip(nodes, modules, kinds, strict=True):
        if kind is layers.BatchNormAct2d:
            _split_activation(network, node, module)
        elif kind in plain:
            module.__class__, value = plain[kind]
            if getattr(module, "same_pad", True):
                _pad_before(network, node, module, value=value)
    network.recompile()
    return network


def trace_with_timm(network: nn.Module) -> fx.GraphModule:
    """As `graph_of`; with modules of timm in it as `trace_timm`, of a copy with the same tensors."""
    if not any(type(module).__module__.startswith("timm.") for module in network.modules()):
        return graph_of(network)
    tensors = (*network.parameters(), *network.buffers())
    return trace_timm(copy.deepcopy(network, {id(tensor): tensor for tensor in tensors}))


# The next two run on torch.fx's stand-ins for tensors and sizes, which type checkers refuse: no annotations.


def same_padding(size, kernel, stride, dilation):
    """TensorFlow's padding, both ends together, that makes ceil(size / stride) outputs; in + - * % > only.

    >>> same_padding(7, 3, 2, 1), same_padding(8, 3, 2, 1), same_padding(8, 1, 2, 1)
    (2, 1, 0)
    """
    total = -size % stride + dilation * (kernel - 1) + 1 - stride
    return total if dilation * (kernel - 1) + 1 >= stride else total * (total > 0)


def pad_same(images, module, *, value=0.0):
    """Pads as TensorFlow does for the module's kernel, the odd pixel at the bottom and right."""
    kernel, stride, dilation = (
        _pair(getattr(module, name, 1)) for name in ("kernel_size", "stride", "dilation")
    )
    vertical = same_padding(images.size(2), kernel[0], stride[0], dilation[0])
    horizontal = same_padding(images.size(3), kernel[1], stride[1], dilation[1])
    ends = (horizontal // 2, horizontal - horizontal // 2, vertical // 2, vertical - vertical // 2)
    return functional.pad(images, ends, value=value)


def _pair(value: int | tuple[int, int]) -> tuple[int, int]:
    return (value, value) if isinstance(value, int) else value


def _pad_before(network: fx.GraphModule, node: fx.Node, module: nn.Module, *, value: float = 0.0) -> None:
    """Records `pad_same` ahead of the node."""
    (images,) = node.all_input_nodes
    with network.graph.inserting_before(node):
        padded: Any = pad_same(fx.Proxy(images), module, value=value)
    node.replace_input_with(images, padded.node)


def _split_activation(network: fx.GraphModule, node: fx.Node, module: Any) -> None:
    """Makes the node the activation, behind a plain batch norm that is a node of its own."""
    path, (features,) = node.target, node.args
    module.__class__ = nn.BatchNorm2d
    if isinstance(module.act, nn.Identity) and isinstance(module.drop, nn.Identity):
        return
    with network.graph.inserting_before(node):
        normed = network.graph.create_node("call_module", str(path), (features,), name=f"{node.name}_no_act")
        if not isinstance(module.drop, nn.Identity):
            normed = network.graph.call_module(f"{path}.drop", (normed,))
    node.target, node.args = f"{path}.act", (normed,)
