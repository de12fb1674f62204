"""Which numbers and texts an option accepts, as a table."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

__all__ = ["RANGES", "Range", "Text"]


@dataclass(frozen=True)
class Range:
    """Finite numbers between bounds.

    >>> str(Range(minimum=0, below=1))
    '≥ 0 and < 1'
    """

    minimum: float = -math.inf
    above: float = -math.inf
    maximum: float = math.inf
    below: float = math.inf

    def __str__(self) -> str:
        bounds = {"≥": self.minimum, ">": self.above, "≤": self.maximum, "<": self.below}
        known = {sign: bound for sign, bound in bounds.items() if math.isfinite(bound)}
        return " and ".join(f"{sign} {_plain(bound)}" for sign, bound in known.items())

    def holds(self, value: float) -> bool:
        """Whether the number is finite and in range."""
        inside = self.above < value < self.below and self.minimum <= value <= self.maximum
        return inside and math.isfinite(value)


@dataclass(frozen=True)
class Text:
    """Texts of one character or more that have none of some characters."""

    without: str = "\0"

    def __str__(self) -> str:
        shown = [character for character in self.without if character.isprintable()]
        return "that is not empty" + (f" and has no {' '.join(shown)}" if shown else "")

    def holds(self, value: str) -> bool:
        """Whether the text is not empty and has no forbidden character."""
        return value != "" and not set(value) & set(self.without)


def _plain(number: float) -> str:
    return str(int(number)) if number == int(number) else str(number)


POSITIVE = Range(above=0)
FROM_0 = Range(minimum=0)
FROM_1 = Range(minimum=1)
SEED = Range(minimum=0, maximum=2**32 - 1)  # what numpy's and torch's generators both take
ANY_TEXT = Text()

RANGES: Mapping[str, Range | Text] = {
    "seed": SEED,
    "gpus": FROM_0,
    "log-dir": ANY_TEXT,
    "run-id": Text(without="\0/\\"),
    "dataset.name": ANY_TEXT,
    "dataset.root": ANY_TEXT,
    "dataset.val-size": Range(minimum=0, below=1),
    "dataset.augment-factor": FROM_1,
    "dataset.size": FROM_1,
    "dataset.classes": Range(minimum=1, maximum=200),
    "dataset.train-images": FROM_1,
    "dataset.test-images": FROM_1,
    "dataset.seed": SEED,
    "dataset.test-size": Range(above=0, below=1),
    "dataset.workers": FROM_0,
    "model.feature-extractor": ANY_TEXT,
    "model.feature-layer": ANY_TEXT,
    "model.weights": ANY_TEXT,
    "model.num-prototypes": FROM_1,
    "model.prototype-dim": FROM_1,
    "model.prototype-kernel-size": FROM_1,
    "model.epsilon": POSITIVE,
    "train.epochs": FROM_1,
    "train.backbone-epochs": FROM_0,
    "train.batch-size": FROM_1,
    "train.accumulate-grad-batches": FROM_1,
    "train.gradient-clip-norm": POSITIVE,
    "train.val-every-n-epoch": FROM_1,
    "train.push-every": FROM_1,
    "train.readout-push-epochs": FROM_0,
    "test.batch-size": FROM_1,
    "optimizer.name": ANY_TEXT,
    "optimizer.lr": POSITIVE,
    "optimizer.fine-tune-lr": FROM_0,
    "optimizer.readout-lr": FROM_0,
    "optimizer.lr-factor": POSITIVE,
    "optimizer.lr-schedule": FROM_1,
    "optimizer.weight-decay": FROM_0,
    "optimizer.momentum": Range(minimum=0, below=1),
    "optimizer.warmup-period": FROM_0,
}
"""Options that are not named here take every finite number."""
