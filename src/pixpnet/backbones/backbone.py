"""Backbones: a network cut at a layer, and those that can be had by name."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from accelerate import init_empty_weights
from torch import Tensor, fx, nn
from torchvision import models
from torchvision.models.resnet import BasicBlock
from torchvision.models.vision_transformer import interpolate_embeddings

from pixpnet.backbones import timm_models
from pixpnet.backbones.names import REFERENCE_SIZE, NamedLayer, family_of
from pixpnet.backbones.tiled import JointNetwork, TiledBackbone
from pixpnet.backbones.tracing import (
    cut,
    find_node,
    graph_of,
    layer_shapes,
    module_paths,
    output_shape,
    refusing_images,
)
from pixpnet.backbones.weights import (
    fit_weights,
    offline_weights,
    read_weights,
    torchvision_weights,
)
from pixpnet.choices import nearest_names
from pixpnet.config import ModelConfig
from pixpnet.errors import ConfigError
from pixpnet.modes import evaluating
from pixpnet.types import IMAGENET, Normalization


class Backbone(nn.Module):
    """A network, or its part up to a layer: images [b 3 H W] → features [b d h w].

    Its parameters are those of that part only, under `body.` and the original module paths. In training and
    in evaluation mode it acts as the whole network does up to there. A layer that gives vectors (flatten, fc)
    gives a grid of one cell.

    Images come in normalised with ImageNet's statistics, or those of a data set like it. Networks whose
    published weights want others (`normalization`: inception_v3, googlenet, some of timm) convert them first,
    whatever weights they have, so that a checkpoint means the same however its network was built.
    """

    def __init__(
        self,
        body: nn.Module,
        *,
        name: str,
        layer: str,
        shape: tuple[int, ...],
        normalization: Normalization = IMAGENET,
    ) -> None:
        """shape: that of the body's output, at some image size."""
        super().__init__()
        self.body: Any = body
        self.name = name
        self.layer = layer
        self.out_channels = shape[1]
        self.normalization = normalization
        self._is_vector = len(shape) == 2
        self._converts = normalization != IMAGENET
        scale, shift = _conversion(normalization)
        self.register_buffer("input_scale", scale, persistent=False)
        self.register_buffer("input_shift", shift, persistent=False)

    def forward(self, images):  # no types: torch.fx traces it with stand-ins that type checkers refuse
        if self._converts:
            images = images * self.input_scale + self.input_shift
        features = self.body(images)
        return features[:, :, None, None] if self._is_vector else features

    def extra_repr(self) -> str:
        return f"{self.name}, {self.layer}, {tuple(self.normalization)}"


def channels_of(network: nn.Module) -> int:
    """How many channels a network's feature maps have: what it says (`out_channels`), else by a trial.

    Raises:
        ConfigError: It does not take the trial's image, or gives no feature map.
    """
    known = getattr(network, "out_channels", None)
    if isinstance(known, int):
        return known
    name, (height, width) = network._get_name(), REFERENCE_SIZE
    some = next(network.parameters(), torch.empty(0))
    with torch.no_grad(), evaluating(network), refusing_images(network, REFERENCE_SIZE):
        features = network(torch.zeros(1, 3, height, width, device=some.device, dtype=some.dtype))
    if not (isinstance(features, torch.Tensor) and features.ndim == 4):
        found = list(features.shape) if isinstance(features, torch.Tensor) else type(features).__name__
        raise ConfigError(
            f"{name} gives no feature map: of an image of {width} x {height} it makes {found}; wanted a "
            "tensor [b d h w]. Leave out what pools or classifies."
        )
    return features.shape[1]


def _conversion(normalization: Normalization) -> tuple[torch.Tensor, torch.Tensor]:
    """Scale and shift from ImageNet's normalisation to another."""
    mean, std = (torch.tensor(values).view(3, 1, 1) for values in normalization)
    imagenet_mean, imagenet_std = (torch.tensor(values).view(3, 1, 1) for values in IMAGENET)
    return imagenet_std / std, (imagenet_mean - mean) / std


class SmallResNet(nn.Module):
    """Two residual blocks (He et al. 2016) of 128 channels behind two convolutions and a pooling.

    Its stem halves the image twice, so that most of the work is done on small grids.
    """

    def __init__(self, num_classes: int = 1000) -> None:
        super().__init__()
        self.stem = nn.Sequential(*_convolution(3, 32, kernel_size=5, stride=2), nn.MaxPool2d(2))
        self.layer1 = nn.Sequential(*_convolution(32, 64, kernel_size=3, stride=1))
        shortcut = nn.Sequential(nn.Conv2d(64, 128, 1, stride=2, bias=False), nn.BatchNorm2d(128))
        self.layer2 = BasicBlock(64, 128, 2, shortcut)
        self.layer3 = BasicBlock(128, 128)
        self.avgpool = nn.AdaptiveAvgPool2d(1)
        self.flatten = nn.Flatten()
        self.fc = nn.Linear(128, num_classes)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")

    def forward(self, images):
        features = self.layer3(self.layer2(self.layer1(self.stem(images))))
        return self.fc(self.flatten(self.avgpool(features)))


