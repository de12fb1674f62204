"""The interpretability table of docs/results.md, from nothing: train, evaluate, and print it as Markdown.

Every model is trained with every seed, unless its finished run lies in the folder already, and evaluated; an
evaluation goes on where it was interrupted. Figures are means over the seeds ± their standard deviation.

Usage: python benchmarks/interpretability.py --out DIR [--seeds 1 2 3] [--models pixpnet-layer3 protopnet]
       [--cub50 ROOT] [--data ROOT] [--no-train] [--samples 50] [--steps 256]

Runs lie in DIR/<model>/<data set>__seed<N>/protonet/<timestamp>. --cub50 names the folder of a set in the
layout of CUB-200-2011, already cropped to the bird; its models are trained once and evaluated by eval-2023.
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import yaml

from pixpnet.config import config_to_yaml, parse_config
from pixpnet.errors import DataError
from pixpnet.evaluation import METRICS, Evaluation, Settings, evaluate
from pixpnet.log import start_logging
from pixpnet.pixel_space import MAPPINGS
from pixpnet.runs import load

CONFIGS = Path(__file__).parents[1] / "configs" / "protonets"
PIXPNET, PROTOPNET = "proto-synthbirds.yaml", "protopnet-synthbirds.yaml"
NOT_THE_RECIPE = {"log-dir", "dataset.root", "dataset.workers", "dataset.cache", "gpus"}
"""Options that may differ between machines."""


@dataclass(frozen=True)
class Model:
    """A configuration with some of its options changed."""

    config: str
    changes: str = ""

    def arguments(self, *, folder: Path, data: Path, seed: int) -> list[str]:
        """Of ``pixpnet train``."""
        where = ["--log-dir", str(folder), "--run-id", f"seed{seed}", "--dataset.root", str(data)]
        return ["-c", str(CONFIGS / self.config), *self.changes.split(), "--seed", str(seed), *where]


@dataclass(frozen=True)
class Study:
    """Models on one data set, measured by one protocol."""

    title: str
    models: dict[str, Model]
    protocol: str
    seeds: tuple[int, ...]


SYNTHBIRDS = Study(
    "SynthBirds",
    {
        "pixpnet-layer2": Model(PIXPNET, "--model.feature-layer layer2"),
        "pixpnet-layer3": Model(PIXPNET),
        "protopnet": Model(PROTOPNET),
    },
    protocol="pixpnet-2023",
    seeds=(1, 2, 3),
)

_PHOTOGRAPHS = (
    "--dataset.name cub-layout --dataset.size 224 --model.pretrained --model.num-prototypes 500 "
    "--model.feature-extractor timm/tf_efficientnet_lite0 --train.batch-size 32 --train.epochs 8 "
    "--train.backbone-epochs 4 --train.push-every 8 --optimizer.fine-tune-lr 3e-4 "
    "--optimizer.warmup-period 1 --optimizer.lr 1e-3"
)
CUB50 = Study(
    "50 species of CUB-200-2011",
    {
        "cub50-pixpnet": Model(
            PIXPNET, f"{_PHOTOGRAPHS} --model.feature-layer blocks.3 --model.readout-type proto"
        ),
        "cub50-protopnet": Model(PROTOPNET, f"{_PHOTOGRAPHS} --model.feature-layer blocks"),
    },
    protocol="eval-2023",
    seeds=(42,),
)


class Column(NamedTuple):
    """One quantity of an evaluation."""

    title: str
    metric: str
    quantity: str
    decimals: int = 1


TABLES = (
    (
        Column("consistency, hard %", "consistency", "hard"),
        Column("soft %", "consistency", "soft"),
        Column("stability, hard %", "stability", "hard"),
        Column("soft %", "stability", "soft"),
        Column("relevance ordering, area", "relevance_ordering", "area", 3),
        Column("pixels at original similarity, %", "relevance_ordering", "share"),
        Column("deletion, area", "deletion", "area", 3),
    ),
    (
        Column("displayed, %", "misalignment", "displayed"),
        Column("PAC, %", "misalignment", "pac", 2),
        Column("PLC, %", "misalignment", "plc"),
        Column("PRC", "misalignment", "prc", 2),
        Column("accuracy after the attack, %", "misalignment", "accuracy_after"),
        Column("energy on the object, %", "pointing", "energy"),
        Column("top 10 % on the object, %", "pointing", "top"),
        Column("pixels that are the object, %", "pointing", "object"),
        Column("telling parts, lift", "telling_parts", "lift", 2),
        Column("above other parts, AUC", "telling_parts", "auc_on_object", 3),
        Column("boxes that hold one, %", "telling_parts", "in_region"),
        Column("boxes of any cell that do, %", "telling_parts", "in_region_chance"),
        Column("purity", "purity", "mean", 3),
    ),
)
"""Columns of the tables with one row for each model and mapping."""


@dataclass(frozen=True)
class Result:
    """One run, measured."""

    facts: dict[str, float]
    """Title of a column of the first table -> value."""
    evaluation: Evaluation


def main(argv: Sequence[str] | None = None) -> None:
    options = _options(argv)
    start_logging({})
    studies = [(SYNTHBIRDS, options.data or options.out / "data", options.models, options.seeds)]
    if options.cub50:
        studies.append((CUB50, options.cub50, list(CUB50.models), CUB50.seeds))
    for study, data, models, seeds in studies:
        settings = Settings(protocol=study.protocol, samples=options.samples, steps=options.steps or None)
        found: dict[str, list[Result]] = {}
        notes: list[str] = []
        missing: dict[str, list[str]] = {}
        for seed in seeds:
            for name in models:
                arguments = study.models[name].arguments(folder=options.out / name, data=data, seed=seed)
                run = find_or_train(options.out / name, arguments, seed=seed, may_train=options.train)
                if run is None:
                    missing.setdefault(name, []).append(str(seed))
                    continue
                if changes := differing_options(run, arguments):
                    notes.append(f"{run} was trained with other options than this script's: {changes}.")
                found.setdefault(name, []).append(measure(run, settings, options))
        notes += [f"{name} is not trained with seed {', '.join(lost)}." for name, lost in missing.items()]
        print_tables(study, found, notes=notes, settings=settings)


def _options(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="The interpretability table of docs/results.md.")
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="folder of the runs")
    parser.add_argument("--data", type=Path, metavar="ROOT", help="dataset.root of SynthBirds (DIR/data)")
    parser.add_argument("--seeds", type=int, nargs="+", default=SYNTHBIRDS.seeds, metavar="N")
    parser.add_argument(
        "--models", nargs="*", choices=SYNTHBIRDS.models, default=list(SYNTHBIRDS.models), metavar="MODEL"
    )
    parser.add_argument("--cub50", type=Path, metavar="ROOT", help="also these photographs")
    parser.add_argument("--no-train", dest="train", action="store_false", help="only what is trained already")
    parser.add_argument("--metrics", nargs="+", metavar="METRIC", help="default: all that the data allow")
    parser.add_argument("--methods", nargs="+", choices=MAPPINGS, metavar="METHOD", help="default: all")
    parser.add_argument("--samples", type=int, default=Settings().samples, help="images of slow metrics")
    parser.add_argument(
        "--steps", type=int, default=Settings().steps, help="points of a curve less one; 0: every pixel"
    )
    return parser.parse_args(argv)


def find_or_train(folder: Path, arguments: Sequence[str], *, seed: int, may_train: bool) -> Path | None:
    """The finished run of a seed; trained, or its training finished, where there is none."""
    runs = sorted(config.parents[1] for config in folder.glob(f"*__seed{seed}/*/*/results/config.yaml"))
    finished = [run for run in runs if (run / "results" / "scores.yaml").is_file()]
    if finished or not may_train:
        return finished[-1] if finished else None
    more = ["--resume", str(runs[-1])] if runs else arguments
    subprocess.run([sys.executable, "-m", "pixpnet", "train", *more], check=True)
    return find_or_train(folder, arguments, seed=seed, may_train=False)


def differing_options(run: Path, arguments: Sequence[str]) -> str:
    """The options in which a run differs from what would be trained now."""
    trained = _flat(yaml.safe_load((run / "results" / "config.yaml").read_text()))
    wanted = _flat(yaml.safe_load(config_to_yaml(parse_config(list(arguments)))))
    different = [
        f"{name} {trained.get(name)} instead of {value}"
        for name, value in wanted.items()
        if name not in NOT_THE_RECIPE and trained.get(name) != value
    ]
    return ", ".join(different)


def _flat(config: dict) -> dict[str, object]:
    sections = {name: value for name, value in config.items() if isinstance(value, dict)}
    nested = {f"{name}.{key}": value for name, section in sections.items() for key, value in section.items()}
    return {name: value for name, value in config.items() if name not in sections} | nested


def measure(run: Path, settings: Settings, options: argparse.Namespace) -> Result:
    """Evaluate a run, where that is not done yet; metrics that can't be measured on its data are left out."""
    told = ""

    def progress(done: int, total: int, doing: str = "", /) -> None:
        nonlocal told
        if doing != told:
            print(f"{run}: {doing}", file=sys.stderr, flush=True)
        told = doing

    def evaluated(metrics: Sequence[str] | None) -> Evaluation:
        return evaluate(
            run,
            metrics=metrics,
            methods=options.methods,
            settings=settings,
            progress=progress,
        )

    try:
        evaluation = evaluated(options.metrics)
    except DataError:
        if options.metrics is None:
            raise
        evaluation = evaluated(())  # it fails as well where the data are gone
        for metric in options.metrics:
            try:
                evaluation = evaluated((metric,))
            except DataError as error:
                print(f"{run}: {error}", file=sys.stderr)
    scores, info = (
        yaml.safe_load((run / "results" / name).read_text()) for name in ("scores.yaml", "model_info.yaml")
    )
    loaded = load(run)
    facts = {
        "test accuracy, %": 100 * scores["test_accuracy"],
        "mean receptive field, %": loaded.receptive_field().mean_percent,
        "training, min": info["train_time_total"] / 60,
        "evaluation, min": sum(one.seconds for one in evaluation.measurements) / 60,
        "parameters, million": info["total_parameters"] / 1e6,
        "multiply-adds, million": info["macs"] / 1e6,
    }
    sparsity = evaluation.find("sparsity")
    if sparsity is not None:
        titles = METRICS["sparsity"].quantities
        facts |= {titles[name].title: value.value for name, value in sparsity.values.items()}
    return Result(facts, evaluation)


