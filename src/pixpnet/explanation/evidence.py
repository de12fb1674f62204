"""What prototypes say about an image: for one class, and for one class rather than another."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass
from operator import index
from typing import Any, SupportsIndex

from jaxtyping import Bool, Float, Int
from torch import Tensor

from pixpnet.choices import nearest_names
from pixpnet.errors import ConfigError
from pixpnet.prototypes import PrototypeNetwork, describe_classes, is_class_specific
from pixpnet.receptive_fields import ReceptiveField
from pixpnet.types import Box, PrototypeSource

_NEAREST = 3
"""Classes that are named to someone who spelled one wrong."""


@dataclass(frozen=True)
class Evidence:
    """What one prototype says about one image, for one class's logit."""

    prototype: int
    class_index: int | None
    """The prototype's class; none if it belongs to no class or to several."""
    class_name: str
    """That class's name, or words for no class or several."""
    similarity: float
    weight: float
    """Of this prototype for the class in question."""
    cell: tuple[int, int]
    """(row, column) of the image's most similar patch."""
    box: Box
    """That patch's receptive field: the pixels that made the similarity, and no others."""
    source: PrototypeSource | None
    """The training patch that the prototype is; none between projections."""
    box_in_picture: Box | None = None
    """The pixels of the picture, as it is displayed, that can reach the box (`pixpnet.data.box_in_picture`);
    none where only the network's input is known."""

    @property
    def number(self) -> int:
        """What a reader knows the prototype by, as `PrototypeSource.number`; ``prototype`` is its place."""
        return self.prototype if self.source is None else self.source.number

    @property
    def contribution(self) -> float:
        """The prototype's share of the class's logit."""
        return self.similarity * self.weight

    def to_dict(self) -> dict[str, Any]:
        """Plain values, ready for JSON."""
        return {
            "prototype": self.prototype,
            "number": self.number,
            "class_index": self.class_index,
            "class_name": self.class_name,
            "similarity": self.similarity,
            "weight": self.weight,
            "contribution": self.contribution,
            "cell": list(self.cell),
            "box": list(self.box),
            "box_in_picture": None if self.box_in_picture is None else list(self.box_in_picture),
            "source": None if self.source is None else source_to_dict(self.source),
        }


@dataclass(frozen=True, eq=False)
class Witnesses:
    """The prototypes of a network, with what is needed to tell what they say about a picture."""

    weights: Float[Tensor, "p c"]
    """What one unit of a prototype's similarity adds to each class's logit; on the CPU."""
    owners: tuple[tuple[int | None, str], ...]
    """Each prototype's class and its name; without a class of its own, None and words for what it has."""
    receptive_field: ReceptiveField
    """Of the network's patches."""
    sources: tuple[PrototypeSource, ...]
    """The prototypes' training patches, or nothing."""

    @classmethod
    def of(
        cls,
        network: PrototypeNetwork,
        *,
        class_names: tuple[str, ...],
        receptive_field: ReceptiveField,
        sources: tuple[PrototypeSource, ...],
    ) -> Witnesses:
        """Those of a network in eval mode."""
        owners = prototype_owners(network.own_class, class_names)
        return cls(network.class_weights().cpu(), owners, receptive_field, sources)

    def evidence(
        self,
        similarities: Float[Tensor, " p"],
        cells: Int[Tensor, " p"],
        predicted: int,
        *,
        most: int | None = None,
        placed: Callable[[Box], Box] | None = None,
    ) -> tuple[Evidence, ...]:
        """What they say for a class, largest contribution first, then the lower prototype.

        Args:
            similarities: Of one picture, on the CPU.
            cells: The flat cells of its most similar patches (`PrototypeOutput`).
            predicted: The class.
            most: How many; None: all.
            placed: Finds a box of the network's input in the picture that it was made of.
        """
        weights = self.weights[:, predicted].double()
        order = (similarities.double() * weights).sort(descending=True, stable=True).indices
        evidence = []
        for prototype in order[:most].tolist():
            row, column = divmod(int(cells[prototype]), self.receptive_field.grid_size[1])
            class_index, class_name = self.owners[prototype]
            box = self.receptive_field.box(row, column)
            evidence.append(
                Evidence(
                    prototype=prototype,
                    class_index=class_index,
                    class_name=class_name,
                    similarity=float(similarities[prototype]),
                    weight=float(weights[prototype]),
                    cell=(row, column),
                    box=box,
                    source=self.sources[prototype] if self.sources else None,
                    box_in_picture=None if placed is None else placed(box),
                )
            )
        return tuple(evidence)


