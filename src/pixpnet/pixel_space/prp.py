"""Prototype relevance propagation: which pixels made a prototype's best cell what it is (Gautam et al. 2023).

Relevance 1 starts at the prototype's best cell and passes down through the network, operation by operation,
by the rules in `relevance_pass`.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from pixpnet.backbones import TiledBackbone
from pixpnet.errors import ConfigError, UnsupportedOperationError
from pixpnet.modes import evaluating
from pixpnet.pixel_space.relevance_pass import RelevancePass, import_zennit
from pixpnet.pixel_space.request import MapRequest
from pixpnet.prototypes import Distance, PrototypeNetwork, find_distance, patch_rows

IMAGES_AT_ONCE = 8

Patches = Float[Tensor, "b n D"]
Prototypes = Float[Tensor, "n D"]


def relevance_shares(patches: Patches, prototypes: Prototypes, *, distance: str | Distance) -> Patches:
    """Each element's share of a patch's relevance: 1 / (e² + 1e-12) of its error e, over their sum.

    A patch has all channels of the k × k cells that the prototype covers: relevance is split over cells and
    channels at once.
    """
    errors = find_distance(distance).errors(patches.double(), prototypes.double())
    closeness = 1 / (errors.square() + 1e-12)
    return (closeness / closeness.sum(-1, keepdim=True)).to(patches.dtype)


def prp_map(request: MapRequest) -> Float[Tensor, "b n H W"]:
    """`prp_maps` of what was requested; the range of the input is the images' own if none is given.

    Raises:
        ConfigError: The request has no network or images; or as `prp_maps`.
    """
    network, images = request.network, request.images
    if network is None or images is None:
        raise ConfigError("prp maps need the network and the normalised images: give network= and images=.")
    prototypes = range(network.num_prototypes) if request.prototypes is None else request.prototypes
    lowest = images.amin(dim=(0, 2, 3)) if request.lowest is None else request.lowest
    highest = images.amax(dim=(0, 2, 3)) if request.highest is None else request.highest
    return prp_maps(network, images, prototypes=prototypes, lowest=lowest, highest=highest)


def prp_maps(
    network: PrototypeNetwork,
    images: Float[Tensor, "b 3 H W"],
    *,
    prototypes: Sequence[int],
    lowest: Float[Tensor, "3"],
    highest: Float[Tensor, "3"],
) -> Float[Tensor, "b n H W"]:
    """Relevance of each pixel, summed over colours, for the best cell of each of the n prototypes.

    A map sums to 1, less what ends where nothing contributes positively. The network acts as in evaluation,
    whatever mode it is in, and is not changed.

    Args:
        network: Of the prototypes.
        images: Normalised.
        prototypes: Indices.
        lowest: The least value that each normalised colour channel can take.
        highest: The largest.

    Raises:
        ConfigError: zennit is not installed; or a prototype does not exist.
        UnsupportedOperationError: The network has an operation that PRP has no rule for.
    """
    import_zennit()
    chosen = torch.as_tensor(list(prototypes), dtype=torch.long, device=images.device)
    if chosen.numel() and not 0 <= int(chosen.min()) <= int(chosen.max()) < network.num_prototypes:
        raise ConfigError(
            f"prototypes are 0 to {network.num_prototypes - 1}; {list(prototypes)} were asked for."
        )
    height, width = images.shape[2:]
    if not (len(images) and len(chosen)):
        return images.new_zeros(len(images), len(chosen), height, width)
    with (  # whatever the caller has switched on or off
        torch.inference_mode(False),
        torch.enable_grad(),
        torch.autocast(images.device.type, enabled=False),
        evaluating(network),
    ):
        maps = images.new_zeros(len(images), len(chosen), height, width)
        images, lowest, highest = (value.detach().clone() for value in (images, lowest, highest))
        relevances = _in_tiles if isinstance(network.backbone, TiledBackbone) else _in_images
        ends = lowest.to(images), highest.to(images)
        for part, part_maps in zip(images.split(IMAGES_AT_ONCE), maps.split(IMAGES_AT_ONCE), strict=True):
            best = _best_patches(network, part, chosen)
            for (image, rows, columns), number, relevance in relevances(network, part, best, ends):
                part_maps[image, number, rows, columns] = relevance.sum(-3)
    return maps


class _Best(NamedTuple):
    """The best patch of each of n prototypes, and how its relevance is shared."""

    features: Float[Tensor, "b d h w"]
    cells: Int[Tensor, "b n"]
    shares: Float[Tensor, "b n D"]


Ends = tuple[Float[Tensor, "3"], Float[Tensor, "3"]]
"""The least and the largest value of each colour channel."""

Place = tuple[slice | int, slice, slice]
"""Images, rows and columns of them."""

EVERYWHERE = slice(None)


def _best_patches(
    network: PrototypeNetwork, images: Float[Tensor, "b 3 H W"], prototypes: Int[Tensor, "n"]
) -> _Best:
    with torch.no_grad():
        features = network.features(images)
        cells = network.from_features(features).cells[:, prototypes]
        patches = patch_rows(features, network.kernel_size)
        best = patches.gather(1, cells[..., None].expand(-1, -1, patches.shape[-1]))
        rows = network.prototypes.detach()[prototypes].flatten(1)
        shares = relevance_shares(best, rows.to(best), distance=network.distance)
    return _Best(features, cells, shares)


def _in_images(
    network: PrototypeNetwork, images: Float[Tensor, "b 3 H W"], best: _Best, ends: Ends
) -> Iterator[tuple[Place, int, Float[Tensor, "b 3 H W"]]]:
    """Relevance of the images' values for one prototype after the other: one forward pass for all."""
    body = _body(network.backbone, network.add_on)
    size = images.shape[2], images.shape[3]
    relevance_pass = RelevancePass(body, size, lowest=ends[0], highest=ends[1])
    images = images.clone().requires_grad_()
    output = relevance_pass.run(images)
    _check_features(output.detach(), best.features)
    for number in range(best.cells.shape[1]):
        start = _at_cells(best.shares[:, number], best.cells[:, number], best.features)
        (relevance,) = torch.autograd.grad(output, images, start.to(output), retain_graph=True)
        yield (EVERYWHERE, EVERYWHERE, EVERYWHERE), number, relevance


