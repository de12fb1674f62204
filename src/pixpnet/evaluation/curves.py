"""Relevance ordering and deletion: how a prototype's similarity follows the pixels that a map ranks."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

import torch
from jaxtyping import Float, Float64
from torch import Tensor

from pixpnet.evaluation.metric import Curve, MetricResult, Settings
from pixpnet.evaluation.subject import Subject
from pixpnet.metrics import (
    Deletion,
    Estimate,
    OrderingSummary,
    RelevanceOrdering,
    deletion_curve,
    pixel_counts,
    relevance_curve,
    relevance_ranks,
)
from pixpnet.pixel_space import MAPPINGS
from pixpnet.seeds import stable_seed

MAPS_AT_ONCE = 64


class RankedImage(NamedTuple):
    """A test image, and prototypes that share a map of it."""

    image: Float[Tensor, "3 H W"]
    relevance: Float[Tensor, "H W"]
    prototypes: tuple[int, ...]


def measure_relevance_ordering(subject: Subject, method: str | None, settings: Settings) -> MetricResult:
    """How soon the pixels that a map ranks first bring the prototype's similarity back."""
    summary = _summarise(subject, method, settings, relevance_curve, RelevanceOrdering)
    values = {"area": summary.area, "share": _as_percent(summary.share)}
    return MetricResult(values, Curve(summary.shares, summary.curve, summary.normalised))


def measure_deletion(subject: Subject, method: str | None, settings: Settings) -> MetricResult:
    """How much similarity is left while the pixels that a map ranks first are taken away."""
    summary = _summarise(subject, method, settings, deletion_curve, Deletion)
    return MetricResult({"area": summary.area}, Curve(summary.shares, summary.curve, summary.normalised))


@torch.inference_mode()
def _summarise(
    subject: Subject,
    method: str | None,
    settings: Settings,
    curve_of: Callable[..., Float64[Tensor, "n *p"]],
    make_metric: type[RelevanceOrdering],
) -> OrderingSummary:
    """The curves of the sampled images' prototypes, summed up by a metric."""
    assert method is not None
    height, width = subject.image_size
    counts = pixel_counts(height * width, steps=settings.steps)
    metric = make_metric(subject.num_prototypes, counts.numpy() / (height * width), seed=settings.seed)
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
        metric.update(curve.T, torch.tensor(ranked.prototypes))
    return metric.compute()


def _start(subject: Subject, settings: Settings) -> Float[Tensor, "3 H W"] | None:
    """One image of noise for all, or None for zeros."""
    if settings.start == "zeros":
        return None
    generator = torch.Generator().manual_seed(stable_seed(settings.seed, "start"))
    return torch.randn((3, *subject.image_size), generator=generator).to(subject.device)


def _ranked_images(subject: Subject, method: str, settings: Settings) -> Iterator[RankedImage]:
    """The sampled images with their maps: one for each prototype, or a random one for many."""
    pieces: list[tuple[int, Sequence[int]]] = []
    for index in subject.sample(settings.samples, seed=settings.seed):
        every = range(subject.num_prototypes)
        chosen = subject.prototypes_of(subject.labels[index]) if settings.prototypes == "own" else every
        pieces += [(index, chosen[at : at + MAPS_AT_ONCE]) for at in range(0, len(chosen), MAPS_AT_ONCE)]
    for index, prototypes in subject.track(pieces):
        images = subject.load((index,))
        seeds = subject.draw_seeds((index,), seed=settings.seed, purpose="map")
        similarities = subject.similarities(images, prototypes)
        if MAPPINGS[method].is_baseline:  # the map says nothing about any of them: one will do
            (noise,) = subject.maps(method, images, similarities[:, :1], prototypes[:1], seeds=seeds)
            yield RankedImage(images[0], noise[0], tuple(prototypes))
        else:
            (maps,) = subject.maps(method, images, similarities, prototypes, seeds=seeds)
            for prototype, relevance in zip(prototypes, maps, strict=True):
                yield RankedImage(images[0], relevance, (prototype,))


def _as_percent(share: Estimate) -> Estimate:
    return share._replace(value=100 * share.value, low=100 * share.low, high=100 * share.high)