def print_tables(
    study: Study, found: dict[str, list[Result]], *, notes: Sequence[str], settings: Settings
) -> None:
    """The tables of a study."""
    print(f"\n## {study.title}\n")
    print(
        f"Protocol {settings.protocol}, {settings.samples} test images where a metric samples, steps "
        f"{settings.steps or 'every pixel'}; mean ± standard deviation over seeds (their number, where not "
        "all have a value).\n"
    )
    titles = list(
        dict.fromkeys(title for results in found.values() for one in results for title in one.facts)
    )
    rows = [
        [name, str(len(results)), *(spread([one.facts.get(title) for one in results]) for title in titles)]
        for name, results in found.items()
    ]
    print(markdown(["model", "seeds", *titles], rows))
    for columns in TABLES:
        rows = [
            [name, method, *(_cell(results, column, method, settings) for column in columns)]
            for name, results in found.items()
            for method in MAPPINGS
        ]
        print(markdown(["model", "mapping", *(column.title for column in columns)], rows))
    for note in notes:
        print(f"- {note}")


def _cell(results: Sequence[Result], column: Column, method: str, settings: Settings) -> str:
    values = [_value(one.evaluation, column, method, settings) for one in results]
    return spread(values, decimals=column.decimals)


def _value(evaluation: Evaluation, column: Column, method: str, settings: Settings) -> float | None:
    """Of this mapping, or (a metric that does not depend on it) of all; as it was measured now."""
    protocol = settings.protocol if METRICS[column.metric].has_protocol else None
    asked = {name: getattr(settings, name) for name in ("samples", "steps", "start")}
    for of in (method, None):
        one = evaluation.find(column.metric, of, protocol)
        if one and all(one.settings.get(name, value) == value for name, value in asked.items()):
            return one.values[column.quantity].value if column.quantity in one.values else None
    return None


