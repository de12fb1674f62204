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
from pathlib import Path

import numpy as np

from pixpnet.errors import DataError
from pixpnet.goldilocks.agreement import matched_accuracies, spearman
from pixpnet.goldilocks.table import read_rows

READOUTS = ("average", "prototypes")
FINETUNE = ("finetune", "average")


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


if __name__ == "__main__":
    main()
