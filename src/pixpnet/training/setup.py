"""What a run needs before its first epoch: processes, devices, the network of the backbone stage."""

from __future__ import annotations

import os

import torch
from accelerate import Accelerator
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from pixpnet.config import Config
from pixpnet.errors import ConfigError


def distributed(model: nn.Module, accelerator: Accelerator) -> nn.Module:
    """The module to train: the model itself, or the same one averaging its gradients over processes."""
    if accelerator.num_processes == 1:
        return model
    on_gpu = accelerator.device.type == "cuda"
    return DistributedDataParallel(model, device_ids=[accelerator.device] if on_gpu else None)


@torch.no_grad()
def agree_on_buffers(model: nn.Module, accelerator: Accelerator) -> None:
    """Give all processes the mean of their batch-norm statistics, each made from its own images."""
    if accelerator.num_processes > 1:
        for buffer in model.buffers():
            if buffer.is_floating_point():
                mean = accelerator.reduce(buffer, reduction="mean")
                assert isinstance(mean, Tensor)
                buffer.copy_(mean)


class PooledClassifier(nn.Module):
    """The backbone stage's network: cut backbone, average pooling, linear head."""

    def __init__(self, backbone: nn.Module, *, channels: int, num_classes: int) -> None:
        super().__init__()
        self.backbone = backbone
        self.head = nn.Linear(channels, num_classes)

    def forward(self, images: Tensor) -> Tensor:
        return self.head(self.backbone(images).mean(dim=(2, 3)))


def make_accelerator(config: Config) -> tuple[Accelerator, torch.dtype | None]:
    """Processes and device, and the precision of training (none: float32), that the configuration asks for.

    Raises:
        ConfigError: for more GPUs than there are, or than processes were launched.
    """
    available = torch.cuda.device_count()
    wanted = min(1, available) if config.gpus is None else config.gpus
    launched = int(os.environ.get("WORLD_SIZE", "1"))
    if wanted > available:
        raise ConfigError(f"gpus={wanted}: this machine has {available}.")
    if wanted > launched:
        raise ConfigError(
            f"gpus={wanted} needs as many processes, {launched} was launched; start the run as: "
            f"accelerate launch --num_processes {wanted} -m pixpnet train -c FILE --gpus {wanted}"
        )
    on_gpu = wanted > 0
    precision = config.train.precision
    bf16 = precision == "bf16" or (precision == "auto" and on_gpu and torch.cuda.is_bf16_supported())
    # accelerate's own mixed precision is one for a whole process, and reaches evaluation; see `train_epoch`.
    return Accelerator(cpu=not on_gpu, mixed_precision="no"), torch.bfloat16 if bf16 else None
