"""Consistency and stability of a run, held against loops that restate docs/explanation/metrics.md."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch.nn import functional
from torchvision.transforms.v2.functional import pil_to_tensor

from pixpnet.data import merge_sides
from pixpnet.errors import DataError
from pixpnet.evaluation import METRICS, Settings, Subject, make_plan
from pixpnet.pixel_space import pixel_space_map
from pixpnet.receptive_fields import receptive_field
from pixpnet.runs import load
from pixpnet.seeds import stable_seed

HALF = 9.0
"""Of a region: with the protocols' 36 a region is all of such small images."""
SEED = 3


@pytest.fixture(scope="module")
def subject(tiny_run: Path) -> Subject:
    return Subject(load(tiny_run), batch_size=3)


class Seen:
    """A test image as a protocol has it, with its points."""

    def __init__(self, subject: Subject, index: int, *, cropped: bool) -> None:
        record = subject.records[index]
        image = Image.open(record.path).convert("RGB")
        points, visible = record.part_points, record.part_visible
        assert points is not None
        assert visible is not None
        if cropped:
            assert record.box is not None
            left, top, right, bottom = (round(edge) for edge in record.box)
            image = image.crop((left, top, right, bottom)).resize((224, 224), Image.Resampling.BILINEAR)
            points = (points - (left, top)) * (224 / (right - left), 224 / (bottom - top))
        inside = (points >= 0).all(axis=1) & (points < image.size).all(axis=1)
        self.points, self.visible = points, visible & inside
        mean, std = (torch.tensor(values)[:, None, None] for values in (subject.run.mean, subject.run.std))
        self.image = (pil_to_tensor(image).float() / 255 - mean) / std
        self.noise_seed = stable_seed(SEED, "noise", record.image_id)
        self.map_seeds = [
            stable_seed(SEED, purpose, record.image_id) for purpose in ("map", "map of the noisy image")
        ]

    def noisy(self, clip: float | None) -> torch.Tensor:
        noise = torch.randn(self.image.shape, generator=torch.Generator().manual_seed(self.noise_seed)) * 0.2
        return self.image + (noise if clip is None else noise.clamp(-clip, clip))


def center_of(
    subject: Subject, image: torch.Tensor, prototype: int, *, rule: str, seed: int
) -> tuple[float, float]:
    """(x, y), from the whole similarity map."""
    network, (height, width) = subject.run.network, image.shape[1:]
    size = (height, width)
    field = receptive_field(network.backbone, size).for_kernel(network.kernel_size)
    with torch.no_grad():
        similarities = network.similarity_maps(network.features(image[None]))
    rows, columns = similarities.shape[2:]
    row, column = divmod(int(similarities[0, prototype].argmax()), columns)
    if rule == "image":
        return size[1] / 2, size[0] / 2
    if rule == "receptive_field":
        left, top, right, bottom = field.box(row, column)
        return (left + right) / 2, (top + bottom) / 2
    if rule == "upsampling":
        return (column + 0.5) * size[1] / columns, (row + 0.5) * size[0] / rows
    if rule == "upsampled":
        shown = functional.interpolate(similarities, size=size, mode="bicubic")[0, prototype]
    elif rule == "random":
        own = subject.run.network.own_class[prototype].nonzero()[0]
        members = subject.run.network.own_class[:, own[0]].nonzero().flatten().tolist()
        generator = torch.Generator().manual_seed(seed)
        shown = torch.rand((1, len(members), *size), generator=generator)[0, members.index(prototype)]
    else:
        method = rule.removeprefix("argmax ")
        maps = pixel_space_map(
            method,
            similarities,
            field,
            size,
            network=network,
            images=image[None],
            lowest=-torch.tensor(subject.run.mean) / torch.tensor(subject.run.std),
            highest=(1 - torch.tensor(subject.run.mean)) / torch.tensor(subject.run.std),
        )
        shown = maps[0, prototype]
    y, x = divmod(int(shown.argmax()), size[1])
    return x + 0.5, y + 0.5


