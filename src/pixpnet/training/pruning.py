"""Pruning: prototypes that add nothing are taken away, as many as the validation images can spare."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Int64
from torch.nn import functional

from pixpnet.prototypes import Head, PrototypeNetwork
from pixpnet.runs import BACKGROUND, PrunedPrototype, Pruning, nearly_equal_pairs, times_on_top
from pixpnet.training.projection import SimilarityTable
from pixpnet.types import PrototypeSource

TOLERANCE = 0.01
"""By so much the validation images' cross-entropy may rise, that is, by so many percent the (geometric) mean
probability of their classes may fall: nearly equal is not equal."""


def prune_prototypes(
    network: PrototypeNetwork,
    *,
    sources: Sequence[PrototypeSource],
    on_object: Sequence[float | None],
    training: SimilarityTable,
    validation: SimilarityTable,
    read_out: Callable[[Head, SimilarityTable], object],
) -> tuple[Pruning, tuple[PrototypeSource, ...]]:
    """Take prototypes away, in place; say which and why, and where those that stay come from.

    Candidates are, in this order: of two that are nearly equal and of the same classes the one on the
    background, else the less used one, whose weights the other takes over; those that no image uses; those on
    the background, the less used ones first. As many of the first of them go as can go so that, once the
    head has learned without them, no fewer validation images are right and their cross-entropy stays; the
    number is found by halving. No class is left without.

    Args:
        network: Projected. Its parameters are replaced.
        sources: Of its prototypes.
        on_object: The share of each source's box that is the object; None where nothing tells.
        training: What the head learns from. These images, and the validation images, may use a prototype.
        validation: What has the say.
        read_out: Trains a head on a table of its prototypes.
    """
    everything = range(len(sources))
    before = found = _Attempt.at(network.head, everything, validation)
    used = times_used(network.head, (training, validation))
    candidates = find_candidates(network, sources, on_object, used=used)
    spared, too_many = 0, len(candidates) + 1
    trying = len(candidates)
    while trying > spared:
        kept = sorted({*everything} - {one.prototype for one in candidates[:trying]})
        heirs = {one.prototype: one.heir for one in candidates[:trying]}
        head = head_without(network.head, heirs)
        read_out(head, training.of(kept))
        attempt = _Attempt.at(head, kept, validation)
        if attempt.right >= before.right and attempt.loss <= before.loss + TOLERANCE:
            spared, found = trying, attempt
        else:
            too_many = trying
        trying = (spared + too_many) // 2
    if spared:
        network.prune(found.kept)
        network.head.load_state_dict(found.head.state_dict())
    pruning = Pruning(
        before=len(sources),
        images=len(validation.labels),
        right_before=before.right,
        right=found.right,
        pruned=tuple(candidates[:spared]),
    )
    kept = (replace(sources[number], prototype=place) for place, number in enumerate(found.kept))
    return pruning, tuple(kept)


class _Attempt(NamedTuple):
    """A head of some of the prototypes, and how the validation images fare with it."""

    head: Head
    kept: Sequence[int]
    right: int
    loss: float
    """Mean cross-entropy."""

    @classmethod
    @torch.no_grad()
    def at(cls, head: Head, kept: Sequence[int], validation: SimilarityTable) -> _Attempt:
        similarities, labels = validation.of(kept)
        logits = head(similarities)
        right = int((logits.argmax(dim=1) == labels).sum())
        return cls(head, kept, right, float(functional.cross_entropy(logits, labels)))


def find_candidates(
    network: PrototypeNetwork,
    sources: Sequence[PrototypeSource],
    on_object: Sequence[float | None],
    *,
    used: Int64[np.ndarray, "p"],
    doubts: Mapping[str, Sequence[int]] | None = None,
) -> list[PrunedPrototype]:
    """What may go, in the order of `prune_prototypes`; no class would be left without if all of it went.

    Args:
        network: Projected.
        sources: Of its prototypes.
        on_object: The share of each source's box that is the object; None where nothing tells.
        used: In how many images each prototype is among those that speak most.
        doubts: Further reasons, and the prototypes that they speak against; these come last.
    """
    own, found = network.own_class, dict[int, PrunedPrototype]()
    hidden = {number for number, share in enumerate(on_object) if share is not None and share < BACKGROUND}

    def add(number: int, reason: str, heir: int | None = None) -> None:
        others = [other for other in range(len(sources)) if other != number and other not in found]
        if number not in found and own[others].any(dim=0).equal(own.any(dim=0)):
            source = sources[number]
            found[number] = PrunedPrototype(number, source.class_name, source.path, reason, heir)

    prototypes = network.prototypes.detach().flatten(1).cpu().numpy()
    for pair in nearly_equal_pairs(prototypes, network.distance):
        heir, other = sorted(pair, key=lambda number: (number in hidden, -used[number], number))
        if heir not in found and own[heir].equal(own[other]):
            add(other, "nearly equal", heir)
    for number in np.flatnonzero(used == 0).tolist():
        add(number, "unused")
    for number in sorted(hidden, key=lambda number: (used[number], number)):
        add(number, "background")
    for reason, numbers in (doubts or {}).items():
        for number in numbers:
            add(number, reason)
    return list(found.values())


@torch.no_grad()
def times_used(head: Head, tables: Sequence[SimilarityTable]) -> Int64[np.ndarray, "p"]:
    """In how many images each prototype is among those that speak most."""
    weights = head(torch.eye(len(head.own_class), device=tables[0].labels.device)).cpu().numpy()
    counts = [
        times_on_top(
            table.similarities.cpu().numpy(),
            head(table.similarities).argmax(dim=1).cpu().numpy(),
            weights,
        )
        for table in tables
    ]
    return np.sum(counts, axis=0)


def head_without(head: Head, heirs: Mapping[int, int | None]) -> Head:
    """A copy of a head without some prototypes, whose weights their heirs take over where there are some."""
    head = copy.deepcopy(head)
    for prototype, heir in heirs.items():
        if heir is not None:
            head.hand_over(prototype, to=heir)
    kept = [number for number in range(len(head.own_class)) if number not in heirs]
    head.prune(torch.tensor(kept, device=head.own_class.device))
    return head