def _convolution(channels: int, out_channels: int, *, kernel_size: int, stride: int) -> list[nn.Module]:
    return [
        nn.Conv2d(channels, out_channels, kernel_size, stride, padding=kernel_size // 2, bias=False),
        nn.BatchNorm2d(out_channels),
        nn.ReLU(inplace=True),
    ]


NETWORKS: dict[str, Callable[[], nn.Module]] = {"small_resnet": SmallResNet}
"""What builds networks that no library has; yours are built by their names, too."""

NOT_CONVOLUTIONAL = ("vit_", "swin_", "maxvit_")
"""Beginnings of names of torchvision's transformers, which can be tiled, but not cut."""

CLASSES = 1000
"""Outputs of torchvision's classifiers, which tell them from other layers."""

POOLED = "pooled output"
"""The layer of a whole network without its classifier."""

WHOLE = "feature map"
"""The layer of a whole network that gives one."""

JOINT = "+"
"""Between the names of networks that look at the same tiles."""

ARGUMENTS: dict[str, dict[str, bool]] = {
    "inception_v3": {"aux_logits": False, "init_weights": True},
    "googlenet": {"aux_logits": False, "init_weights": True},
}
"""Arguments of torchvision's builders: without the auxiliary heads, which no cut needs."""

NORMALIZATIONS = dict.fromkeys(ARGUMENTS, Normalization((0.5, 0.5, 0.5), (0.5, 0.5, 0.5)))
"""What torchvision's published weights want where it is not ImageNet's (its `transform_input`)."""


def list_backbones() -> list[str]:
    """Names of the built-in backbones; `timm/NAME` gives those of timm."""
    return sorted([*NETWORKS, *_torchvision_names()])


def named_layers(name: str) -> tuple[NamedLayer, ...]:
    """The layers of a backbone that have a name, in order, with their nodes in `build_model(name)`."""
    return family_of(name).named_layers(build_skeleton(name))


def build_model(name: str) -> fx.GraphModule:
    """The whole network with random weights, as the graph whose nodes `named_layers` names.

    Raises:
        ConfigError: Unknown name (with the nearest ones), or a network that cannot be traced.
    """
    model = _construct(name)
    return timm_models.trace_timm(model) if _is_timm(name) else graph_of(model)


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
        layer: A name of `named_layers`, else a torch.fx node, else a dotted module path of the network; None:
            its last feature layer (of one of yours in `NETWORKS`: the feature map that it gives).
        pretrained: Load the published weights.
        weights: File of weights to load in place of the published ones.

    >>> backbone = pixpnet.build_backbone("resnet18", layer="layer1", pretrained=False)
    >>> backbone(torch.rand(1, 3, 64, 64)).shape
    torch.Size([1, 64, 16, 16])

    Raises:
        ConfigError: Unknown name or layer (with the nearest ones), or a layer that gives no grid.
        DataError: Weights that cannot be had, read, or fitted.
    """
    family = family_of(name)
    if name in NETWORKS and layer is None and family.default is None:
        return _build_own(name, pretrained=pretrained, weights=weights)
    skeleton = build_skeleton(name)
    layer = layer or family.default or _last_layer(name, skeleton)
    node = _find_layer(skeleton, name, layer)
    shape = layer_shapes(cut(skeleton, node), REFERENCE_SIZE).get(node, ())
    if len(shape) not in (2, 4):
        raise ConfigError(f"{name}: layer {layer} gives no feature grid, but shape {list(shape)}.")
    state, source = _state(name, pretrained=pretrained, weights=weights)
    if state is None:
        body = cut(build_model(name), node)
    else:
        body = cut(skeleton, node)
        fit_weights(body, state, source=source, renamed_keys=family.renamed_keys)
    return Backbone(body, name=name, layer=layer, shape=shape, normalization=_normalization(name))


def _build_own(name: str, *, pretrained: bool, weights: str | None) -> Backbone:
    """A network of one's own that gives feature maps, whole; it is not traced."""
    network = NETWORKS[name]()
    channels = channels_of(network)
    state, source = _state(name, pretrained=pretrained, weights=weights)
    if state is not None:
        fit_weights(network, state, source=source)
    return Backbone(network, name=name, layer=WHOLE, shape=(1, channels, 1, 1))


def build_tiled(
    name: str,
    *,
    tile: float,
    tile_stride: float | None = None,
    tile_input: int | None = None,
    layer: str | None = None,
    pretrained: bool = True,
    weights: str | None = None,
) -> TiledBackbone:
    """The network on each tile of the image: its pooled output (or class token) is the one cell of a tile.

    Args:
        name: One of `list_backbones`, any other network of torchvision, or `timm/NAME`; transformers too.
            Several with + between them look at the same tiles: a cell holds what all of them give.
        tile: Side of a tile in pixels; below 1: as a share of the image's shorter side.
        tile_stride: From one tile to the next, in pixels or as a share. None: half a tile.
        tile_input: Side that each tile is resized to, by itself; None: as it is.
        layer: A layer whose grid within each tile is wanted in place of the pooled output; then the network
            is cut there, as by `build_backbone`.
        pretrained: Load the published weights.
        weights: File of weights to load in place of the published ones.

    >>> backbone = pixpnet.build_tiled("resnet18", tile=32, pretrained=False)
    >>> pixpnet.receptive_field(backbone, (64, 64)).box(0, 1)
    Box(left=16, top=0, right=48, bottom=32)

    Raises:
        ConfigError: Unknown name or layer, the network does not take such tiles, or several networks are to
            have one layer or one file of weights.
        DataError: Weights that cannot be had, read, or fitted.
    """
    side = tile_input or (round(tile) if tile >= 1 else None)
    names = name.split(JOINT)
    if len(names) > 1 and (layer or weights):
        raise ConfigError(f"{name} is several networks: they can't share a layer or a file of weights.")
    if layer is None:
        networks = [_build_whole(one, side, pretrained=pretrained, weights=weights) for one in names]
        network = networks[0] if len(networks) == 1 else JointNetwork(networks)
    else:
        network = build_backbone(name, layer=layer, pretrained=pretrained, weights=weights)
    return TiledBackbone(
        network, tile=tile, stride=tile_stride, tile_input=tile_input, name=name, layer=network.layer
    )


def backbone_of(model: ModelConfig, *, with_weights: bool) -> Backbone | TiledBackbone:
    """The backbone that the options of a run describe; raises as `build_backbone` and `build_tiled`.

    with_weights: load those that the options name; else they are random, to be replaced by a checkpoint's.
    """
    name, layer = model.feature_extractor or "", model.feature_layer
    pretrained, weights = model.pretrained and with_weights, model.weights if with_weights else None
    if model.tile is None:
        return build_backbone(name, layer=layer, pretrained=pretrained, weights=weights)
    return build_tiled(
        name,
        tile=model.tile,
        tile_stride=model.tile_stride,
        tile_input=model.tile_input,
        layer=layer,
        pretrained=pretrained,
        weights=weights,
    )


def _build_whole(name: str, side: int | None, *, pretrained: bool, weights: str | None) -> Backbone:
    """The whole network but for its classifier, for images of that side; it is not traced."""
    size = REFERENCE_SIZE if side is None else (side, side)
    network = _without_classifier(name, size)
    state, source = _state(name, pretrained=pretrained, weights=weights)
    if state is not None:
        if name.startswith("vit_") and not _is_timm(name):
            state = interpolate_embeddings(size[0], network.patch_size, OrderedDict(state))
        fit_weights(network, state, source=source, renamed_keys=family_of(name).renamed_keys)
    if _is_timm(name):
        timm_models.set_input_size(network, size)
    shape = output_shape(network, size)
    return Backbone(network, name=name, layer=POOLED, shape=shape, normalization=_normalization(name))


def _without_classifier(name: str, size: tuple[int, int]) -> Any:
    if _is_timm(name):
        return _construct(name, num_classes=0)
    if name.startswith(NOT_CONVOLUTIONAL):
        arguments = {"vit_": {"image_size": size[0]}, "maxvit_": {"input_size": size}}
        kind = name.partition("_")[0] + "_"
        network = models.get_model(name, weights=None, **arguments.get(kind, {}))
    else:
        network = _construct(name)
    classifiers = [
        path
        for path, module in network.named_modules()
        if CLASSES in (getattr(module, "out_features", 0), getattr(module, "out_channels", 0))
    ]
    if classifiers:  # one's own network may have none
        network.set_submodule(classifiers[-1], nn.Identity())
    return network


def _state(name: str, *, pretrained: bool, weights: str | None) -> tuple[dict[str, Tensor] | None, str]:
    """The tensors to load, and what an error calls them."""
    if weights is not None:
        return read_weights(Path(weights)), weights
    return (_published(name), f"{name}'s published file") if pretrained else (None, "")


def _torchvision_names() -> list[str]:
    return [name for name in models.list_models(module=models) if not name.startswith(NOT_CONVOLUTIONAL)]


def _is_timm(name: str) -> bool:
    return name not in NETWORKS and name not in models.list_models(module=models)


def _construct(name: str, *, num_classes: int | None = None) -> nn.Module:
    """The network with random weights; num_classes is timm's, as in `build_timm`."""
    if name in NETWORKS:
        return NETWORKS[name]()
    if name in _torchvision_names():
        return models.get_model(name, weights=None, **ARGUMENTS.get(name, {}))
    if name.startswith(timm_models.PREFIX):
        timm_models.import_timm()
    if timm_models.is_timm(name):
        return timm_models.build_timm(name, pretrained=False, num_classes=num_classes)
    if JOINT in name:
        raise ConfigError(f"{name} is several networks, which look at tiles together: give model.tile too.")
    known = list_backbones()
    if name.startswith(timm_models.PREFIX):
        known = [timm_models.PREFIX + other for other in timm_models.timm_names()]
    raise ConfigError(f"unknown backbone {name!r}{_nearest(name, known)}")


def _published(name: str) -> dict[str, Tensor]:
    if name in NETWORKS:
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
