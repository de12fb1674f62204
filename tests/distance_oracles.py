"""Every distance by its definition, for the testers of the table; and one that an outsider would add.

Tests that take `EVERY` distance run on that of an outsider too: they use the fixture `l1_in_the_table`.
"""

import torch

from pixpnet.prototypes import DISTANCES, Distance, pairwise_sum


class L1(Distance):
    """Σ|z − p|: no scaled squared Euclidean distance of anything."""

    def exact(self, left, right):
        return pairwise_sum((left.rows - right.rows).abs())

    def errors(self, patches, prototypes):
        return (patches - prototypes).abs()


EVERY = [*DISTANCES, "l1"]


def _cosine(patches, prototypes):
    norms = patches.norm(dim=-1) * prototypes.norm(dim=-1)
    return 1 - torch.where(norms > 0, (patches * prototypes).sum(-1) / norms, 0.0)


def _cosine_errors(patches, prototypes):
    norms = patches.norm(dim=-1, keepdim=True) * prototypes.norm(dim=-1, keepdim=True)
    return 1 - torch.where(norms > 0, patches * prototypes / norms, 0.0)


ORACLES = {
    "l2": lambda patches, prototypes: (patches - prototypes).square().sum(-1),
    "cosine": _cosine,
    "l1": lambda patches, prototypes: (patches - prototypes).abs().sum(-1),
}
"""Name of the distance -> distances of rows, in float64."""

ERRORS = {
    "l2": lambda patches, prototypes: (patches - prototypes).square(),
    "cosine": _cosine_errors,
    "l1": lambda patches, prototypes: (patches - prototypes).abs(),
}
"""Name of the distance -> each element's part of it."""

LINEAR_AT_ZERO = {"l2": 0.0, "cosine": 1.0, "l1": 0.0}

IGNORES_LENGTH = {"l2": False, "cosine": True, "l1": False}


def plain_maps(z, prototypes, distance):
    """Every distance [b p h w], cell by cell, in float64."""
    k = prototypes.shape[-1]
    z, prototypes = z.double(), prototypes.double()
    height, width = (side - k + 1 for side in z.shape[-2:])
    maps = torch.empty(len(z), len(prototypes), height, width, dtype=torch.float64)
    for row in range(height):
        for column in range(width):
            patch = z[:, None, :, row : row + k, column : column + k].flatten(2)
            maps[:, :, row, column] = ORACLES[distance](patch, prototypes.flatten(1)[None])
    return maps
