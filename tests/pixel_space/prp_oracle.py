"""Prototype relevance propagation, plainly: layer by layer, loops over outputs, no zennit.

Relevance and values are float64 arrays of one image: [d h w].
"""

from itertools import pairwise, product

import numpy as np
import torch
from torch import nn

from distance_oracles import ERRORS, ORACLES
from pixpnet.prototypes import DISTANCES


def convolution(values, layer, relevance, *, norm=None, box=None):
    """α1β0 without bias; with a box (lowest, highest), each [3], the box rule."""
    weight = layer.weight.detach().double().numpy()
    if norm is not None:
        scale = (norm.weight / (norm.running_var + norm.eps).sqrt()).detach().double().numpy()
        weight = weight * scale[:, None, None, None]
    (stride, _), (padding, _), side = layer.stride, layer.padding, weight.shape[-1]
    below = np.zeros_like(values)
    for channel, row, column in product(*map(range, relevance.shape)):
        contributions = {}
        for source, down, right in product(range(weight.shape[1]), range(side), range(side)):
            y, x = row * stride - padding + down, column * stride - padding + right
            if not (0 <= y < values.shape[1] and 0 <= x < values.shape[2]):
                continue
            value, w = values[source, y, x], weight[channel, source, down, right]
            if box is None:
                contributions[source, y, x] = max(value * w, 0.0)
            else:
                positive, negative = box[0][source] * max(w, 0.0), box[1][source] * min(w, 0.0)
                contributions[source, y, x] = value * w - positive - negative
        total = sum(contributions.values())
        for place, contribution in contributions.items():
            if total > 0:
                below[place] += contribution / total * relevance[channel, row, column]
    return below


def max_pool(values, side, relevance):
    """All to the largest value (the first of equal ones)."""
    below = np.zeros_like(values)
    for channel, row, column in product(*map(range, relevance.shape)):
        window = values[channel, row * side : (row + 1) * side, column * side : (column + 1) * side]
        down, right = np.unravel_index(window.argmax(), window.shape)
        below[channel, row * side + down, column * side + right] += relevance[channel, row, column]
    return below


def stabilised(total):
    return total + (1e-6 if total >= 0 else -1e-6)


def average_pool(values, side, relevance):
    below = np.zeros_like(values)
    for channel, row, column in product(*map(range, relevance.shape)):
        places = list(product([channel], *(range(i * side, (i + 1) * side) for i in (row, column))))
        total = stabilised(sum(values[place] / side**2 for place in places))
        for place in places:
            below[place] += values[place] / side**2 / total * relevance[channel, row, column]
    return below


def residual_sum(left, right, relevance):
    to_left, to_right = np.zeros_like(left), np.zeros_like(right)
    for place in product(*map(range, relevance.shape)):
        total = stabilised(left[place] + right[place])
        to_left[place] = left[place] / total * relevance[place]
        to_right[place] = right[place] / total * relevance[place]
    return to_left, to_right


def start(features, prototype, distance):
    """Relevance of the features [d h w] for a prototype [d k k]: 1, split over its best patch."""
    side = prototype.shape[-1]
    distances, errors = {}, {}
    for row, column in product(*(range(size - side + 1) for size in features.shape[1:])):
        patch = features[:, row : row + side, column : column + side]
        rows = torch.from_numpy(patch.ravel()), torch.from_numpy(prototype.ravel())
        errors[row, column] = ERRORS[distance](*rows).numpy().reshape(patch.shape)
        distances[row, column] = float(ORACLES[distance](*rows))
    best = min(distances, key=distances.__getitem__)
    shares = 1 / (errors[best] ** 2 + 1e-12)
    relevance = np.zeros_like(features)
    rows, columns = (slice(cell, cell + side) for cell in best)
    relevance[:, rows, columns] = shares / shares.sum()
    return relevance


