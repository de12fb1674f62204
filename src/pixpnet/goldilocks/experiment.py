"""A Goldilocks experiment: every stage of some backbones measured, ranked, drawn and turned into advice."""

from __future__ import annotations

import logging
import shutil
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple, get_args

from pixpnet.config import Config
from pixpnet.errors import ConfigError, FileError, PixPNetError
from pixpnet.figures import FIGURE_FORMATS, LayerPoint, goldilocks_figure, save_figure
from pixpnet.files import clear_partial, read_if_there, sole_writer, write_text, write_yaml
from pixpnet.goldilocks.advice import Advice, advise
from pixpnet.goldilocks.crew import Piece, find_crew, work_off
from pixpnet.goldilocks.networks import weights_of
from pixpnet.goldilocks.ranking import group_of, rank_rows, undertrained
from pixpnet.goldilocks.stages import Stage, stages_of, tile_stages
from pixpnet.goldilocks.table import (
    READOUT_TITLES,
    Mode,
    Readout,
    Row,
    Weights,
    append_row,
    read_rows,
    write_rows,
)
from pixpnet.goldilocks.work import Job, finetune_row, open_images, prepare_probe, probe_row
from pixpnet.training import flat_options
from pixpnet.types import Progress

_logger = logging.getLogger(__name__)

READOUTS: dict[Mode, tuple[Readout, ...]] = {"probe": get_args(Readout), "finetune": ("average",)}

_INDIFFERENT = ("dataset.root", "dataset.workers", "dataset.cache")
"""Options of the data set that do not change results."""

_STEPS = ("train.batch-size", "train.precision")
"""Options that change what steps of training do, in all modes."""


@dataclass(frozen=True)
class Files:
    """The files of an experiment: a table, and others beside it that are named after it."""

    table: Path

    @classmethod
    def under(cls, out: Path) -> Files:
        """The files of `--out`, a CSV file or a folder."""
        return cls(out if out.suffix.lower() == ".csv" else out / "goldilocks.csv")

    @property
    def settings(self) -> Path:
        return self._beside(".settings.yaml")

    @property
    def advice(self) -> Path:
        """The configuration for `pixpnet train -c`."""
        return self._beside(".best.yaml")

    @property
    def work(self) -> Path:
        """Folder of what lets a stopped run go on: trained backbones, and until the end what was read."""
        return self._beside(".work")

    def figure(self, mode: Mode, readout: Readout, suffix: str) -> Path:
        """A scatter plot."""
        return self._beside(f".{mode}.{readout}.{suffix}")

    def _beside(self, ending: str) -> Path:
        return self.table.with_name(self.table.stem + ending)


class Outcome(NamedTuple):
    """What an experiment ends with."""

    rows: list[Row]
    """Those of this experiment's data set, size and mode, of all models in the table."""
    ranks: list[int]
    """Pareto rank of each."""
    advice: Advice
    files: tuple[Path, ...]
    """Table, configuration, figures."""


