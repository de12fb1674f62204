"""Prototype relevance propagation: which pixels made a prototype's best cell what it is (Gautam et al. 2023).

Relevance 1 starts at the prototype's best cell and passes down through the network, operation by operation,
by the rules in `relevance_pass`.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch
from jaxtyping import Float, Int
from torch import Tensor

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
        relevance_pass = RelevancePass(
            network, (height, width), lowest=lowest.to(images), highest=highest.to(images)
        )
        for start in range(0, len(images), IMAGES_AT_ONCE):
            part = slice(start, start + IMAGES_AT_ONCE)
            for number, relevance in enumerate(_relevances(network, relevance_pass, images[part], chosen)):
                maps[part, number] = relevance.sum(1)
    return maps


def _relevances(
    network: PrototypeNetwork,
    relevance_pass: RelevancePass,
    images: Float[Tensor, "b 3 H W"],
    prototypes: Int[Tensor, "n"],
) -> Iterator[Float[Tensor, "b 3 H W"]]:
    """Relevance of the images' values for one prototype after the other: one forward pass for all."""
    with torch.no_grad():
        features = network.features(images)
        cells = network.from_features(features).cells[:, prototypes]
        patches = patch_rows(features, network.kernel_size)
        best = patches.gather(1, cells[..., None].expand(-1, -1, patches.shape[-1]))
        rows = network.prototypes.detach()[prototypes].flatten(1)
        shares = relevance_shares(best, rows.to(best), distance=network.distance)
    images = images.clone().requires_grad_()
    output = relevance_pass.run(images)
    _check_features(output.detach(), features)
    for number in range(len(prototypes)):
        start = _at_cells(shares[:, number], cells[:, number], features)
        (relevance,) = torch.autograd.grad(output, images, start.to(output), retain_graph=True)
        yield relevance


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


def _check_features(ours: Float[Tensor, "b d h w"], features: Float[Tensor, "b d h w"]) -> None:
    """The traced network must be the network: rounding apart, merged batch norm included."""
    difference, largest = (ours - features).abs().max(), features.abs().max()
    if not difference <= 1e-2 * largest:
        raise UnsupportedOperationError(
            "PRP follows operations with torch.fx, and what it traced of the network gives other features "
            f"(largest difference {difference:.3g}, largest feature {largest:.3g}): do its operations depend "
            "on values, does it use what an in-place operation has overwritten, or does a hook change it?"
        )
