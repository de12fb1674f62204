"""A network that was cut at a layer."""

from __future__ import annotations

import torch
from torch import fx, nn

from pixpnet.types import IMAGENET, Normalization


class Backbone(nn.Module):
    """A network up to one of its layers: images [b 3 H W] → features [b d h w].

    Its parameters are those of that part only, under `body.` and the original module paths. In training and
    in evaluation mode it acts as the whole network does up to there. A layer that gives vectors (flatten, fc)
    gives a grid of one cell.

    Images come in normalised with ImageNet's statistics, or those of a data set like it. Networks whose
    published weights want others (`normalization`: inception_v3, googlenet, some of timm) convert them first,
    whatever weights they have, so that a checkpoint means the same however its network was built.
    """

    def __init__(
        self,
        body: fx.GraphModule,
        *,
        name: str,
        layer: str,
        shape: tuple[int, ...],
        normalization: Normalization = IMAGENET,
    ) -> None:
        """shape: that of the body's output, at some image size."""
        super().__init__()
        self.body = body
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


def _conversion(normalization: Normalization) -> tuple[torch.Tensor, torch.Tensor]:
    """Scale and shift from ImageNet's normalisation to another."""
    mean, std = (torch.tensor(values).view(3, 1, 1) for values in normalization)
    imagenet_mean, imagenet_std = (torch.tensor(values).view(3, 1, 1) for values in IMAGENET)
    return imagenet_std / std, (imagenet_mean - mean) / std
