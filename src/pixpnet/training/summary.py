"""What is said of a run: before it, at the end of an epoch, and of the network that came of it."""

from __future__ import annotations

import statistics
import time
from collections.abc import Mapping
from pathlib import Path

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from pixpnet.backbones import Backbone, TiledBackbone
from pixpnet.data import Splits
from pixpnet.modes import evaluating
from pixpnet.prototypes import PrototypeNetwork
from pixpnet.receptive_fields import ReceptiveField
from pixpnet.training.plan import EpochPlan

TIMING_SECONDS = 2.0
"""No forward pass is timed after so many."""


def announcement(
    splits: Splits, backbone: Backbone | TiledBackbone, field: ReceptiveField, run: Path
) -> list[str]:
    """What is said before the first epoch, of the field of prototype-sized patches."""
    height, width = splits.image_size
    lines = [
        f"{len(splits.train.records)} training images, {len(splits.class_names)} classes; "
        f"{backbone.name}/{backbone.layer}: {field.grid_size[0]}×"
        f"{field.grid_size[1]} patches with a mean receptive field of {field.mean_percent:.1f} % of the "
        f"{height}×{width} image; run {run}"
    ]
    if field.mean_percent >= 50:
        lines.append("A patch sees half of the image or more: what a prototype shows is not a part.")
    return lines


def epoch_line(plan: EpochPlan, values: Mapping[str, float], *, seconds: float, epochs: int) -> str:
    """What is said of an epoch at its end."""
    parts = [f"epoch {plan.epoch:>3}/{epochs}  {plan.stage:<8}"]
    parts += [f"loss {values['train_total_loss']:.3f}  train {values['train_accuracy']:.3f}"]
    if "val_accuracy" in values:
        parts.append(f"val {values['val_accuracy']:.3f}")
    parts += ["averaged"] if plan.average else []
    parts += ["projected"] if plan.project else []
    return "  ".join([*parts, f"{seconds:.1f} s"])


def closing_rows(
    network: PrototypeNetwork,
    field: ReceptiveField,
    *,
    scores: Mapping[str, float],
    info: Mapping[str, float | int],
    run: Path,
) -> dict[str, str]:
    """The figures of the closing table."""
    rows = {
        "test accuracy": f"{scores['test_accuracy']:.4f}",
        "test accuracy, mean over classes": f"{scores['test_weighted_accuracy']:.4f}",
    }
    if "best_test_accuracy" in scores:
        rows["test accuracy, best on validation"] = f"{scores['best_test_accuracy']:.4f}"
    return rows | {
        "prototypes": f"{network.num_prototypes} for {network.num_classes} classes",
        "mean receptive field": f"{field.mean_percent:.1f} % of the image",
        "parameters": f"{info['total_parameters']:,}",
        "multiply-adds per image": f"{info['macs']:,}",
        "training time": f"{info['train_time_total']:.0f} s",
        "run directory": str(run),
    }


def _seconds(network: nn.Module, images: torch.Tensor, *, repeats: int) -> float:
    """Median time of a forward pass; the first one warms up, unless it took as long as all may."""
    times: list[float] = []
    while len(times) <= repeats and sum(times) < TIMING_SECONDS:
        start = time.perf_counter()
        network(images)
        if images.is_cuda:
            torch.cuda.synchronize(images.device)
        times.append(time.perf_counter() - start)
    return statistics.median(times[1:] or times)


@torch.inference_mode()
def model_info(
    network: PrototypeNetwork,
    *,
    image_size: tuple[int, int],
    batch_size: int,
    train_seconds: float,
    epochs: int,
) -> dict[str, float | int]:
    """What ``model_info.yaml`` holds: numbers, megabytes, multiply-adds of one image, seconds."""
    device = next(network.parameters()).device
    tensors = [*network.parameters(), *network.buffers()]
    one = torch.zeros(1, 3, *image_size, device=device)
    with evaluating(network):
        with FlopCounterMode(display=False) as counter:
            network(one)
        per_sample = _seconds(network, one, repeats=5)
        per_batch = _seconds(network, one.expand(batch_size, -1, -1, -1).contiguous(), repeats=3)
    return {
        "prototypes": network.num_prototypes,
        "model_size": sum(t.numel() * t.element_size() for t in tensors) / 1e6,
        "trainable_parameters": sum(p.numel() for p in network.parameters() if p.requires_grad),
        "total_parameters": sum(p.numel() for p in network.parameters()),
        "macs": counter.get_total_flops() // 2,
        "train_time_total": train_seconds,
        "train_time_per_epoch": train_seconds / epochs,
        "inference_time_per_sample": per_sample,
        "inference_time_per_batch": per_batch,
    }
