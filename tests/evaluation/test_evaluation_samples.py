"""Maps that take long are made once for all metrics, as long as there is room for them."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from pixpnet.evaluation import Subject
from pixpnet.runs import load

SETTINGS = {"samples": 4, "seed": 1}


@pytest.mark.parametrize(
    ("method", "room", "times"), [("prp", 1 << 26, 1), ("prp", 100, 2), ("upsampling", 1 << 26, 2)]
)
def test_slow_maps_are_kept_where_there_is_room(
    tiny_run: Path, monkeypatch: pytest.MonkeyPatch, method: str, room: int, times: int
) -> None:
    subject = Subject(load(tiny_run), batch_size=2)
    monkeypatch.setattr("pixpnet.evaluation.subject.MOST_KEPT", room)
    made = []
    subject.on_step = lambda done, total: made.extend([1] if done else [])
    first = list(subject.sampled_maps(method, **SETTINGS))
    once = len(made)
    second = list(subject.sampled_maps(method, **SETTINGS))
    assert len(made) == times * once
    assert once == len(first) == len(second)
    for one, other in zip(first, second, strict=True):
        assert one.indices == other.indices
        assert torch.equal(one.maps, other.maps)
    assert len(list(subject.sampled_maps(method, samples=4, seed=2))) > 0
    assert len(made) > times * once, "other images have other maps"
