"""Maps that take long are made once for all metrics, as long as there is room for them."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from pixpnet.evaluation import Settings, Subject, samples
from pixpnet.runs import load

SETTINGS = Settings(samples=4, seed=1)


@pytest.mark.parametrize(
    ("method", "room", "times"), [("prp", 1 << 26, 1), ("prp", 100, 2), ("upsampling", 1 << 26, 2)]
)
def test_slow_maps_are_kept_where_there_is_room(
    tiny_run: Path, monkeypatch: pytest.MonkeyPatch, method: str, room: int, times: int
) -> None:
    subject = Subject(load(tiny_run), batch_size=2)
    monkeypatch.setattr(samples, "KEPT", room)
    made = []
    make = Subject.maps

    def spy(self, *arguments, **options):
        made.append(1)
        return make(self, *arguments, **options)

    monkeypatch.setattr(Subject, "maps", spy)
    first = list(samples.sampled_maps(subject, method, SETTINGS))
    once = len(made)
    second = list(samples.sampled_maps(subject, method, SETTINGS))
    assert len(made) == times * once
    assert once == len(first) == len(second)
    for one, other in zip(first, second, strict=True):
        assert one.indices == other.indices
        assert torch.equal(one.maps, other.maps)
    assert len(list(samples.sampled_maps(subject, method, Settings(samples=4, seed=2)))) > 0
    assert len(made) > times * once, "other images have other maps"
