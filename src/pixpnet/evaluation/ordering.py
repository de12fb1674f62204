"""Relevance ordering and deletion: how a prototype's similarity follows the pixels that a map ranks."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Float, Float64
from torch import Tensor

from pixpnet.evaluation.metric import Metric, Outcome, Quantity, Settings, all_methods
from pixpnet.evaluation.record import Curve
from pixpnet.evaluation.subject import Subject
from pixpnet.metrics import (
    CurveSums,
    Estimate,
    deletion_curve,
    pixel_counts,
    relevance_curve,
    relevance_ranks,
    summarise_curves,
    summarise_deletion,
)
from pixpnet.seeds import stable_seed

MAPS_AT_ONCE = 64


class RankedImage(NamedTuple):
    """A test image, and prototypes that share a map of it."""

    image: Float[Tensor, "3 H W"]
    relevance: Float[Tensor, "H W"]
    prototypes: tuple[int, ...]


def measure_relevance_ordering(subject: Subject, method: str | None, settings: Settings) -> Outcome:
    """How soon the pixels that a map ranks first bring the prototype's similarity back."""
    sums, shares = _sum_curves(subject, method, settings, curve_of=relevance_curve)
    summary = summarise_curves(sums, shares, seed=settings.seed)
    return Outcome(
        {"area": summary.area, "share": _percent(summary.share)},
        Curve(summary.shares, summary.curve, summary.normalised),
    )


def measure_deletion(subject: Subject, method: str | None, settings: Settings) -> Outcome:
    """How much similarity is left while the pixels that a map ranks first are taken away."""
    sums, shares = _sum_curves(subject, method, settings, curve_of=deletion_curve)
    summary = summarise_deletion(sums, shares, seed=settings.seed)
    return Outcome({"area": summary.area}, Curve(summary.shares, summary.curve, summary.normalised))


@torch.inference_mode()
def _sum_curves(
    subject: Subject,
    method: str | None,
    settings: Settings,
    *,
    curve_of: Callable[..., Float64[Tensor, "n *p"]],
) -> tuple[CurveSums, Float64[np.ndarray, "n"]]:
    """Each prototype's sum of curves over the sampled images, and the share of pixels at each point."""
    assert method is not None
    height, width = subject.image_size
    counts = pixel_counts(height * width, steps=settings.steps)
    similarities = np.zeros((len(subject.own_class), len(counts)))
    images = np.zeros(len(subject.own_class), dtype=np.int64)
    start = _start(subject, settings)
    for ranked in _ranked_images(subject, method, settings):
        network = subject.network_of(ranked.prototypes)

        def similarity_of(batch: Tensor, network: torch.nn.Module = network) -> Tensor:
            return network(batch.contiguous(memory_format=torch.channels_last)).similarities

        curve = curve_of(
            similarity_of,
            ranked.image,
            ranks=relevance_ranks(ranked.relevance),
            counts=counts,
            start=start,
            batch_size=subject.batch_size,
        )
        similarities[list(ranked.prototypes)] += curve.T.numpy()
        images[list(ranked.prototypes)] += 1
    return CurveSums(similarities, images), counts.numpy() / (height * width)


def _start(subject: Subject, settings: Settings) -> Float[Tensor, "3 H W"] | None:
    """One image of noise for all, or none for zeros."""
    if settings.start == "zeros":
        return None
    generator = torch.Generator().manual_seed(stable_seed(settings.seed, "start"))
    return torch.randn((3, *subject.image_size), generator=generator).to(subject.device)


def _ranked_images(subject: Subject, method: str, settings: Settings) -> Iterator[RankedImage]:
    """The sampled images with their maps: one for each prototype, or a random one for many."""
    sample = subject.sample(settings.samples, seed=settings.seed)
    pieces: list[tuple[int, Sequence[int]]] = []
    for index in sample:
        label = subject.labels[index]
        every = range(len(subject.own_class))
        chosen = subject.prototypes_of(label) if settings.prototypes == "own" else every
        pieces += [(index, chosen[at : at + MAPS_AT_ONCE]) for at in range(0, len(chosen), MAPS_AT_ONCE)]
    for index, prototypes in subject.track(pieces):
        images = subject.load((index,))
        seeds = subject.draw_seeds((index,), seed=settings.seed, purpose="map")
        similarities = subject.similarities(images, prototypes)
        if method == "random":  # the map says nothing about any of them: one will do
            (noise,) = subject.maps(method, images, similarities[:, :1], prototypes[:1], seeds=seeds)
            yield RankedImage(images[0], noise[0], tuple(prototypes))
        else:
            (maps,) = subject.maps(method, images, similarities, prototypes, seeds=seeds)
            for prototype, relevance in zip(prototypes, maps, strict=True):
                yield RankedImage(images[0], relevance, (prototype,))


def _percent(share: Estimate) -> Estimate:
    return share._replace(value=100 * share.value, low=100 * share.low, high=100 * share.high)


_SETTINGS = ("seed", "samples", "steps", "start", "prototypes")

RELEVANCE_ORDERING = Metric(
    title="Relevance ordering",
    measure=measure_relevance_ordering,
    quantities={
        "area": Quantity("area under the curve (insertion AUC)", "", "high"),
        "share": Quantity("pixels until the similarity is that of the image", "%", "low"),
    },
    settings=_SETTINGS,
    methods=all_methods,
)

DELETION = Metric(
    title="Deletion",
    measure=measure_deletion,
    quantities={"area": Quantity("area under the curve", "", "low")},
    settings=_SETTINGS,
    methods=all_methods,
)
