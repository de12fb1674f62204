"""Training the head alone: after projection all else is frozen, so one table of similarities is enough."""

from __future__ import annotations

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn import functional

from pixpnet.prototypes import Head, l1_loss


def train_readout(
    head: Head,
    similarities: Float[Tensor, "n p"],
    labels: Int[Tensor, "n"],
    *,
    optimizer: torch.optim.Optimizer,
    epochs: int,
    batch_size: int,
    xent: float,
    l1: float,
    generator: torch.Generator,
) -> None:
    """Minimise cross-entropy + L1 over the head's parameters (ProtoPNet, stage 3).

    The generator (on the CPU) shuffles the images.
    """
    for _ in range(epochs):
        order = torch.randperm(len(labels), generator=generator).to(labels.device)
        for batch in order.split(batch_size):
            loss = xent * functional.cross_entropy(head(similarities[batch]), labels[batch])
            loss = loss + l1 * l1_loss(head.penalised_weights())
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
