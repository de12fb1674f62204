"""Sizes, operations and times of a trained network."""

from __future__ import annotations

import statistics
import time

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from pixpnet.modes import evaluating


def _seconds(network: nn.Module, images: torch.Tensor, *, repeats: int) -> float:
    """Median time of a forward pass."""
    times = []
    for _ in range(repeats + 1):
        start = time.perf_counter()
        network(images)
        if images.is_cuda:
            torch.cuda.synchronize(images.device)
        times.append(time.perf_counter() - start)
    return statistics.median(times[1:])


@torch.inference_mode()
def model_info(
    network: nn.Module,
    *,
    image_size: tuple[int, int],
    batch_size: int,
    train_seconds: float,
    epochs: int,
) -> dict[str, float | int]:
    """What ``model_info.yaml`` holds: megabytes, parameters, multiply-adds of one image, seconds."""
    device = next(network.parameters()).device
    tensors = [*network.parameters(), *network.buffers()]
    one = torch.zeros(1, 3, *image_size, device=device)
    with evaluating(network):
        with FlopCounterMode(display=False) as counter:
            network(one)
        per_sample = _seconds(network, one, repeats=5)
        per_batch = _seconds(network, one.expand(batch_size, -1, -1, -1).contiguous(), repeats=3)
    return {
        "model_size": sum(t.numel() * t.element_size() for t in tensors) / 1e6,
        "trainable_parameters": sum(p.numel() for p in network.parameters() if p.requires_grad),
        "total_parameters": sum(p.numel() for p in network.parameters()),
        "macs": counter.get_total_flops() // 2,
        "train_time_total": train_seconds,
        "train_time_per_epoch": train_seconds / epochs,
        "inference_time_per_sample": per_sample,
        "inference_time_per_batch": per_batch,
    }
