r"""How alike probes and finetuning rank the layers of backbones: Spearman's correlation with its interval.

Give the CSV files of `pixpnet goldilocks`, one with both modes or several. The figures of docs/results.md, at
most 15 minutes on one core: backbones are trained on the birds through a head at every stage, probed, and
finetuned from there.

    pixpnet goldilocks --models small_resnet --model.no-pretrained --train.backbone-epochs 8 --out OUT/probe
    pixpnet goldilocks --models small_resnet --mode finetune --epochs 4 \
      --model.weights OUT/probe/goldilocks.work/backbones/small_resnet_trained_seed0.pt --out OUT/finetune
    python benchmarks/goldilocks.py OUT/probe/goldilocks.csv OUT/finetune/goldilocks.csv

The same for --models resnet18, with its own OUT; give all four files.

Usage: python benchmarks/goldilocks.py CSV [CSV ...]
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
from jaxtyping import Float
from scipy.stats import rankdata

from pixpnet.errors import DataError
from pixpnet.goldilocks import Row, average_seeds, read_rows
from pixpnet.metrics import RESAMPLES, Estimate

READOUTS = ("average", "prototypes")
FINETUNE = ("finetune", "average")

Way = tuple[str, str]
"""Mode and readout."""
Layer = tuple[str, str]
"""Model and stage."""


def main() -> None:
    parser = argparse.ArgumentParser(description="Compare probes with finetuning.")
    parser.add_argument("tables", nargs="+", type=Path, metavar="CSV")
    tables = parser.parse_args().tables
    missing = [str(table) for table in tables if not table.is_file()]
    if missing:
        sys.exit(f"there is no file {', '.join(missing)}")
    try:
        every = [row for table in tables for row in read_rows(table)]
        rows = [row for row in every if row.stage != "avgpool"]  # the average of the stage before it
        for readout in READOUTS:
            layers = matched_accuracies(rows, first=("probe", readout), second=FINETUNE)
            x, y = np.array(list(layers.values())).reshape(-1, 2).T
            print(f"probe ({readout}) beside finetune:")
            for (model, stage), (probed, finetuned) in layers.items():
                print(f"  {model + '/' + stage:<28} {probed:.3f}  {finetuned:.3f}")
            found = spearman(x, y)
            print(
                f"  Spearman {found.value:.2f}, 95 % interval {found.low:.2f} to {found.high:.2f} "
                f"({found.count} layers, {found.left_out} of the resamples without ranks)"
            )
    except DataError as error:
        sys.exit(str(error))


def spearman(
    x: Float[np.ndarray, "n"], y: Float[np.ndarray, "n"], *, seed: int = 0, resamples: int = RESAMPLES
) -> Estimate:
    """Spearman's rank correlation with its percentile bootstrap interval, over pairs.

    Ties share their mean rank. Resamples in which all values of one side are equal have no correlation: they
    are counted and left out.

    Raises:
        DataError: Fewer than three pairs, or all values of one side are equal.
    """
    if len(x) < 3:
        raise DataError(
            f"a rank correlation needs at least 3 layers that both ways have measured, not {len(x)}."
        )
    if np.ptp(x) == 0 or np.ptp(y) == 0:
        raise DataError("all layers are equally accurate: they have no ranks.")
    drawn = np.random.default_rng(seed).integers(len(x), size=(resamples, len(x)))
    correlations = _correlations(x[drawn], y[drawn])
    known = correlations[np.isfinite(correlations)]
    low, high = np.quantile(known, [0.025, 0.975])
    (value,) = _correlations(x[None], y[None])
    return Estimate(float(value), float(low), float(high), len(x), int(len(correlations) - len(known)))


def _correlations(x: Float[np.ndarray, "m n"], y: Float[np.ndarray, "m n"]) -> Float[np.ndarray, "m"]:
    """Pearson's correlation of the ranks in each row; NaN where there is none."""
    ranks = [rankdata(values, axis=1) for values in (x, y)]
    a, b = (values - values.mean(axis=1, keepdims=True) for values in ranks)
    with np.errstate(invalid="ignore"):
        return (a * b).sum(axis=1) / np.sqrt((a**2).sum(axis=1) * (b**2).sum(axis=1))


def matched_accuracies(rows: Iterable[Row], *, first: Way, second: Way) -> dict[Layer, tuple[float, float]]:
    """The test accuracy of each layer in two ways, averaged over seeds; of layers that both have measured.

    Raises:
        DataError: The rows are of several data sets or image sizes.
    """
    rows = list(rows)
    sources = {(row.dataset, row.height, row.width) for row in rows}
    if len(sources) > 1:
        names = ", ".join(f"{name} {height}×{width}" for name, height, width in sorted(sources))
        raise DataError(f"results of several data sets or sizes can't be compared: {names}.")
    one, other = (_accuracies(rows, *way) for way in (first, second))
    return {layer: (one[layer], other[layer]) for layer in one if layer in other}


def _accuracies(rows: Sequence[Row], mode: str, readout: str) -> dict[Layer, float]:
    chosen = average_seeds([row for row in rows if (row.mode, row.readout) == (mode, readout)])
    found: dict[Layer, float] = {}
    for row in chosen:
        if (row.model, row.stage) in found:
            raise DataError(
                f"{row.model}/{row.stage} is there with several kinds of weights ({mode}); take one."
            )
        found[row.model, row.stage] = row.test_accuracy
    return found


if __name__ == "__main__":
    main()
