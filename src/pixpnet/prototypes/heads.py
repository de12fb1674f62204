"""From similarities [b p] to logits [b c], without bias. Each head knows which prototypes are whose own."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn
from torch.nn import functional

from pixpnet.errors import ConfigError

_NAMED = 5
"""Classes that a message names at most."""


def is_class_specific(own_class: Bool[Tensor, "p c"]) -> bool:
    """Whether the mask says anything: with several classes, it isn't true everywhere."""
    return own_class.shape[1] == 1 or not bool(own_class.all())


class Head(nn.Module):
    """What all heads share: the own-class mask, and pruning."""

    own_class: Bool[Tensor, "p c"]

    def __init__(
        self,
        own_class: Bool[Tensor, "p c"],
        *,
        correct_strength: float,
        incorrect_strength: float,
        generator: torch.Generator | None = None,
    ) -> None:
        super().__init__()
        self.register_buffer("own_class", own_class.clone())
        self.start(correct_strength, incorrect_strength, generator)

    def start(self, correct: float, incorrect: float, generator: torch.Generator | None) -> None:
        """Make the weights: from one strength for own classes and another for others, or at random."""
        raise NotImplementedError

    def penalised_weights(self) -> Float[Tensor, "n"]:
        """The weights that the L1 loss acts on; a head without any gives an empty tensor."""
        raise NotImplementedError

    def prune(self, keep: Int[Tensor, "n"]) -> None:
        """Keep these prototypes only, in this order."""
        self.own_class = self.own_class[keep]

    def hand_over(self, prototype: int, *, to: int) -> None:
        """Add this one's weights to those of another prototype of the same classes, and leave this one none.

        Does nothing in heads whose prototypes have no weights of their own.
        """

    def relabel(self, prototype: int, *, to: int) -> None:
        """Let a prototype speak for this class, as much as it did for its own, and for no other.

        Raises:
            ConfigError: Every prototype belongs to every class.
        """
        if not is_class_specific(self.own_class):
            raise ConfigError(
                "every prototype belongs to every class here (model.no-class-specific): none can be given to "
                "another one."
            )
        own = torch.zeros_like(self.own_class[prototype])
        own[to] = True
        self.own_class[prototype] = own


class LinearHead(Head):
    """A full linear layer that starts with one weight for own classes and another for others (ProtoPNet).

    Where every prototype belongs to every class these two mean nothing: the weights start uniform in ±1/√p.
    """

    def start(self, correct: float, incorrect: float, generator: torch.Generator | None) -> None:
        own_class = self.own_class
        if is_class_specific(own_class):
            weight = torch.where(own_class.T, correct, incorrect)
        else:
            bound = len(own_class) ** -0.5
            weight = torch.empty(own_class.T.shape).uniform_(-bound, bound, generator=generator)
        self.weight = nn.Parameter(weight)

    def forward(self, similarities: Float[Tensor, "b p"]) -> Float[Tensor, "b c"]:
        return functional.linear(similarities, self.weight)

    def penalised_weights(self) -> Float[Tensor, "n"]:
        """Connections to other classes; class-agnostic: all of them."""
        if is_class_specific(self.own_class):
            return self.weight[~self.own_class.T]
        return self.weight.flatten()

    def prune(self, keep: Int[Tensor, "n"]) -> None:
        super().prune(keep)
        # In memory as it would be if it had been made so: sums depend on it in their last bits.
        kept = self.weight.detach()[:, keep]
        kept = kept.contiguous() if self.weight.is_contiguous() else kept.T.contiguous().T
        self.weight = nn.Parameter(kept, requires_grad=self.weight.requires_grad)

    @torch.no_grad()
    def hand_over(self, prototype: int, *, to: int) -> None:
        self.weight[:, to] += self.weight[:, prototype]
        self.weight[:, prototype] = 0

    @torch.no_grad()
    def relabel(self, prototype: int, *, to: int) -> None:
        former = self.own_class[prototype].nonzero().flatten().tolist()
        super().relabel(prototype, to=to)
        weights = self.weight[:, prototype]
        if former:  # what it said of the new class, it now says of the old one
            weights[[to, former[0]]] = weights[[former[0], to]]


