"""All stages of a backbone from one pass over an image."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import cast

from jaxtyping import Float
from torch import Tensor, fx, nn

from pixpnet.backbones import Backbone
from pixpnet.goldilocks.tasks import Stage


class StageReaders(nn.Module):
    """A backbone that hands the features of each stage to a reader, and returns what these make of them.

    A reader sees the features before anything behind the stage runs (an activation in place, say), so what it
    reads is what the network cut at the stage gives. The weights are the backbone's own, not copies.
    """

    scale: Tensor
    shift: Tensor

    def __init__(self, backbone: Backbone, stages: Sequence[Stage], readers: Sequence[nn.Module]) -> None:
        super().__init__()
        graph = copy.deepcopy(backbone.body.graph)
        body = fx.GraphModule(backbone.body, graph)
        nodes = {node.name: node for node in graph.nodes}
        read = []
        for stage, reader in zip(stages, readers, strict=True):
            path = f"reader_{stage.number}"
            body.add_submodule(path, reader)
            with graph.inserting_after(nodes[stage.node]):
                read.append(graph.call_module(path, (nodes[stage.node],)))
        next(node for node in graph.nodes if node.op == "output").args = (tuple(read),)
        body.recompile()
        self.body = body
        self.register_buffer("scale", cast(Tensor, backbone.input_scale), persistent=False)
        self.register_buffer("shift", cast(Tensor, backbone.input_shift), persistent=False)

    def forward(self, images: Float[Tensor, "b 3 H W"]) -> tuple[Tensor, ...]:
        return self.body(images * self.scale + self.shift)


class AverageReader(nn.Module):
    """The average over the cells of a grid; vectors stay."""

    def forward(self, features: Float[Tensor, "b d *grid"]) -> Float[Tensor, "b d"]:
        return features.flatten(2).mean(dim=2) if features.dim() > 2 else features


class LargestReader(nn.Module):
    """The largest value of each channel over the cells of a grid; vectors stay."""

    def forward(self, features: Float[Tensor, "b d *grid"]) -> Float[Tensor, "b d"]:
        # A copy: an activation in place behind the stage would overwrite what the gradient needs.
        kept = features.clone()
        return kept.flatten(2).amax(dim=2) if kept.dim() > 2 else kept