def spread(values: Sequence[float | None], *, decimals: int | None = None) -> str:
    """Mean ± standard deviation of a sample; a single value alone, none: –; their number if some are missing.

    Args:
        values: Of the seeds.
        decimals: None: one, but none where all are the same whole number.

    >>> spread([1.0, 2.0, 3.0]), spread([2.0], decimals=2), spread([7, 7]), spread([None])
    ('2.0 ± 1.0', '2.00', '7', '–')
    >>> spread([1.0, 3.0, None]), spread([None, 7])
    ('2.0 ± 1.4 (2)', '7 (1)')
    """
    known = [value for value in values if value is not None]
    if not known:
        return "–"
    number = "" if len(known) == len(values) else f" ({len(known)})"
    if decimals is None and len(set(known)) == 1 and known[0] == round(known[0]):
        return f"{known[0]:.0f}{number}"
    places = 1 if decimals is None else decimals
    mean = f"{statistics.fmean(known):.{places}f}"
    return f"{mean}{number}" if len(known) == 1 else f"{mean} ± {statistics.stdev(known):.{places}f}{number}"


def markdown(heading: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A table whose first two columns are names; rows and columns that hold nothing are left out."""
    rows = [row for row in rows if set(row[2:]) != {"–"}]
    kept = [place for place in range(len(heading)) if any(row[place] != "–" for row in rows)]
    lines = [heading, ["---"] * len(heading), *rows]
    return "\n".join(f"| {' | '.join(line[place] for place in kept)} |" for line in lines) + "\n"


if __name__ == "__main__":
    main()
