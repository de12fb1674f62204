"""Backbones by name: their layers, the whole network, and the network cut at a layer."""

from __future__ import annotations

import difflib

from accelerate import init_empty_weights
from torch import fx, nn
from torchvision import models

from pixpnet.backbones.names import NamedLayer, family_of
from pixpnet.backbones.small import SmallResNet
from pixpnet.backbones.tracing import cut, find_node, layer_shapes, module_paths, trace
from pixpnet.errors import ConfigError

__all__ = ["Backbone", "build_backbone", "build_model", "list_backbones", "named_layers"]

OURS = {"small_resnet": SmallResNet}

NOT_CONVOLUTIONAL = ("vit_", "swin_", "maxvit_")

ARGUMENTS: dict[str, dict[str, bool]] = {
    "inception_v3": {"aux_logits": False, "init_weights": True},
    "googlenet": {"aux_logits": False, "init_weights": True},
}
"""Arguments of torchvision's builders: without the auxiliary heads, which no cut needs."""


class Backbone(nn.Module):
    """A network up to one of its layers; images [b 3 H W] → features [b d h w].

    Its parameters are those of that part only, under `body.` and the original module paths. In training and in
    evaluation mode it acts as the whole network does up to there. A layer that gives vectors (flatten, fc) gives
    a grid of one cell.
    """

    def __init__(self, body: fx.GraphModule, *, name: str, layer: str, shape: tuple[int, ...]) -> None:
        """shape: that of the body's output, for whatever image size."""
        super().__init__()
        self.body = body
        self.name = name
        self.layer = layer
        self.out_channels = shape[1]
        self._is_vector = len(shape) == 2

    def forward(self, images):  # no types: torch.fx traces it with stand-ins that type checkers refuse
        features = self.body(images)
        return features[:, :, None, None] if self._is_vector else features


def list_backbones() -> list[str]:
    """Names of the built-in backbones; `timm/NAME` gives those of timm."""
    return sorted([*OURS, *_torchvision_names()])


def named_layers(name: str) -> tuple[NamedLayer, ...]:
    """The layers of a backbone that have a name, in order, with their nodes in `build_model(name)`."""
    return family_of(name).named_layers(_skeleton(name))


def build_model(name: str) -> fx.GraphModule:
    """The whole network with random weights, as the graph whose nodes `named_layers` names."""
    return trace(_construct(name))


def build_backbone(
    name: str, *, layer: str | None = None, pretrained: bool = True, weights: str | None = None
) -> Backbone:
    """The network cut at a layer.

    Args:
        name: One of `list_backbones`, or `timm/NAME`.
        layer: A name of `named_layers`, or a torch.fx node or dotted module path of the network; none: its last
            feature layer.
        pretrained: Load the published weights.
        weights: File of weights to load in place of the published ones.
    """
    skeleton = _skeleton(name)
    layer = layer or family_of(name).default or family_of(name).named_layers(skeleton)[-1].name
    node = _find_layer(skeleton, name, layer)
    shape = layer_shapes(cut(skeleton, node), (224, 224)).get(node, ())
    if len(shape) not in (2, 4):
        raise ConfigError(f"{name}: layer {layer} gives no feature grid (its shape is {shape}).")
    body = cut(build_model(name), node)
    return Backbone(body, name=name, layer=layer, shape=shape)


def _torchvision_names() -> list[str]:
    return [name for name in models.list_models(module=models) if not name.startswith(NOT_CONVOLUTIONAL)]


def _construct(name: str) -> nn.Module:
    if name in OURS:
        return OURS[name]()
    if name in _torchvision_names():
        return models.get_model(name, weights=None, **ARGUMENTS.get(name, {}))
    raise ConfigError(f"unknown backbone {name!r}{_nearest(name, list_backbones())}")


def _skeleton(name: str) -> fx.GraphModule:
    """The traced network without values: shapes and names only."""
    with init_empty_weights():  # unlike torch.device("meta"), it leaves arithmetic in constructors alone
        return trace(_construct(name))


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
    near = difflib.get_close_matches(wanted, list(dict.fromkeys(known)), n=5, cutoff=0.4)
    return f"; nearest: {', '.join(near)}." if near else "."
