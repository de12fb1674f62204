"""Relevance ordering and deletion of a run, held against putting pixels in one image at a time."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from pixpnet.evaluation import METRICS, Settings, Subject
from pixpnet.pixel_space import pixel_space_map
from pixpnet.runs import load
from pixpnet.seeds import stable_seed

SEED = 2
STEPS = 8


@pytest.fixture(scope="module")
def subject(tiny_run: Path) -> Subject:
    return Subject(load(tiny_run), batch_size=4)


def map_of(subject: Subject, method: str, index: int, prototype: int, chosen: tuple[int, ...]) -> np.ndarray:
    """One prototype's map, of those that are chosen."""
    run, image = subject.run, subject.load((index,))
    if method == "random":  # one map for all prototypes
        seed = stable_seed(SEED, "map", subject.records[index].image_id)
        generator = torch.Generator().manual_seed(seed)
        return torch.rand((1, 1, *run.image_size), generator=generator)[0, 0].numpy()
    mean, std = torch.tensor(run.mean), torch.tensor(run.std)
    network = subject.network_of(chosen)  # plain backgrounds tie cells, and rounding orders their pixels
    with torch.no_grad():
        maps = pixel_space_map(
            method,
            network.similarity_maps(network.features(image)),
            run.receptive_field(),
            run.image_size,
            prototypes=(chosen.index(prototype),),
            network=network,
            images=image,
            lowest=-mean / std,
            highest=(1 - mean) / std,
        )
    return maps[0, 0].numpy()


def oracle(
    subject: Subject, method: str, settings: Settings, *, delete: bool
) -> tuple[dict[str, float], np.ndarray]:
    """Mean area, and mean share in percent at which the similarity is that of the image; mean curve."""
    height, width = subject.image_size
    pixels = height * width
    steps = settings.steps or pixels
    start = torch.zeros(3, height, width)
    if settings.start == "noise":
        generator = torch.Generator().manual_seed(stable_seed(SEED, "start"))
        start = torch.randn((3, height, width), generator=generator)
    curves: dict[int, list[list[float]]] = {}
    for index in subject.sample(settings.samples, seed=SEED):
        (image,) = subject.load((index,))
        own = subject.run.network.own_class[:, subject.labels[index]].tolist()
        chosen = tuple(p for p, is_own in enumerate(own) if is_own or settings.prototypes == "all")
        for prototype in chosen:
            values = map_of(subject, method, index, prototype, chosen).ravel().tolist()
            order = sorted(range(pixels), key=lambda pixel: (-values[pixel], pixel))
            curve = []
            for step in range(steps + 1):
                shown = (image if delete else start).clone()
                for pixel in order[: round(step * pixels / steps)]:
                    y, x = divmod(pixel, width)
                    shown[:, y, x] = (start if delete else image)[:, y, x]
                with torch.no_grad():
                    curve.append(float(subject.run.network(shown[None]).similarities[0, prototype]))
            curves.setdefault(prototype, []).append(curve)
    areas, shares, kept = [], [], []
    for images in curves.values():
        mean = np.mean(images, axis=0)
        empty, whole = (mean[-1], mean[0]) if delete else (mean[0], mean[-1])
        if whole <= empty:
            continue
        kept.append(mean)
        normal = (mean - empty) / (whole - empty)
        areas.append(sum((normal[i] + normal[i + 1]) / 2 / steps for i in range(steps)))
        shares.append(next(i for i in range(steps + 1) if mean[i] >= whole - 1e-6) / steps)
    found = {"area": float(np.mean(areas))}
    if not delete:
        found["share"] = 100 * float(np.mean(shares))
    return found, np.mean(kept, axis=0)


CASES = {
    "receptive field": ("receptive_field", Settings(samples=3)),
    "upsampling, all prototypes": ("upsampling", Settings(prototypes="all", samples=1)),
    "random, from noise, several images of a class": ("random", Settings(start="noise", samples=5)),
    "prp": ("prp", Settings(samples=1)),
}


@pytest.mark.parametrize("metric", ["relevance_ordering", "deletion"])
@pytest.mark.parametrize(("method", "settings"), CASES.values(), ids=CASES)
def test_against_single_images(subject: Subject, metric: str, method: str, settings: Settings) -> None:
    settings = Settings(
        seed=SEED,
        steps=STEPS,
        samples=settings.samples,
        start=settings.start,
        prototypes=settings.prototypes,
    )
    outcome = METRICS[metric].measure(subject, method, settings)
    found = {name: estimate.value for name, estimate in outcome.values.items()}
    expected, similarity = oracle(subject, method, settings, delete=metric == "deletion")
    assert found == pytest.approx(expected, abs=1e-4)
    curve = outcome.curve
    assert curve is not None
    assert curve.similarity == pytest.approx(similarity, abs=1e-4)
    assert curve.shares.tolist() == pytest.approx(np.arange(STEPS + 1) / STEPS, abs=1e-4)
    ends = (1.0, 0.0) if metric == "deletion" else (0.0, 1.0)
    assert (curve.normalised[0], curve.normalised[-1]) == pytest.approx(ends)
    area = float(((curve.normalised[1:] + curve.normalised[:-1]) / 2) @ np.diff(curve.shares))
    assert area == pytest.approx(found["area"])


def test_left_out_are_prototypes_without_an_image(subject: Subject) -> None:
    settings = Settings(seed=SEED, steps=2, samples=1)
    area = METRICS["relevance_ordering"].measure(subject, "random", settings).values["area"]
    (index,) = subject.sample(1, seed=SEED)
    assert area.count + area.left_out == 6
    assert area.count <= len(subject.prototypes_of(subject.labels[index]))
