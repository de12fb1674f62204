"""Why a network decided as it did: the evidence of each prototype, in pixels."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from pixpnet.prototypes import PrototypeNetwork
from pixpnet.receptive_fields import ReceptiveField
from pixpnet.training import LoadedRun
from pixpnet.types import Box, PrototypeSource


@dataclass(frozen=True)
class Evidence:
    """What one prototype says about one image."""

    prototype: int
    similarity: float
    weight: float
    """Of this prototype for the predicted class."""
    cell: tuple[int, int]
    """(row, column) of the image's most similar patch."""
    box: Box
    """That patch's receptive field: the pixels that made the similarity, and no others."""
    source: PrototypeSource | None
    """The training patch that the prototype is; none between projections."""

    @property
    def contribution(self) -> float:
        """The prototype's share of the predicted class's logit."""
        return self.similarity * self.weight


@dataclass(frozen=True)
class Explanation:
    """A prediction and its evidence, largest contribution first; the contributions add up to the logit."""

    predicted: int
    class_name: str
    probability: float
    logit: float
    evidence: tuple[Evidence, ...]


@torch.no_grad()
def explain_image(
    network: PrototypeNetwork,
    image: Float[Tensor, "3 H W"],
    *,
    receptive_field: ReceptiveField,
    class_names: tuple[str, ...],
    sources: tuple[PrototypeSource, ...] = (),
) -> Explanation:
    """Explain the network's prediction for a normalised image.

    Args:
        network: A network in eval mode.
        image: The normalised image, on the network's device.
        receptive_field: Of the network's patches (``ReceptiveField.for_kernel``).
        class_names: One a class.
        sources: The prototypes' training patches, or nothing.
    """
    output = network(image[None])
    logits = output.logits[0]
    predicted = int(logits.argmax())
    # Heads are linear and have no bias: their weights are what they make of one similarity of 1.
    unit = torch.eye(network.num_prototypes, device=image.device)
    weights = network.head(unit)[:, predicted].tolist()
    columns = receptive_field.grid_size[1]
    evidence = []
    for prototype, (similarity, cell) in enumerate(
        zip(output.similarities[0].tolist(), output.cells[0].tolist(), strict=True)
    ):
        row, column = divmod(cell, columns)
        evidence.append(
            Evidence(
                prototype=prototype,
                similarity=similarity,
                weight=weights[prototype],
                cell=(row, column),
                box=receptive_field.box(row, column),
                source=sources[prototype] if sources else None,
            )
        )
    evidence.sort(key=lambda one: -one.contribution)
    return Explanation(
        predicted=predicted,
        class_name=class_names[predicted],
        probability=float(logits.softmax(dim=0)[predicted]),
        logit=float(logits[predicted]),
        evidence=tuple(evidence),
    )


def explain(run: LoadedRun, image: Float[Tensor, "3 H W"]) -> Explanation:
    """Explain a loaded run's prediction for a normalised image of its input size."""
    return explain_image(
        run.network,
        image,
        receptive_field=run.receptive_field(),
        class_names=run.class_names,
        sources=run.sources,
    )
