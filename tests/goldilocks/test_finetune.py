"""Finetuning one stage: what it learns, what it leaves alone, and what it does when memory runs out."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import nn

from pixpnet.backbones import Backbone, build_backbone
from pixpnet.config import DatasetConfig
from pixpnet.data import Splits, open_splits
from pixpnet.errors import ConfigError, PixPNetError
from pixpnet.goldilocks import finetune_stage
from pixpnet.seeds import seeded


@pytest.fixture(scope="module")
def splits(birds: Path) -> Splits:
    config = DatasetConfig(
        root=str(birds), classes=3, size=64, train_images=10, test_images=4, val_size=0.0, workers=0
    )
    return open_splits(config, seed=0)


@pytest.fixture
def backbone() -> Backbone:
    with seeded(3):
        return build_backbone("small_resnet", layer="layer2", pretrained=False)


def _tested_on_training_images(splits: Splits) -> Splits:
    return replace(splits, train=splits.projection, test=splits.projection)


def test_it_learns_and_leaves_the_backbone_alone(splits: Splits, backbone: Backbone) -> None:
    before = {name: value.clone() for name, value in backbone.state_dict().items()}
    untrained = finetune_stage(backbone, _tested_on_training_images(splits), seed=0, epochs=0, workers=0)
    trained = finetune_stage(
        backbone, _tested_on_training_images(splits), seed=0, epochs=12, batch_size=10, workers=0
    )
    assert untrained.accuracies.top1 < 0.6
    assert trained.accuracies.top1 > 0.9
    assert (trained.accuracies.top5, trained.batch_size) == (1.0, 10)
    assert all(torch.equal(value, before[name]) for name, value in backbone.state_dict().items())


def test_the_seed_decides(splits: Splits, backbone: Backbone) -> None:
    features = _record_features(backbone)
    for seed in (0, 0, 1):
        torch.rand(1)  # whatever was drawn before does not matter
        finetune_stage(backbone, splits, seed=seed, epochs=1, batch_size=12, workers=0)
    first, again, other = features
    assert torch.equal(first, again)
    assert not torch.allclose(first, other)


def _record_features(backbone: Backbone) -> list[torch.Tensor]:
    """The features of the test images, batch by batch; copies of the backbone have its hooks."""
    seen: list[torch.Tensor] = []

    def recording(module: nn.Module, images: tuple[torch.Tensor], features: torch.Tensor) -> None:
        if not module.training:
            seen.append(features)

    backbone.register_forward_hook(recording)
    return seen


def _memory_for(batch: int, backbone: Backbone, *, error: Callable[[], Exception]) -> list[int]:
    """Let steps of more images fail; the sizes of the batches that were tried."""
    tried: list[int] = []

    def limiting(module: nn.Module, images: tuple[torch.Tensor]) -> None:
        tried.append(len(images[0]))
        if tried[-1] > batch:
            raise error()

    backbone.register_forward_pre_hook(limiting)
    return tried


def _out_of_memory() -> Exception:
    return torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 MiB.")


def test_out_of_memory_halves_the_batch(splits: Splits, backbone: Backbone) -> None:
    features = _record_features(backbone)
    finetune_stage(backbone, splits, seed=0, epochs=1, batch_size=6, workers=0)
    expected = torch.cat(features)
    features.clear()
    tried = _memory_for(6, backbone, error=_out_of_memory)
    found = finetune_stage(backbone, splits, seed=0, epochs=1, batch_size=24, workers=0)
    assert found.batch_size == 6
    assert tried[:3] == [24, 12, 6]
    assert torch.equal(torch.cat(features), expected)


def test_too_little_memory_is_told(splits: Splits, backbone: Backbone) -> None:
    tried = _memory_for(0, backbone, error=_out_of_memory)
    with pytest.raises(PixPNetError, match=r"small_resnet/layer2 does not fit into memory.* batches of 2"):
        finetune_stage(backbone, splits, seed=0, epochs=1, batch_size=8, workers=0)
    assert tried == [8, 4, 2]


def test_a_batch_of_one_is_refused_whatever_the_memory(splits: Splits, backbone: Backbone) -> None:
    with pytest.raises(ConfigError, match=r"train\.batch-size 1: finetuning needs 2 images or more"):
        finetune_stage(backbone, splits, seed=0, epochs=1, batch_size=1, workers=0)


def test_other_errors_are_not_taken_for_it(splits: Splits, backbone: Backbone) -> None:
    tried = _memory_for(0, backbone, error=lambda: RuntimeError("shapes differ"))
    with pytest.raises(RuntimeError, match="shapes differ"):
        finetune_stage(backbone, splits, seed=0, epochs=1, batch_size=8, workers=0)
    assert tried == [8]