def explore(
    config: Config,
    *,
    models: Sequence[str],
    out: Path,
    tiles: Sequence[int] = (),
    tile_input: int | None = None,
    mode: Mode = "probe",
    epochs: int = 10,
    max_rf: float = 30.0,
    jobs: int = 1,
    cluster: bool = False,
    progress: Progress | None = None,
) -> Outcome:
    """Measure how well the classes can be told at each stage of each backbone; go on if that was begun.

    Args:
        config: The data set, the seed (None: 0), the backbones' weights and (`train.backbone_epochs`) their
            training.
        models: Backbones.
        out: A CSV file, or the folder of one. Rows that are there are not measured again.
        tiles: Sides of tiles in pixels: the whole backbone on tiles of each is measured, in place of its
            layers.
        tile_input: Side that tiles are resized to; None: by their size (`usual_tile_input`).
        mode: Linear heads on the frozen backbone, or the cut network trained as a whole.
        epochs: Of finetuning.
        max_rf: Largest mean receptive field that is advised, percent of the image.
        jobs: Processes on this machine.
        cluster: Let Ray spread the work.
        progress: Told (pieces of work done, in all).

    Raises:
        ConfigError: Options that cannot work, or `out` holds results that were made in another way.
        DataError: The data set or weights cannot be had.
        FileError: Another process writes the same table.
        PixPNetError: Some backbones could not be measured; the results of the others are written.
    """
    files = Files.under(out)
    config = replace(config, model=replace(config.model, tile_input=tile_input))
    config = replace(config, seed=config.seed or 0)  # a fresh one each time could not go on
    job = Job(config, mode, epochs, files.work, jobs)
    _check(job, models, tiles)
    stages = {model: _stages(job, model, tiles) for model in models}
    num_classes = len(open_images(config.dataset, job.seed).class_names)
    read_rows(files.table)  # before anything is written beside a file that is something else
    with sole_writer(files.table.parent, name=files.table.stem):
        clear_partial(files.work, "**/.*")
        check_settings(job, files.settings)
        pieces = _plan(job, stages, {row.key for row in read_rows(files.table)})
        faults = {}
        if pieces:
            with find_crew(jobs=jobs, cluster=cluster, use_gpus=config.gpus != 0) as crew:
                for model, result in work_off(crew, pieces, progress):
                    if isinstance(result, PixPNetError):
                        _logger.error("%s: %s", model, result)
                        faults.setdefault(model, result)
                        continue
                    for row in result:
                        append_row(files.table, row)
                        _logger.info(
                            "%s/%s, %s: accuracy %.3f, mean RF %.3g %%",
                            *(row.model, row.stage, row.readout, row.test_accuracy, row.mean_rf),
                        )
        outcome = _finish(job, files, max_rf=max_rf, num_classes=num_classes, faults=faults)
        if faults:
            names, first = ", ".join(faults), next(iter(faults.values()))
            raise PixPNetError(
                f"{names} could not be measured in full ({first}); the rest is in {files.table}."
            )
        shutil.rmtree(files.work / "features", ignore_errors=True)
        return outcome


def _check(job: Job, models: Sequence[str], tiles: Sequence[int]) -> None:
    model, train = job.config.model, job.config.train
    if tiles and (job.mode == "finetune" or train.backbone_epochs):
        raise ConfigError("tiles are for --mode probe, with weights as they are: networks stay frozen.")
    if model.tile_input and not tiles:
        raise ConfigError("tile-input is for tiles; add them, or leave it out.")
    if model.weights and len(models) > 1:
        raise ConfigError(f"model.weights: one file does not fit {len(models)} backbones; give one of them.")
    if job.mode == "finetune" and train.backbone_epochs:
        raise ConfigError("train.backbone-epochs is for --mode probe; finetuning trains for --epochs.")
    if weights_of(job.config) == "random" and job.mode == "probe":
        _logger.warning(
            "The backbones are probed with random weights, which says little of what they can learn; "
            "--train.backbone-epochs 12 trains them on this data first."
        )


def _stages(job: Job, model: str, tiles: Sequence[int]) -> tuple[Stage, ...]:
    """The stages to look at: those behind the last grid (fc) only if they learn or come pretrained."""
    if tiles:
        return tile_stages(model, job.image_size, tiles, tile_input=job.config.model.tile_input)
    stages = stages_of(model, job.image_size)
    is_whole = job.mode == "finetune" or weights_of(job.config) == "pretrained"
    if is_whole and job.config.model.weights is None:  # a file need not hold what lies behind the grids
        return stages
    return tuple(stage for stage in stages if stage.is_grid)


def _plan(job: Job, stages: dict[str, tuple[Stage, ...]], done: set[Any]) -> list[Piece]:
    """The pieces of work that are left, the longest first; all layers are read together, tiles apart."""
    together = [
        some
        for of_model in stages.values()
        for some in ([of_model] if of_model[0].tile is None else [(stage,) for stage in of_model])
    ]
    pieces = []
    for some in sorted(together, key=lambda some: -some[-1].macs):
        left, model = [], some[0].model
        for stage in some:
            for readout in READOUTS[job.mode]:
                call = partial(probe_row, job, stage, readout)
                if job.mode == "finetune":
                    call = partial(finetune_row, job, stage)
                if job.key(stage, readout) not in done:
                    left.append(Piece(model, call))
        if left and job.mode == "probe":
            pieces.append(Piece(model, partial(prepare_probe, job, some), tuple(left)))
        else:
            pieces += left
    return pieces


