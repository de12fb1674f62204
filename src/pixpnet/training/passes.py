"""What a run does with its training images beside learning from them: start, projection and readout."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from pixpnet.config import resolve_optimizer
from pixpnet.seeds import stable_seed
from pixpnet.training.optim import GroupSpec, build_optimizer
from pixpnet.training.project import project, similarity_table, start_prototypes_from_data
from pixpnet.training.readout import train_readout

if TYPE_CHECKING:
    from pixpnet.training.run import Training


def start_prototypes(run: Training) -> None:
    """Put the prototypes at the centres of their classes' patches."""
    start_prototypes_from_data(
        run.network,
        run.loader(run.splits.projection, shuffle=False),
        class_names=run.splits.class_names,
        generator=torch.Generator().manual_seed(stable_seed(run.seed, "prototypes")),
        accelerator=run.accelerator,
    )


def project_prototypes(run: Training) -> None:
    """Move the prototypes onto training patches."""
    run.position.sources = project(
        run.network,
        run.loader(run.splits.projection, shuffle=False),
        records=run.splits.projection.records,
        class_names=run.splits.class_names,
        root=run.splits.image_set.root,
        receptive_field=run.receptive_field,
        duplicate_filter=run.config.train.push_duplicate_filter,
        accelerator=run.accelerator,
    )


def read_out(run: Training) -> None:
    """Train the head, if it has parameters, on the cached similarities."""
    parameters = list(run.network.head.parameters())
    if not parameters:
        return
    similarities, labels = similarity_table(
        run.network,
        run.loader(run.splits.projection, shuffle=False),
        num_images=len(run.splits.projection),
        accelerator=run.accelerator,
    )
    options, train, loss = run.config.optimizer, run.config.train, run.config.loss
    group = GroupSpec(parameters, options.readout_lr, 0.0)
    train_readout(
        run.network.head,
        similarities,
        labels,
        optimizer=build_optimizer(resolve_optimizer(options.name), [group], options),
        epochs=train.readout_push_epochs,
        batch_size=train.batch_size,
        xent=loss.xent,
        l1=loss.l1,
        generator=torch.Generator().manual_seed(stable_seed(run.seed, run.position.epoch, "readout")),
    )