class SmallBackbone(nn.Module):
    """Of every kind of operation one or two; ReLU is one module, called three times."""

    out_channels = 9

    def __init__(self) -> None:
        super().__init__()
        self.relu = nn.ReLU(inplace=True)
        self.conv1, self.norm1 = nn.Conv2d(3, 5, 3, padding=1, bias=False), nn.BatchNorm2d(5)
        self.max_pool = nn.MaxPool2d(2)
        self.conv2, self.norm2 = nn.Conv2d(5, 4, 3, padding=1), nn.BatchNorm2d(4)
        self.conv3, self.norm3 = nn.Conv2d(4, 6, 3, padding=1, stride=2), nn.BatchNorm2d(6)
        self.shortcut = nn.Conv2d(5, 6, 1, stride=2)
        self.norm4 = nn.BatchNorm2d(6)
        self.conv4 = nn.Conv2d(6, 3, 1)
        for norm in (self.norm1, self.norm2, self.norm3, self.norm4):
            nn.init.normal_(norm.weight, 0.5)  # some below 0
            nn.init.normal_(norm.bias, 0.3)
            norm.running_mean.normal_(0, 0.3)
            norm.running_var.uniform_(0.5, 2)

    def forward(self, images):
        pooled = self.max_pool(self.relu(self.norm1(self.conv1(images))))
        inner = self.relu(self.norm2(self.conv2(pooled)))
        summed = self.norm3(self.conv3(inner))
        summed += self.shortcut(pooled)
        after = torch.relu(summed)
        dense = self.conv4(self.relu(self.norm4(after)))
        return nn.functional.avg_pool2d(torch.cat([after, dense], 1), 2)


@torch.no_grad()
def relevance_map(network, image, prototype, *, lowest, highest):
    """Map [H W] of one image [3 H W] and one prototype; the backbone is a SmallBackbone, in eval mode."""
    body = network.backbone
    values = {"image": image[None]}
    values["conv1"] = torch.relu(body.norm1(body.conv1(values["image"])))
    values["pooled"] = body.max_pool(values["conv1"])
    values["inner"] = torch.relu(body.norm2(body.conv2(values["pooled"])))
    values["residual"] = body.norm3(body.conv3(values["inner"]))
    values["shortcut"] = body.shortcut(values["pooled"])
    values["after"] = torch.relu(values["residual"] + values["shortcut"])
    values["normed"] = torch.relu(body.norm4(values["after"]))
    values["joined"] = torch.cat([values["after"], body.conv4(values["normed"])], 1)
    add_on = list(network.add_on)
    values["add_on"] = nn.functional.avg_pool2d(values["joined"], 2)
    inputs = ["add_on"]
    for index, layer in enumerate(add_on):
        values[f"add_on {index}"] = layer(values[inputs[-1]].clone())
        inputs.append(f"add_on {index}")
    values = {name: value[0].double().numpy() for name, value in values.items()}

    (distance,) = (name for name, one in DISTANCES.items() if one is network.distance)
    relevance = start(values[inputs[-1]], network.prototypes[prototype].double().numpy(), distance)
    for layer, (before, _) in reversed(list(zip(add_on, pairwise(inputs), strict=True))):
        if isinstance(layer, nn.Conv2d):
            relevance = convolution(values[before], layer, relevance)
    relevance = average_pool(values["joined"], 2, relevance)
    width = len(values["after"])
    behind_norm = convolution(values["normed"], body.conv4, relevance[width:])
    residual, shortcut = residual_sum(values["residual"], values["shortcut"], relevance[:width] + behind_norm)
    inner = convolution(values["inner"], body.conv3, residual, norm=body.norm3)
    pooled = convolution(values["pooled"], body.conv2, inner, norm=body.norm2)
    pooled += convolution(values["pooled"], body.shortcut, shortcut)
    first = max_pool(values["conv1"], 2, pooled)
    box = lowest.double().numpy(), highest.double().numpy()
    return convolution(values["image"], body.conv1, first, norm=body.norm1, box=box).sum(0)