@dataclass(frozen=True)
class Share:
    """One prototype's share of the difference between two logits: s (w_target − w_other)."""

    evidence: Evidence
    """For the target."""
    other_weight: float
    """Of the prototype for the other class."""

    @property
    def difference(self) -> float:
        """Positive: the prototype speaks for the target rather than for the other class."""
        return self.evidence.similarity * (self.evidence.weight - self.other_weight)

    def to_dict(self) -> dict[str, Any]:
        """Plain values, ready for JSON."""
        return {
            **self.evidence.to_dict(),
            "other_weight": self.other_weight,
            "difference": self.difference,
        }


@dataclass(frozen=True)
class Contrast:
    """Why one class and not another; the shares sum to the difference of the two logits."""

    target: int
    other: int
    class_names: tuple[str, str]
    """Of the target and of the other, as the pairs below."""
    logits: tuple[float, float]
    probabilities: tuple[float, float]
    shares: tuple[Share, ...]
    """Of every prototype, from what speaks most for the target to what speaks most for the other."""

    @property
    def difference(self) -> float:
        """The target's logit less the other's."""
        return self.logits[0] - self.logits[1]

    @property
    def for_target(self) -> tuple[Share, ...]:
        """The prototypes that speak for the target, the strongest first."""
        return tuple(share for share in self.shares if share.difference > 0)

    @property
    def for_other(self) -> tuple[Share, ...]:
        """The prototypes that speak for the other class, the strongest first."""
        return tuple(share for share in reversed(self.shares) if share.difference < 0)

    def to_dict(self) -> dict[str, Any]:
        """Plain values, ready for JSON."""
        return {
            "target": self.target,
            "other": self.other,
            "class_names": list(self.class_names),
            "logits": list(self.logits),
            "probabilities": list(self.probabilities),
            "difference": self.difference,
            "shares": [share.to_dict() for share in self.shares],
        }


def source_to_dict(source: PrototypeSource) -> dict[str, Any]:
    """Plain values, ready for JSON."""
    return {**asdict(source), "number": source.number, "cell": list(source.cell), "box": list(source.box)}


def largest_first(evidence: Iterable[Evidence]) -> tuple[Evidence, ...]:
    """Largest contribution first, then the lower prototype."""
    return tuple(sorted(evidence, key=lambda one: (-one.contribution, one.prototype)))


def find_class(class_names: Sequence[str], wanted: SupportsIndex | str) -> int:
    """The index of a class given by index or by name; case, ``_`` and a number in front may be left out.

    Raises:
        ConfigError: There is no such class, or the name fits several; names the nearest ones.

    >>> find_class(["001.Blue_Wren", "002.Red_Wren"], "red wren")
    1
    """
    if isinstance(wanted, str) and wanted in class_names:
        return list(class_names).index(wanted)
    if not isinstance(wanted, str) or re.fullmatch(r"-?\d+", wanted):
        number = int(wanted) if isinstance(wanted, str) else index(wanted)  # NumPy's whole numbers too
        if not 0 <= number < len(class_names):
            raise ConfigError(f"there is no class {wanted}; the classes are 0 to {len(class_names) - 1}.")
        return number
    plain = [_plain(name) for name in class_names]
    found = [place for place, name in enumerate(plain) if name == _plain(wanted)]
    if len(found) == 1:
        return found[0]
    near = found or [
        plain.index(match) for match in nearest_names(_plain(wanted), plain, most=_NEAREST, cutoff=0)
    ]
    names = ", ".join(class_names[place] for place in near[:_NEAREST])
    problem = "fits several classes" if found else "is not one of the classes"
    raise ConfigError(
        f"{wanted!r} {problem}; nearest: {names} (or an index from 0 to {len(class_names) - 1})."
    )


def prototype_owners(
    own_class: Bool[Tensor, "p c"], class_names: tuple[str, ...]
) -> tuple[tuple[int | None, str], ...]:
    """The index and the name of each prototype's class; of those that have several None, and words."""
    if not is_class_specific(own_class):
        return ((None, "every class"),) * len(own_class)
    owned = [row.nonzero().flatten().tolist() for row in own_class.cpu()]
    return tuple(
        (classes[0], class_names[classes[0]])
        if len(classes) == 1
        else (None, describe_classes(classes, class_names))
        for classes in owned
    )


def _plain(name: str) -> str:
    return re.sub(r"^\d+[. _-]+", "", name).replace("_", " ").lower().strip()
