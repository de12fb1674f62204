"""The passes over the unaugmented training images: start of the prototypes, projection, readout."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

import torch
from accelerate import Accelerator
from accelerate.utils import gather_object
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn import functional

from pixpnet.config import Config, resolve_optimizer
from pixpnet.data import ClassificationImages, Sample
from pixpnet.files import sha256_of
from pixpnet.modes import evaluating
from pixpnet.projection import PatchCandidates, project
from pixpnet.prototypes import Head, PatchSample, PrototypeNetwork, l1_loss, standardise_inputs
from pixpnet.receptive_fields import ReceptiveField
from pixpnet.seeds import stable_seed
from pixpnet.training.learner import ParameterGroup, build_optimizer
from pixpnet.training.loop import to_device
from pixpnet.training.objective import FORBIDDEN_AT_ONCE, Forbidden, see_patches
from pixpnet.types import ImageRecord, PrototypeSource


@torch.no_grad()
def start_add_on(network: PrototypeNetwork, batches: Iterable[Sample], *, accelerator: Accelerator) -> None:
    """Let the add-on start as for features whose channels are standardised over all images, in place."""
    sums: Tensor | None = None
    with evaluating(network):
        for images, _, _ in to_device(batches, accelerator.device):
            cells = network.backbone(images).double().transpose(0, 1).flatten(1)
            ones = torch.full_like(cells[:, 0], cells.shape[1])
            part = torch.stack([cells.sum(1), cells.square().sum(1), ones])
            sums = part if sums is None else sums + part
    assert sums is not None
    total, squares, count = accelerator.reduce(sums, reduction="sum")
    mean = total / count
    std = (squares / count - mean.square()).clamp(min=0).sqrt()
    standardise_inputs(network.add_on, mean=mean.float(), std=std.float())


@torch.no_grad()
def start_prototypes(
    network: PrototypeNetwork,
    batches: Iterable[Sample],
    *,
    class_names: Sequence[str],
    generator: torch.Generator,
    accelerator: Accelerator,
    pure: bool = False,
    forbidden: Forbidden | None = None,
) -> None:
    """Put the prototypes at the k-means centres of their classes' own patches (or pure ones), in place.

    With forbidden patches only the prototypes that are such patches, at the centres least similar to them.
    """
    sample = PatchSample(network.own_class, kernel_size=network.kernel_size, generator=generator)
    with evaluating(network):
        for images, labels, indices in to_device(batches, accelerator.device):
            sample.update(network.features(images), labels, indices)
    if accelerator.num_processes > 1:
        for number, other in enumerate(gather_object([sample])):
            if number != accelerator.process_index:
                sample.merge(other)
    former = network.prototypes.detach().clone()
    network.prototypes.copy_(sample.centres(distance=network.distance, class_names=class_names, pure=pure))
    if forbidden is None:
        return
    centres = network.prototypes.detach().clone()
    with evaluating(network):
        parts = zip(*(one.split(FORBIDDEN_AT_ONCE) for one in forbidden[:2]), strict=True)
        patches = torch.cat([see_patches(network, *part) for part in parts])
        nearness = network.from_features(patches).similarities.amax(dim=0).cpu()
    for group in sample.group_of.unique():
        places = (sample.group_of == group).nonzero().flatten()
        wrong = [place for place in places.tolist() if place in forbidden.prototypes]
        former[wrong] = centres[places[nearness[places].argsort()][: len(wrong)]]
    network.prototypes.copy_(former)


@torch.no_grad()
def project_prototypes(
    network: PrototypeNetwork,
    batches: Iterable[Sample],
    *,
    records: Sequence[ImageRecord],
    class_names: Sequence[str],
    root: Path,
    field: ReceptiveField,
    duplicate_filter: str,
    accelerator: Accelerator,
) -> tuple[PrototypeSource, ...]:
    """Move every prototype onto its training patch, in place; say where each came from.

    The field is that of prototype-sized patches. One pass in float32 and eval mode. Each process looks at its
    share of the images; all of them come to the same assignment.
    """

    def others(own: PatchCandidates) -> Iterable[PatchCandidates]:
        if accelerator.num_processes > 1:
            for number, other in enumerate(gather_object([own])):
                if number != accelerator.process_index:
                    yield other

    assignment = project(
        network,
        to_device(batches, accelerator.device),
        duplicate_filter=duplicate_filter,
        class_names=class_names,
        others=others,
    )
    sources = []
    for prototype in range(network.num_prototypes):
        record = records[int(assignment.image_index[prototype])]
        row, column = assignment.cells[prototype].tolist()
        sources.append(
            PrototypeSource(
                prototype=prototype,
                image_id=record.image_id,
                path=_relative(record.path, root),
                label=record.label,
                class_name=class_names[record.label],
                sha256=sha256_of(record.path),
                cell=(row, column),
                box=field.box(row, column),
                distance_before=float(assignment.distances[prototype]),
            )
        )
    return tuple(sources)


def source_patches(
    images: ClassificationImages, sources: Sequence[PrototypeSource], *, kernel_size: int
) -> Float[Tensor, "p d k k"]:
    """What images (or with a frozen backbone, its features) hold at the cell of each source."""
    index_of = {record.image_id: index for index, record in enumerate(images.records)}
    patches = []
    for source in sources:
        (row, column), features = source.cell, images[index_of[source.image_id]].image
        patches.append(features[:, row : row + kernel_size, column : column + kernel_size])
    return torch.stack(patches)


def _relative(path: Path, root: Path) -> str:
    return path.relative_to(root).as_posix() if path.is_relative_to(root) else str(path)


class SimilarityTable(NamedTuple):
    """What images show, and how similar they are to every prototype."""

    similarities: Float[Tensor, "n p"]
    labels: Int[Tensor, "n"]

    def of(self, prototypes: Sequence[int]) -> SimilarityTable:
        """That of some of the prototypes."""
        return self._replace(similarities=self.similarities[:, list(prototypes)])


@torch.no_grad()
def similarity_table(
    network: PrototypeNetwork, batches: Iterable[Sample], *, num_images: int, accelerator: Accelerator
) -> SimilarityTable:
    """The table of images, in their order."""
    table = torch.zeros(num_images, network.num_prototypes, device=accelerator.device)
    labels_of = torch.zeros(num_images, dtype=torch.int64, device=accelerator.device)
    with evaluating(network):
        for images, labels, indices in to_device(batches, accelerator.device):
            table[indices] = network(images).similarities
            labels_of[indices] = labels
    # Every image is in one process alone, so the sum over processes is its own row.
    for tensor in (table, labels_of) if accelerator.num_processes > 1 else ():
        torch.distributed.all_reduce(tensor)
    return SimilarityTable(table, labels_of)


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
    label_smoothing: float = 0.0,
) -> None:
    """Minimise cross-entropy + L1 over the head's parameters (ProtoPNet, stage 3).

    All else is frozen after projection, so one table of similarities is enough. The generator (on the CPU)
    shuffles the images.
    """
    for _ in range(epochs):
        order = torch.randperm(len(labels), generator=generator).to(labels.device)
        for batch in order.split(batch_size):
            logits = head(similarities[batch])
            loss = xent * functional.cross_entropy(logits, labels[batch], label_smoothing=label_smoothing)
            loss = loss + l1 * l1_loss(head.penalised_weights())
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()


def read_out(head: Head, table: SimilarityTable, *, config: Config, seed: int, epoch: int) -> None:
    """Train a head on a table of its prototypes, as the run does after this epoch's projection.

    One without parameters stays as it is.

    Args:
        head: Changed in place.
        table: Of the training images.
        config: The run's.
        seed: The run's.
        epoch: Tells, with the seed, the order of the images.
    """
    parameters = [*head.parameters()]
    if not parameters:
        return
    options, train, loss = config.optimizer, config.train, config.loss
    group = ParameterGroup(parameters, options.readout_lr, 0.0)
    train_readout(
        head,
        *table,
        optimizer=build_optimizer(resolve_optimizer(options.name), [group], options),
        epochs=train.readout_push_epochs,
        batch_size=train.batch_size,
        xent=loss.xent,
        l1=loss.l1,
        label_smoothing=loss.label_smoothing,
        generator=torch.Generator().manual_seed(stable_seed(seed, epoch, "readout")),
    )