def _finish(
    job: Job, files: Files, *, max_rf: float, num_classes: int, faults: dict[str, PixPNetError]
) -> Outcome:
    """Rank all rows of the table, draw those of this experiment's kind, and say what follows from them."""
    every = read_rows(files.table)
    ranks = rank_rows(every)
    write_rows(files.table, every, ranks)
    kind = (job.config.dataset.name, *job.image_size, job.mode)
    own = [(row, rank) for row, rank in zip(every, ranks, strict=True) if group_of(row) == kind]
    rows = [row for row, _ in own]
    if not rows and faults:
        raise next(iter(faults.values()))

    def weights(row: Row) -> str | None:
        if row.weights == "trained":
            return job.trained_file(row)
        return pretrained_file(files.settings, row.mode)

    dataset = job.config.dataset
    advice = advise(
        rows,
        max_rf,
        dataset=dataset,
        num_classes=num_classes,
        weights=weights,
        tile_input=job.config.model.tile_input,
    )
    if names := ", ".join(undertrained(rows)):
        _logger.warning(
            "The accuracy of %s falls with depth: it has learned too little for the advice to be followed. "
            "More --train.backbone-epochs, pretrained weights or --mode finetune tell more.",
            names,
        )
    written = [files.table]
    files.advice.unlink(missing_ok=True)
    if advice.config_yaml is not None:
        write_text(files.advice, advice.config_yaml)
        written.append(files.advice)
    for readout in READOUTS[job.mode]:
        points = [
            LayerPoint(row.model, row.stage, row.test_accuracy, row.mean_rf, rank)
            for row, rank in own
            if row.readout == readout
        ]
        if not points:  # not one of its rows could be measured
            continue
        title = f"{dataset.name}, {job.mode}, {READOUT_TITLES[readout]}"
        figure = goldilocks_figure(points, title=title, max_rf=max_rf)
        paths = [files.figure(job.mode, readout, suffix) for suffix in FIGURE_FORMATS]
        written += [save_figure(figure, path) for path in paths]
    return Outcome(rows, [rank for _, rank in own], advice, tuple(written))


def check_settings(job: Job, file: Path) -> None:
    """Note what the rows to come depend on, or compare it with what those that are there depended on.

    Raises:
        ConfigError: Rows of this mode and weights are there that were made in another way.
    """
    kept = _kept_settings(file)
    for section, values in _settings(job).items():
        others = kept.setdefault(section, values)
        for name, value in values.items():
            if others.get(name) != value:
                raise ConfigError(
                    f"{file} says that the results there have {name} {others.get(name)}, not {value}; "
                    "give another --out for these."
                )
    write_yaml(file, kept)


def pretrained_file(file: Path, mode: Mode) -> str | None:
    """File of the weights of a mode's rows that are called pretrained; None: the published ones."""
    return _kept_settings(file).get(_group(mode, "pretrained"), {}).get("model.weights")


def _group(mode: Mode, weights: Weights) -> str:
    return f"{mode}, {weights} weights"


def _kept_settings(file: Path) -> dict[str, dict[str, Any]]:
    content = read_if_there(file)
    if not all(isinstance(value, dict) for value in content.values()):
        raise FileError(f"{file} is damaged: it should hold the settings of the results beside it.")
    return content


def _settings(job: Job) -> dict[str, dict[str, Any]]:
    """What rows of the job's mode and weights depend on; a row itself tells its seed."""
    options, weights = flat_options(job.config), weights_of(job.config)
    names = ["model.weights", "model.tile-input"]
    if job.mode == "finetune":
        names += _STEPS
    elif weights == "trained":
        names += ["model.pretrained", "train.backbone-epochs", *_STEPS, "train.gradient-clip-norm"]
        names += [name for name in options if name.startswith("optimizer.")]
    dataset = [name for name in options if name.startswith("dataset.") and name not in _INDIFFERENT]
    epochs = {"epochs": job.epochs} if job.mode == "finetune" else {}
    return {
        "dataset": {name: options[name] for name in dataset},
        _group(job.mode, weights): {name: options[name] for name in names} | epochs,
    }
