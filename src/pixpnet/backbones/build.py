"""Backbones by name: their layers, the whole network, and the network cut at a layer."""

from __future__ import annotations

from pathlib import Path

from accelerate import init_empty_weights
from torch import Tensor, fx, nn
from torchvision import models

from pixpnet.backbones import timm_models
from pixpnet.backbones.backbone import Backbone
from pixpnet.backbones.names import REFERENCE_SIZE, NamedLayer, family_of
from pixpnet.backbones.small import SmallResNet
from pixpnet.backbones.tracing import cut, find_node, layer_shapes, module_paths, trace
from pixpnet.backbones.weights import (
    fit_weights,
    offline_weights,
    read_weights,
    torchvision_weights,
)
from pixpnet.choices import nearest_names
from pixpnet.errors import ConfigError
from pixpnet.types import IMAGENET, Normalization

OURS = {"small_resnet": SmallResNet}

NOT_CONVOLUTIONAL = ("vit_", "swin_", "maxvit_")

ARGUMENTS: dict[str, dict[str, bool]] = {
    "inception_v3": {"aux_logits": False, "init_weights": True},
    "googlenet": {"aux_logits": False, "init_weights": True},
}
"""Arguments of torchvision's builders: without the auxiliary heads, which no cut needs."""

NORMALIZATIONS = dict.fromkeys(ARGUMENTS, Normalization((0.5, 0.5, 0.5), (0.5, 0.5, 0.5)))
"""What torchvision's published weights want where it is not ImageNet's (its `transform_input`)."""


def list_backbones() -> list[str]:
    """Names of the built-in backbones; `timm/NAME` gives those of timm."""
    return sorted([*OURS, *_torchvision_names()])


def named_layers(name: str) -> tuple[NamedLayer, ...]:
    """The layers of a backbone that have a name, in order, with their nodes in `build_model(name)`."""
    return family_of(name).named_layers(build_skeleton(name))


def build_model(name: str) -> fx.GraphModule:
    """The whole network with random weights, as the graph whose nodes `named_layers` names.

    Raises:
        ConfigError: Unknown name (with the nearest ones), or a network that cannot be traced.
    """
    model = _construct(name)
    return timm_models.trace_timm(model) if _is_timm(name) else trace(model)


def build_skeleton(name: str) -> fx.GraphModule:
    """`build_model` without values, shapes and names only: no time is lost on drawing weights."""
    with init_empty_weights():  # unlike torch.device("meta"), it leaves arithmetic in constructors alone
        return build_model(name)


def build_backbone(
    name: str, *, layer: str | None = None, pretrained: bool = True, weights: str | None = None
) -> Backbone:
    """The network cut at a layer.

    Args:
        name: One of `list_backbones`, or `timm/NAME` (a name that only timm has needs no prefix).
        layer: A name of `named_layers`, else a torch.fx node, else a dotted module path of the network; none:
            its last feature layer.
        pretrained: Load the published weights.
        weights: File of weights to load in place of the published ones.

    Raises:
        ConfigError: Unknown name or layer (with the nearest ones), or a layer that gives no grid.
        DataError: Weights that cannot be had, read, or fitted.
    """
    skeleton = build_skeleton(name)
    family = family_of(name)
    layer = layer or family.default or _last_layer(name, skeleton)
    node = _find_layer(skeleton, name, layer)
    shape = layer_shapes(cut(skeleton, node), REFERENCE_SIZE).get(node, ())
    if len(shape) not in (2, 4):
        raise ConfigError(f"{name}: layer {layer} gives no feature grid, but shape {list(shape)}.")
    if weights is not None:
        state, source = read_weights(Path(weights)), weights
    elif pretrained:
        state, source = _published(name), f"{name}'s published file"
    else:
        state, source = None, ""
    if state is None:
        body = cut(build_model(name), node)
    else:
        body = cut(skeleton, node)
        fit_weights(body, state, source=source, renamed_keys=family.renamed_keys)
    return Backbone(body, name=name, layer=layer, shape=shape, normalization=_normalization(name))


def _torchvision_names() -> list[str]:
    return [name for name in models.list_models(module=models) if not name.startswith(NOT_CONVOLUTIONAL)]


def _is_timm(name: str) -> bool:
    return name not in OURS and name not in _torchvision_names()


def _construct(name: str) -> nn.Module:
    if name in OURS:
        return OURS[name]()
    if name in _torchvision_names():
        return models.get_model(name, weights=None, **ARGUMENTS.get(name, {}))
    if name.startswith(timm_models.PREFIX):
        timm_models.import_timm()
    if timm_models.is_timm(name):
        return timm_models.build_timm(name, pretrained=False)
    known = list_backbones()
    if name.startswith(timm_models.PREFIX):
        known = [timm_models.PREFIX + other for other in timm_models.timm_names()]
    raise ConfigError(f"unknown backbone {name!r}{_nearest(name, known)}")


def _published(name: str) -> dict[str, Tensor]:
    if name in OURS:
        raise ConfigError(f"{name} has no published weights: use --model.no-pretrained.")
    if not _is_timm(name):
        return torchvision_weights(name)
    bare = name.removeprefix(timm_models.PREFIX)
    with init_empty_weights():
        keys = list(_construct(name).state_dict())
    return offline_weights(bare.partition(".")[0], keys) or timm_models.timm_weights(name)


def _normalization(name: str) -> Normalization:
    if _is_timm(name):
        return timm_models.timm_normalization(name)
    return NORMALIZATIONS.get(name, IMAGENET)


def _last_layer(name: str, network: fx.GraphModule) -> str:
    named = family_of(name).named_layers(network)
    if not named:
        raise ConfigError(f"{name} gives no feature grids; backbones are convolutional networks.")
    return named[-1].name


def _find_layer(network: fx.GraphModule, name: str, layer: str) -> str:
    """Node of a named layer, fx node or module path, in this order."""
    named = {known.name: known.node for known in family_of(name).named_layers(network)}
    if layer in named:
        return named[layer]
    node = find_node(network, layer)
    if node is not None:
        return node.name
    others = [other for node in network.graph.nodes for other in (node.name, *module_paths(node))]
    raise ConfigError(f"{name} has no layer {layer!r}{_nearest(layer, [*named, *others])}")


def _nearest(wanted: str, known: list[str]) -> str:
    """The end of a sentence about a name that is not known."""
    near = nearest_names(wanted, known)
    return f"; nearest: {', '.join(near)}." if near else "."