def oracle(subject: Subject, *, rule: str, protocol: str, half: float) -> dict[str, float]:
    """Hard and soft consistency, hard and soft stability, in percent."""
    names, merged = subject.image_set.part_names, protocol == "pixpnet-2023"
    groups = merge_sides(names).members if merged else tuple((q,) for q in range(len(names)))
    clip = None if merged else 0.25
    best, same, overlaps = [], [], []
    seen = [Seen(subject, index, cropped=not merged) for index in range(len(subject.records))]
    for prototype, own in enumerate(subject.run.network.own_class.tolist()):
        met, visible_count = np.zeros(len(groups)), np.zeros(len(groups))
        equal, overlap = [], []
        for index, record in enumerate(subject.records):
            if not own[record.label]:
                continue
            one, sets = seen[index], []
            for image, seed in zip((one.image, one.noisy(clip)), one.map_seeds, strict=True):
                x, y = center_of(subject, image, prototype, rule=rule, seed=seed)
                height, width = image.shape[1:]
                left, right = max(x - half, 0), min(x + half, width)
                top, bottom = max(y - half, 0), min(y + half, height)
                sets.append(
                    {
                        number
                        for number, group in enumerate(groups)
                        for q in group
                        if one.visible[q]
                        and left <= one.points[q, 0] < right
                        and top <= one.points[q, 1] < bottom
                    }
                )
            visible = {n for n, group in enumerate(groups) if any(one.visible[q] for q in group)}
            for number in range(len(groups)):
                met[number] += number in sets[0]
                visible_count[number] += number in visible
            if visible or not merged:
                equal.append(sets[0] == sets[1])
                union = sets[0] | sets[1]
                overlap.append(len(sets[0] & sets[1]) / len(union) if union else 1.0)
        best.append(max(m / v for m, v in zip(met, visible_count, strict=True) if v > 0))
        same.append(np.mean(equal))
        overlaps.append(np.mean(overlap))
    return {
        "consistency hard": 100 * float(np.mean([value >= 0.8 for value in best])),
        "consistency soft": 100 * float(np.mean(best)),
        "stability hard": 100 * float(np.mean(same)),
        "stability soft": 100 * float(np.mean(overlaps)),
    }


def measured(subject: Subject, method: str | None, settings: Settings) -> dict[str, float]:
    return {
        f"{metric} {name}": estimate.value
        for metric in ("stability", "consistency")
        for name, estimate in METRICS[metric].measure(subject, method, settings).values.items()
    }


def fresh(subject: Subject, *, batch_size: int) -> Subject:
    return Subject(subject.run, image_set=subject.image_set, batch_size=batch_size)


CASES = {
    "receptive field": ("receptive_field", Settings(seed=SEED, half_size=HALF), "receptive_field"),
    "upsampling": ("upsampling", Settings(seed=SEED, half_size=HALF), "upsampling"),
    "random": ("random", Settings(seed=SEED, half_size=HALF), "random"),
    "prp": ("prp", Settings(seed=SEED, half_size=HALF), "argmax prp"),
    "argmax": (
        "receptive_field",
        Settings(seed=SEED, half_size=HALF, center="argmax"),
        "argmax receptive_field",
    ),
    "image": (None, Settings(seed=SEED, half_size=HALF, center="image"), "image"),
    "eval-2023": (None, Settings(seed=SEED, protocol="eval-2023"), "upsampled"),
}


@pytest.mark.parametrize(("method", "settings", "rule"), CASES.values(), ids=CASES)
def test_against_loops(subject: Subject, method: str | None, settings: Settings, rule: str) -> None:
    found = measured(subject, method, settings)
    expected = oracle(subject, rule=rule, protocol=settings.protocol, half=settings.resolved().half_size or 0)
    assert found == pytest.approx(expected)
    if method == "random":
        assert found["stability hard"] < 100  # two maps


def test_batches_change_nothing(subject: Subject) -> None:
    settings = Settings(seed=SEED, half_size=HALF)
    one = measured(fresh(subject, batch_size=1), "random", settings)
    assert one == measured(fresh(subject, batch_size=4), "random", settings)
    cells = measured(fresh(subject, batch_size=1), "receptive_field", settings)
    assert cells == pytest.approx(measured(subject, "receptive_field", settings))


def test_both_take_one_pass_over_images_and_noisy_images(subject: Subject) -> None:
    images: list[int] = []
    backbone = subject.run.network.backbone
    hook = backbone.register_forward_pre_hook(lambda module, given: images.append(len(given[0])))
    seen = fresh(subject, batch_size=4)
    for method in ("receptive_field", "upsampling"):
        measured(seen, method, Settings())
    hook.remove()
    assert sum(images) == 2 * len(subject.records)


def test_what_it_depends_on(subject: Subject) -> None:
    def methods(settings: Settings) -> tuple[str | None, ...]:
        return METRICS["stability"].methods(settings)

    assert len(methods(Settings())) == len(methods(Settings(protocol="eval-2023", center="argmax"))) == 4
    assert methods(Settings(protocol="eval-2023")) == methods(Settings(center="image")) == (None,)


def test_data_that_lack_parts_or_boxes(subject: Subject) -> None:
    bare = tuple(replace(record, box=None) for record in subject.records)
    boxless = Subject(subject.run, image_set=replace(subject.image_set, test=bare))
    settings = Settings(protocol="eval-2023")
    with pytest.raises(DataError, match=r"consistency .*eval-2023 crops images .* box, .*without one"):
        make_plan(boxless, settings, metrics=("consistency",), methods=None)
    assert len(make_plan(boxless, Settings(), metrics=("stability",), methods=None).items) == 4
    partless = Subject(subject.run, image_set=replace(subject.image_set, part_names=()))
    with pytest.raises(DataError, match="SYNTHBIRDS has no part points"):
        make_plan(partless, Settings(), metrics=("stability",), methods=None)