def _in_tiles(
    network: PrototypeNetwork, images: Float[Tensor, "b 3 H W"], best: _Best, ends: Ends
) -> Iterator[tuple[Place, int, Float[Tensor, "3 t t"]]]:
    """The same where each cell has a tile of its own: only tiles in which a prototype is found are looked at.

    The resize of a tile passes relevance on as it mixes values; its weights sum to 1.
    """
    if network.kernel_size > 1:
        raise UnsupportedOperationError("PRP looks at single tiles, and these prototypes are of several.")
    backbone, size = network.backbone, (images.shape[2], images.shape[3])
    assert isinstance(backbone, TiledBackbone)
    boxes = backbone.receptive_field(size).boxes.reshape(-1, 4).tolist()
    body = _body(backbone.of_one_tile(size), network.add_on)
    left, top, right, bottom = boxes[0]
    relevance_pass = RelevancePass(body, (bottom - top, right - left), lowest=ends[0], highest=ends[1])
    for image, cells in enumerate(best.cells.tolist()):
        for cell in dict.fromkeys(cells):
            left, top, right, bottom = boxes[cell]
            place = image, slice(top, bottom), slice(left, right)
            tile = images[image : image + 1, :, place[1], place[2]].clone().requires_grad_()
            output = relevance_pass.run(tile)
            _check_features(output.detach().flatten(), best.features[image].flatten(1)[:, cell])
            for number in (number for number, other in enumerate(cells) if other == cell):
                start = best.shares[image, number].view_as(output)
                (relevance,) = torch.autograd.grad(output, tile, start.to(output), retain_graph=True)
                yield place, number, relevance[0]


def _body(backbone: nn.Module, add_on: nn.Module) -> nn.Module:
    """Both in one, under their names."""
    return nn.Sequential(OrderedDict(backbone=backbone, add_on=add_on))


def _at_cells(
    shares: Float[Tensor, "b D"], cells: Int[Tensor, "b"], features: Float[Tensor, "b d h w"]
) -> Float[Tensor, "b d h w"]:
    """Relevance of the features: the shares at each image's best patch, 0 elsewhere."""
    channels, width = features.shape[1], features.shape[3]
    side = round((shares.shape[1] / channels) ** 0.5)
    relevance = torch.zeros_like(features)
    for image, (cell, patch) in enumerate(zip(cells.tolist(), shares, strict=True)):
        row, column = divmod(cell, width - side + 1)
        relevance[image, :, row : row + side, column : column + side] = patch.view(channels, side, side)
    return relevance


def _check_features(ours: Float[Tensor, "*shape"], features: Float[Tensor, "*shape"]) -> None:
    """The traced network must be the network: rounding apart, merged batch norm included."""
    difference, largest = (ours - features).abs().max(), features.abs().max()
    if not difference <= 1e-2 * largest:
        raise UnsupportedOperationError(
            "PRP follows operations with torch.fx, and what it traced of the network gives other features "
            f"(largest difference {difference:.3g}, largest feature {largest:.3g}): do its operations depend "
            "on values, does it use what an in-place operation has overwritten, or does a hook change it?"
        )
