"""One pass over the training images: every prototype's nearest patches, whatever the batches."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from pixpnet.choices import choose
from pixpnet.errors import DataError
from pixpnet.projection.assignment import Assignment, choose_patches, competing_groups
from pixpnet.projection.best_lists import BestList, Candidates
from pixpnet.prototypes import Distance, Embedded, find_distance, patch_rows

DUPLICATE_FILTERS = ("sample", "patch", "none")

_CHUNK = 2**22
"""Floats of the largest table of distances (or gathered prototypes) at a time."""

_FEWEST_ENTRIES = 2**16

_ROW_BITS = 20
"""A cell's code is row · 2^20 + column, so that feature maps may differ in size."""


class PatchCandidates:
    """Collects, per prototype, the nearest patches that an optimal one-to-one assignment can need.

    A prototype sees only images of its own classes. It keeps as many patches as prototypes compete with it,
    itself included (those that share a class with it): of its list at most that many less one can be taken by
    others, so swapping a patch outside the list for a free one inside never makes an assignment worse. Filter
    ``none`` needs one patch; ``sample`` the best patch of each of so many images, and patches too until there
    are enough images.

    The state is numpy arrays: at most Σ list lengths rows, and the vectors of the distinct patches in them.
    It can be pickled and merged, and the result depends on the set of images alone: distances are recomputed
    by sums whose bits don't depend on the batch.

    Raises:
        ConfigError: unknown distance or filter.
    """

    def __init__(
        self,
        prototypes: Float[Tensor, "p d k k"],
        own_class: Bool[Tensor, "p c"],
        *,
        distance: str | Distance,
        duplicate_filter: str,
    ) -> None:
        choose(dict.fromkeys(DUPLICATE_FILTERS), duplicate_filter, what="push-duplicate-filter")
        self.prototypes = prototypes.detach().cpu().float()
        self.own_class = own_class.cpu()
        self.distance = find_distance(distance)
        self.duplicate_filter = duplicate_filter
        self.members, self.is_member = _members(self.own_class)
        self.groups = competing_groups(self.own_class.numpy())
        competitors = _competitors(self.own_class)
        lengths = np.ones_like(competitors) if duplicate_filter == "none" else competitors
        width = self.prototypes[0].numel()
        self.searched = 0
        self.patches = BestList(lengths, width=width, one_per_image=False)
        self.images = (
            BestList(lengths, width=width, one_per_image=True) if duplicate_filter == "sample" else None
        )

    @torch.no_grad()
    def update(
        self, z: Float[Tensor, "b d h w"], labels: Int[Tensor, "b"], image_index: Int[Tensor, "b"]
    ) -> None:
        """Look at the patches of a batch; image_index tells images apart over the whole data set."""
        with torch.autocast(z.device.type, enabled=False):
            prototypes = self.distance.embed(self.prototypes.to(z.device).flatten(1))
            rows = patch_rows(z.float(), self.prototypes.shape[-1])
            _check_finite(rows, image_index)
            per_image = self.members.shape[1] * max(rows.shape[1:])
            start = 0
            while start < len(z):
                # As many images as were seen so far: of so many, a bounded number gets into the lists.
                entries = min(_CHUNK, max(_FEWEST_ENTRIES, self.searched))
                group = slice(start, start + max(1, entries // per_image))
                start = group.stop
                self.searched += len(rows[group]) * per_image
                self._search(
                    rows[group],
                    prototypes,
                    labels=labels.to(z.device)[group],
                    image_index=image_index.to(z.device)[group],
                    grid_width=z.shape[-1] - self.prototypes.shape[-1] + 1,
                )

    def merge(self, other: PatchCandidates) -> None:
        """Take in what another process saw (of the same prototypes)."""
        self.patches.add(other.patches.compact())
        if self.images is not None and other.images is not None:
            self.images.add(other.images.compact())
            # What the other dropped, its images' lists made up for; the same holds for the union.
            self.patches.drop(other.patches.lengths == 0)

    def assign(self, *, class_names: Sequence[str] | None = None) -> Assignment:
        """The assignment of least total distance under the duplicate filter.

        A class with fewer images than prototypes falls back to distinct patches, one with fewer patches to
        shared ones, each with a warning (logged, and in the result). No prototype is left without a patch.

        Raises:
            DataError: a prototype has seen no image of its classes.
        """
        chosen, warnings = choose_patches(
            self.patches.compact(),
            None if self.images is None else self.images.compact(),
            own_class=self.own_class.numpy(),
            groups=self.groups,
            distinct=self.duplicate_filter != "none",
            class_names=class_names,
        )
        cells = np.stack([chosen.cell >> _ROW_BITS, chosen.cell & ((1 << _ROW_BITS) - 1)], axis=1)
        return Assignment(
            image_index=torch.from_numpy(chosen.image),
            cells=torch.from_numpy(cells),
            distances=torch.from_numpy(chosen.distance),
            patches=torch.from_numpy(chosen.vectors[chosen.slot]).view_as(self.prototypes),
            warnings=warnings,
        )

    def _search(
        self,
        rows: Float[Tensor, "b n D"],
        prototypes: Embedded,
        *,
        labels: Int[Tensor, "b"],
        image_index: Int[Tensor, "b"],
        grid_width: int,
    ) -> None:
        members = self.members.to(rows.device)[labels]
        is_member = self.is_member.to(rows.device)[labels]
        embedded = self.distance.embed(rows)
        theirs = Embedded(prototypes.rows[members], prototypes.offsets[members])
        distances = self.distance.search(embedded, theirs)
        tolerance = self.distance.search_tolerance(embedded, theirs)
        # NaN for padding: it is below no ceiling.
        tolerance = tolerance.masked_fill(~is_member, torch.nan)

        def found(is_found: Bool[Tensor, "b m n"]) -> Candidates:
            """The patches found, with exact distances."""
            image, place, cell = is_found.nonzero(as_tuple=True)
            number = members[image, place]
            size = max(1, 4 * _CHUNK // rows.shape[-1])
            parts = zip(image.split(size), cell.split(size), number.split(size), strict=True)
            exact = [
                self.distance.exact(
                    Embedded(embedded.rows[i, j], embedded.offsets[i, j]),
                    Embedded(prototypes.rows[p], prototypes.offsets[p]),
                )
                for i, j, p in parts
            ]
            used, slot = (image * rows.shape[1] + cell).unique(return_inverse=True)
            code = ((cell // grid_width) << _ROW_BITS) + cell % grid_width
            columns = (number, image_index[image], code, torch.cat(exact), slot, rows.flatten(0, 1)[used])
            return Candidates(*(column.cpu().numpy() for column in columns))

        if self.images is not None:
            nearest = distances.amin(-1)
            ceilings = torch.from_numpy(self.images.ceilings).to(rows.device)[members]
            limits = torch.where(nearest <= ceilings + tolerance, nearest + tolerance, torch.nan)
            self.images.add(found(distances <= limits[..., None]))
            self._drop_needless_patches()
        ceilings = torch.from_numpy(self.patches.ceilings).to(rows.device)[members]
        self.patches.add(found(distances <= (ceilings + tolerance)[..., None]))

    def _drop_needless_patches(self) -> None:
        """With enough images for every prototype of a group, no assignment falls back to patches."""
        assert self.images is not None
        short = np.unique(self.groups[~self.images.is_full])
        self.patches.drop(~np.isin(self.groups, short))


def _members(own_class: Bool[Tensor, "p c"]) -> tuple[Int[Tensor, "c m"], Bool[Tensor, "c m"]]:
    """For each class the prototypes that see its images, padded, and which entries are no padding."""
    is_own = own_class.T
    width = max(1, int(is_own.sum(dim=1).max()))
    members = is_own.to(torch.uint8).argsort(dim=1, descending=True, stable=True)[:, :width]
    return members, is_own.gather(1, members)


def _competitors(own_class: Bool[Tensor, "p c"]) -> Int[np.ndarray, "p"]:
    """How many prototypes share a class with each, itself included."""
    own = own_class.float()
    return (own @ own.T > 0).sum(dim=1).numpy()


def _check_finite(rows: Float[Tensor, "b n D"], image_index: Int[Tensor, "b"]) -> None:
    is_bad = ~rows.isfinite().flatten(1).all(dim=1)
    if is_bad.any():
        first = int(image_index[is_bad.to(image_index.device)][0])
        raise DataError(
            f"projection: the features of training image number {first} are not finite; the network has "
            "diverged, or the image is damaged."
        )