class SparseHead(Head):
    """One weight per own connection, starting at 1; the others don't exist.

    ``weight`` follows the true entries of ``own_class``, prototype by prototype.
    """

    def start(self, correct: float, incorrect: float, generator: torch.Generator | None) -> None:
        self.weight = nn.Parameter(torch.ones(int(self.own_class.sum())))

    def forward(self, similarities: Float[Tensor, "b p"]) -> Float[Tensor, "b c"]:
        zeros = self.weight.new_zeros(self.own_class.shape)
        return similarities @ zeros.masked_scatter(self.own_class, self.weight)

    def penalised_weights(self) -> Float[Tensor, "n"]:
        """All weights."""
        return self.weight

    def prune(self, keep: Int[Tensor, "n"]) -> None:
        dense = self._dense()
        super().prune(keep)
        self.weight = nn.Parameter(dense[keep][self.own_class], requires_grad=self.weight.requires_grad)

    @torch.no_grad()
    def hand_over(self, prototype: int, *, to: int) -> None:
        dense = self._dense()
        dense[to] += dense[prototype]
        dense[prototype] = 0
        self.weight.copy_(dense[self.own_class])

    def relabel(self, prototype: int, *, to: int) -> None:
        dense = self._dense()
        super().relabel(prototype, to=to)
        dense[prototype, to] = dense[prototype].sum()
        self.weight = nn.Parameter(dense[self.own_class], requires_grad=self.weight.requires_grad)

    def _dense(self) -> Float[Tensor, "p c"]:
        dense = torch.zeros_like(self.own_class, dtype=self.weight.dtype)
        dense[self.own_class] = self.weight.detach()
        return dense


class ProtoHead(Head):
    """The sum of the own prototypes' similarities; no parameters.

    Raises:
        ConfigError: every prototype belongs to every class, so that all logits would be equal.
    """

    def start(self, correct: float, incorrect: float, generator: torch.Generator | None) -> None:
        if not is_class_specific(self.own_class):
            raise ConfigError(
                "readout-type=proto sums a class's own prototypes (mean: averages them), but here every "
                "prototype belongs to every class; use class-specific prototypes, or readout-type linear or "
                "sparse."
            )

    def forward(self, similarities: Float[Tensor, "b p"]) -> Float[Tensor, "b c"]:
        return similarities @ self.own_class.to(similarities.dtype)

    def penalised_weights(self) -> Float[Tensor, "n"]:
        return torch.zeros(0, device=self.own_class.device)


class MeanHead(ProtoHead):
    """The mean of the own prototypes' similarities, times ``correct``; no parameters.

    After pruning it is the mean over those kept, so that a class with fewer speaks as loudly as the others.
    """

    weights: Float[Tensor, "c"]

    def start(self, correct: float, incorrect: float, generator: torch.Generator | None) -> None:
        super().start(correct, incorrect, generator)
        self.register_buffer("weights", correct / self.own_class.sum(dim=0).clamp(min=1))

    def forward(self, similarities: Float[Tensor, "b p"]) -> Float[Tensor, "b c"]:
        return super().forward(similarities) * self.weights

    def prune(self, keep: Int[Tensor, "n"]) -> None:
        total = self._totals()
        super().prune(keep)
        self.weights = total / self.own_class.sum(dim=0).clamp(min=1)

    def relabel(self, prototype: int, *, to: int) -> None:
        total = self._totals()
        super().relabel(prototype, to=to)
        self.weights = total / self.own_class.sum(dim=0).clamp(min=1)

    def _totals(self) -> Float[Tensor, "c"]:
        return self.weights * self.own_class.sum(dim=0).clamp(min=1)


HEADS: dict[str, Callable[..., Head]] = {
    "linear": LinearHead,
    "sparse": SparseHead,
    "proto": ProtoHead,
    "mean": MeanHead,
}


def describe_classes(classes: Sequence[int], class_names: Sequence[str] | None = None) -> str:
    """The classes by name, or by number where there are no names; only the first few of many.

    >>> describe_classes([2], ["wren", "tern", "gull"])
    'class gull'
    >>> describe_classes(range(7))
    'classes 0, 1, 2, 3, 4 and 2 more'
    """
    if not classes:
        return "no class"
    names = [class_names[number] if class_names else str(number) for number in classes[:_NAMED]]
    more = f" and {len(classes) - _NAMED} more" if len(classes) > _NAMED else ""
    return f"class{'es' if len(classes) > 1 else ''} {', '.join(names)}{more}"
