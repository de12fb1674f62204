"""The paper's layer names of each backbone family, and where they lie in the traced network."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from torch import fx, nn

from pixpnet.backbones.tracing import find_node, layer_shapes, module_paths

REFERENCE_SIZE = (224, 224)
"""Image size at which layers that have no name in the paper are looked over for grids."""


@dataclass(frozen=True)
class NamedLayer:
    """A layer that users address by name."""

    name: str
    node: str
    """Its node in the traced network."""
    is_stage: bool
    """Whether it is one of the stages that the Goldilocks experiments probe."""


@dataclass(frozen=True)
class Family:
    """Backbones that name their layers alike."""

    pattern: str
    """Regular expression that the whole backbone name matches."""
    layers: Callable[[fx.GraphModule], Iterator[tuple[str, str, bool]]]
    """From the traced network to (layer name, node or module path, is a stage), in order."""
    default: str | None
    """The last feature layer; None: the last grid of more than one cell (see `other_layers`)."""
    renamed_keys: tuple[str, str] | None = None
    """Pattern and replacement for state-dict keys that published files spell differently."""

    def named_layers(self, network: fx.GraphModule) -> tuple[NamedLayer, ...]:
        """The names, resolved in the traced network."""
        named = []
        for name, target, is_stage in self.layers(network):
            node = find_node(network, target)
            assert node is not None, f"{name}: no {target}"
            named.append(NamedLayer(name, node.name, is_stage))
        return tuple(named)


def _table(*rows: str) -> Callable[[fx.GraphModule], Iterator[tuple[str, str, bool]]]:
    """Layers from rows of `name`, or `name=target`; a leading * marks a stage."""

    def layers(network: fx.GraphModule) -> Iterator[tuple[str, str, bool]]:
        for row in rows:
            name, _, target = row.lstrip("*").partition("=")
            yield name, target or name, row.startswith("*")

    return layers


RESNET = _table(
    *("conv1_no_act=conv1", "bn1", "*conv1=relu", "*maxpool", "*layer1", "*layer2", "*layer3", "*layer4"),
    *("*avgpool", "flatten", "*fc"),
)

DENSENET = _table(
    *("*conv0=features.conv0", "*norm0=features.norm0", "*relu0=features.relu0", "*pool0=features.pool0"),
    *("*denseblock1=features.denseblock1", "*transition1=features.transition1"),
    *("*denseblock2=features.denseblock2", "*transition2=features.transition2"),
    *("*denseblock3=features.denseblock3", "*transition3=features.transition3"),
    *("*denseblock4=features.denseblock4", "*norm5=features.norm5"),
    *("relu", "*avgpool=adaptive_avg_pool2d", "flatten", "*classifier"),
)

INCEPTION = _table(
    *("*Conv2d_1a_3x3", "*Conv2d_2a_3x3", "*Conv2d_2b_3x3", "*maxpool1", "*Conv2d_3b_1x1", "*Conv2d_4a_3x3"),
    *("*maxpool2", "*Mixed_5b", "*Mixed_5c", "*Mixed_5d", "*Mixed_6a", "*Mixed_6b", "*Mixed_6c", "*Mixed_6d"),
    *("*Mixed_6e", "Mixed_7a", "Mixed_7b", "*Mixed_7c", "*avgpool", "flatten", "*fc"),
)

SMALL_RESNET = _table("*stem", "*layer1", "*layer2", "*layer3", "*avgpool", "flatten", "*fc")


def vgg_layers(network: fx.GraphModule) -> Iterator[tuple[str, str, bool]]:
    """conv_no_act1, bn1, conv1 (after ReLU), maxpool1, …, avgpool, flatten, classifier_0, …, classifier."""
    convolutions = pools = 0
    for path, module in network.get_submodule("features").named_children():
        target = f"features.{path}"
        match module:
            case nn.Conv2d():
                convolutions += 1
                yield f"conv_no_act{convolutions}", target, False
            case nn.BatchNorm2d():
                yield f"bn{convolutions}", target, False
            case nn.ReLU():
                yield f"conv{convolutions}", target, convolutions == 1
            case nn.MaxPool2d():
                pools += 1
                yield f"maxpool{pools}", target, True
    yield from (("avgpool", "avgpool", True), ("flatten", "flatten", False))
    layers = [path for path, _ in network.get_submodule("classifier").named_children()]
    for path in layers[:-1]:
        yield f"classifier_{path}", f"classifier.{path}", False
    yield "classifier", f"classifier.{layers[-1]}", True


def squeezenet_layers(network: fx.GraphModule) -> Iterator[tuple[str, str, bool]]:
    """conv1, relu1, maxpool1, fire2, …, features (the last Fire), dropout, final_conv, …, flatten."""
    children = list(network.get_submodule("features").named_children())
    pools, fires = 0, 1
    for index, (path, module) in enumerate(children):
        target = f"features.{path}"
        match module:
            case nn.Conv2d():
                yield "conv1", target, True
            case nn.ReLU():
                yield "relu1", target, False
            case nn.MaxPool2d():
                pools += 1
                yield f"maxpool{pools}", target, True
            case _:
                fires += 1
                last = index == len(children) - 1
                yield "features" if last else f"fire{fires}", target, last
    yield "dropout", "classifier.0", False
    yield "final_conv", "classifier.1", True
    yield "final_relu", "classifier.2", False
    yield "flatten", "flatten", False


def other_layers(network: fx.GraphModule) -> Iterator[tuple[str, str, bool]]:
    """Modules at most two levels deep that give a grid, by their dotted path; stages: the last of each size.

    Ends with the last grid of more than one cell (at 224 × 224), or with the module `features` where the
    network has one: the last feature layer.
    """
    shapes = layer_shapes(network, REFERENCE_SIZE)
    grids: list[tuple[str, tuple[int, ...]]] = [
        (path, shapes[node.name][2:])
        for node in network.graph.nodes
        for path in module_paths(node)[-1:]
        if path.count(".") < 2 and len(shapes.get(node.name, ())) == 4
    ]
    end = max(
        (i for i, (path, grid) in enumerate(grids) if path == "features" or grid != (1, 1)),
        key=lambda i: (grids[i][0] == "features", i),
        default=-1,
    )
    for (path, grid), (_, next_grid) in zip(grids[: end + 1], [*grids[1 : end + 1], ("", ())], strict=True):
        yield path, path, grid != next_grid


FAMILIES: dict[str, Family] = {
    "resnet": Family(r"(wide_)?resnet\d+(_\d)?|resnext\d+_\d+x\d+d", RESNET, "layer4"),
    "vgg": Family(r"vgg\d+(_bn)?", vgg_layers, "maxpool5"),
    "densenet": Family(
        r"densenet\d+",
        DENSENET,
        "relu",
        renamed_keys=(r"^(.*denselayer\d+\.(?:norm|relu|conv))\.([12]\.)", r"\1\2"),
    ),
    "inception": Family(r"inception_v3", INCEPTION, "Mixed_7c"),
    "squeezenet": Family(r"squeezenet\d+_\d+", squeezenet_layers, "features"),
    "small_resnet": Family(r"small_resnet", SMALL_RESNET, "layer3"),
    "other": Family(r".*", other_layers, None),
}


def family_of(name: str) -> Family:
    """The first family whose pattern the backbone's name matches."""
    return next(family for family in FAMILIES.values() if re.fullmatch(family.pattern, name, re.DOTALL))
