"""A run from its configuration to its run directory: stages, projection, readout, test."""

from __future__ import annotations

import logging
import secrets
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from accelerate import Accelerator
from accelerate.utils import broadcast_object_list
from jaxtyping import Float
from rich.console import Console
from torch import Tensor

from pixpnet.backbones import Backbone, TiledBackbone, backbone_of
from pixpnet.choices import choose
from pixpnet.config import Config, config_from_yaml, config_to_yaml, resolve_optimizer, validate
from pixpnet.data import ClassificationImages, EpochLoader, Splits, fingerprint, keep_features, open_splits
from pixpnet.data import loader as make_loader
from pixpnet.errors import CheckpointError, ConfigError, DataError
from pixpnet.files import write_text, write_yaml
from pixpnet.modes import evaluating
from pixpnet.prototypes import PrototypeNetwork, build_network, regular_own_class
from pixpnet.receptive_fields import ReceptiveField, receptive_field
from pixpnet.runs import Checkpoint, RunDirectory, changes_since, load, load_checkpoint, write_manifest
from pixpnet.seeds import seeded, stable_seed
from pixpnet.training.learner import RATE_COLUMNS, Learner, ParameterGroup, build_optimizer
from pixpnet.training.loop import Learning, TrainedEpoch, fit, make_execution, score
from pixpnet.training.memory import find_batch_size, require_gpu
from pixpnet.training.objective import EpochMeter
from pixpnet.training.plan import EpochPlan, plan_epochs
from pixpnet.training.profiling import make_profiler
from pixpnet.training.projection import (
    project_prototypes,
    similarity_table,
    start_add_on,
    start_prototypes,
    train_readout,
)
from pixpnet.training.state import TrainState
from pixpnet.training.summary import announcement, closing_rows, epoch_line, model_info
from pixpnet.training.tools import Display, EpochBar, RunLogs, Tools

SPLITS = ("train", "val", "test")
"""In the names of what is logged."""

ON_CHANGED_DATA = {"stop": True, "continue": False}
"""What happens to a run whose images have changed -> whether it stops."""

_logger = logging.getLogger(__name__)


def train(config: Config, *, progress: bool = True) -> Path:
    """Train, project and test a network; returns the run directory."""
    return _begin(config, progress=progress).train()


def resume(
    run_dir: str | Path,
    *,
    dataset_root: str | Path | None = None,
    on_changed_data: str = "stop",
    progress: bool = True,
) -> Path:
    """Go on from the end of a run's last whole epoch; on the same machine the result is bit for bit the same.

    Args:
        run_dir: The run.
        dataset_root: Where the run's data lies now, if it has moved (what dataset.root was in training).
        on_changed_data: What happens where the images are no longer those that the run began with: stop, or
            continue with a warning.
        progress: Whether to show bars and lines.

    Raises:
        CheckpointError: if there is no such run, no usable checkpoint, or nothing left to do.
        ConfigError: on_changed_data is neither.
        DataError: The images have changed.
    """
    directory = RunDirectory.open(run_dir)
    if directory.scores_file.exists():
        raise CheckpointError(f"{run_dir} is complete: there is nothing to resume.")
    checkpoint = load_checkpoint(directory.last_checkpoint())
    config = config_from_yaml(checkpoint.config_yaml)
    if dataset_root is not None:
        config = replace(config, dataset=replace(config.dataset, root=str(dataset_root)))
    if not directory.metrics_file.is_file():
        raise CheckpointError(f"{directory.metrics_file} is missing: the run can't be resumed.")
    stops = choose(ON_CHANGED_DATA, on_changed_data, what="on-changed-data")
    run = _begin(config, checkpoint=checkpoint, directory=directory, stops_on_change=stops, progress=progress)
    run.tools.logs.cut_back(checkpoint.metrics_bytes)
    return run.train()


def _check_images(
    directory: RunDirectory, splits: Splits, checkpoint: Checkpoint, *, stops_on_change: bool
) -> None:
    """Hold a run's images against those that it began with.

    Raises:
        DataError: They have changed, and that stops it.
    """
    file = directory.images_file
    if not file.is_file():  # runs of older versions
        _logger.warning("%s is missing: nobody can tell whether the images are those of the beginning", file)
        return
    changes = changes_since(file, splits, checkpoint.sources)
    if not changes:
        return
    told = f"{splits.image_set.root} has other images than the run began with: {'; '.join(changes)}."
    if stops_on_change:
        raise DataError(
            f"{told} Images that it learned from may be among those it is now validated or tested on. Bring "
            "the old ones back, begin a new run, or go on all the same with --on-changed-data continue."
        )
    _logger.warning("%s", told)


def _begin(
    config: Config,
    *,
    checkpoint: Checkpoint | None = None,
    directory: RunDirectory | None = None,
    stops_on_change: bool = True,
    progress: bool,
) -> _Trainer:
    """All that a run needs: from its configuration alone, or where its checkpoint was taken."""
    validate(config)
    seed = config.seed if config.seed is not None else secrets.randbelow(2**31)
    plans = plan_epochs(config.train, config.optimizer)
    execution = make_execution(config)
    accelerator = execution.accelerator
    seed = int(broadcast_object_list([seed])[0])
    dataset = replace(config.dataset, root=str(Path(config.dataset.root).resolve()))
    config = replace(config, seed=seed, dataset=dataset)
    if config.train.start_from is not None:
        start_from = str(Path(config.train.start_from).resolve())
        config = replace(config, train=replace(config.train, start_from=start_from))
    display = Display(Console(stderr=True), progress and accelerator.is_main_process)
    with seeded(seed, gpus=True):
        with_weights = checkpoint is None and config.train.start_from is None
        backbone = backbone_of(config.model, with_weights=with_weights)
        _check_before_data(config, accelerator.device)
        splits = _open_splits(config, accelerator, display)
        if directory is not None and checkpoint is not None:
            _check_images(directory, splits, checkpoint, stops_on_change=stops_on_change)
        network = build_network(
            config.model,
            num_classes=len(splits.class_names),
            backbone=backbone,
            generator=torch.Generator().manual_seed(seed),
        )
    if config.train.start_from is not None and checkpoint is None:
        _start_from(config.train.start_from, network, splits)
    config = replace(config, dataset=replace(config.dataset, bits=splits.image_set.reading.bits))
    field = _patch_field(backbone, splits.image_size, network.kernel_size)
    # Channels last makes convolutions faster on CPUs, too.
    backbone.to(memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue]
    network = network.to(accelerator.device)
    if config.train.hparam_tune:
        batch_size = find_batch_size(
            network,
            plans,
            config=config,
            splits=splits,
            execution=execution,
        )
        config = replace(config, train=replace(config.train, batch_size=batch_size, hparam_tune=False))
    is_frozen = config.train.freeze_backbone
    learned = network.over_features() if is_frozen else network
    state = TrainState(network, Learner(learned, config=config, accelerator=accelerator))
    if checkpoint is not None:
        state.restore(checkpoint)
    if is_frozen:
        backbone.requires_grad_(False)
        splits = _keep_features(config, splits, backbone, accelerator, display)
    if config.train.compile:
        network.backbone.compile()
    directory = directory or _create_directory(config, splits, is_main=accelerator.is_main_process)
    measures = state.learner.prototype_objective.measures
    logs = RunLogs(
        directory,
        config,
        columns=(*RATE_COLUMNS, *(f"{split}_{measure}" for split in SPLITS for measure in measures)),
        active=accelerator.is_main_process,
        resumed_at=None if checkpoint is None else checkpoint.step,
    )
    profiler = make_profiler(
        config,
        directory.path / "profile",
        device=accelerator.device,
        epochs_done=state.position.epoch,
        active=accelerator.is_main_process,
    )
    tools = Tools(execution, display, logs, profiler)
    return _Trainer(config, seed, plans, splits, backbone, field, directory, state, tools)


def _check_before_data(config: Config, device: torch.device) -> None:
    """What can be told to be wrong before images are made, so that nothing is written for it."""
    dataset, model, train = config.dataset, config.model, config.train
    if train.checkpoint and not train.push_prototypes:
        raise ConfigError("train.checkpoint keeps a projected network: it needs train.push-prototypes.")
    if train.checkpoint and dataset.val_size == 0:
        raise ConfigError("train.checkpoint needs validation images: dataset.val-size is 0.")
    if train.hparam_tune:
        require_gpu(device)
    if dataset.name == "SYNTHBIRDS":
        regular_own_class(model.num_prototypes, dataset.classes, class_specific=model.class_specific)


def _start_from(path: str, network: PrototypeNetwork, splits: Splits) -> None:
    """Give a network the values of a trained one.

    Raises:
        CheckpointError: There is no such run, or its network is built otherwise.
        DataError: It was trained on other classes.
    """
    parent = load(path)
    if parent.class_names != splits.class_names:
        raise DataError(f"{path} (train.start-from) has other classes than {splits.image_set.root}.")
    try:
        network.load_state_dict(parent.network.state_dict())
    except RuntimeError as error:
        raise CheckpointError(
            f"{path} (train.start-from) holds a network that is built otherwise than the options of model "
            f"say: {str(error).splitlines()[1].strip()[:200]}"
        ) from error


def _open_splits(config: Config, accelerator: Accelerator, display: Display) -> Splits:
    # One process renders, the others find it done.
    with accelerator.main_process_first(), display.rendering() as progress:
        return open_splits(
            config.dataset,
            seed=config.seed or 0,
            debug=config.debug,
            batch_size=config.train.batch_size,
            progress=progress,
        )


def _keep_features(
    config: Config,
    splits: Splits,
    backbone: Backbone | TiledBackbone,
    accelerator: Accelerator,
    display: Display,
) -> Splits:
    """The splits with the frozen backbone's features in place of images."""

    def compute(images: Float[Tensor, "b 3 H W"]) -> Float[Tensor, "b d h w"]:
        return backbone(images.to(accelerator.device, memory_format=torch.channels_last))

    with torch.no_grad(), evaluating(backbone), display.rendering() as progress:
        return keep_features(
            splits,
            compute,
            shape=(backbone.out_channels, *receptive_field(backbone, splits.image_size).grid_size),
            made_with=fingerprint(backbone),
            views=config.train.kept_views,
            seed=config.dataset.seed,
            share=slice(accelerator.process_index, None, accelerator.num_processes),
            wait=accelerator.wait_for_everyone,
            progress=progress,
        )


def _patch_field(
    backbone: Backbone | TiledBackbone, image_size: tuple[int, int], kernel_size: int
) -> ReceptiveField:
    """The receptive field of prototype-sized patches."""
    field = receptive_field(backbone, image_size)
    if kernel_size > min(field.grid_size):
        raise ConfigError(
            f"model.prototype-kernel-size={kernel_size} exceeds the {field.grid_size[0]}×"
            f"{field.grid_size[1]} cells of layer {backbone.layer}."
        )
    return field.for_kernel(kernel_size)


def _create_directory(config: Config, splits: Splits, *, is_main: bool) -> RunDirectory:
    path = str(RunDirectory.create(config).path) if is_main else ""
    directory = RunDirectory(Path(str(broadcast_object_list([path])[0])))
    if is_main:
        write_text(directory.config_file, config_to_yaml(config))
        write_manifest(directory.images_file, splits)
    return directory


@dataclass(frozen=True)
class _Trainer:
    """One run, ready to train."""

    config: Config
    seed: int
    plans: tuple[EpochPlan, ...]
    splits: Splits
    backbone: Backbone | TiledBackbone
    field: ReceptiveField
    """What prototype-sized patches see."""
    directory: RunDirectory
    state: TrainState
    tools: Tools

    def train(self) -> Path:
        """Train every epoch that is not done, then test; returns the run directory."""
        position, tools = self.state.position, self.tools
        with seeded(self.seed, gpus=True), tools.profiler.running():
            for line in announcement(self.splits, self.backbone, self.field, self.directory.path):
                tools.display.line(line)
            batches = self._loader(self.splits.train, shuffle=True)
            total, done = len(batches) * len(self.plans), len(batches) * position.epoch
            with tools.display.training(total=total, done=done) as bar:
                start = time.perf_counter()
                for trained in self._fit(batches, bar):
                    self._follow(trained, batches, start)
                    position.train_seconds += time.perf_counter() - start
                    with tools.profiler.phase("checkpoint"):
                        self._save(trained.plan)
                    start = time.perf_counter()
            self._finish()
        return self.directory.path

    def _fit(self, batches: EpochLoader, bar: EpochBar) -> Iterator[TrainedEpoch]:
        """The epochs that are not done."""
        config, position, tools = self.config, self.state.position, self.tools

        def begin(plan: EpochPlan) -> Learning:
            position.epoch = plan.epoch
            position.sources = ()
            is_start = plan.epoch == config.train.backbone_epochs + 1 and config.train.start_from is None
            if is_start and config.model.add_on_init == "data":
                with tools.profiler.phase("start of the add-on"):
                    start_add_on(
                        self.state.learner.network,
                        self._loader(self.splits.projection, shuffle=False),
                        accelerator=tools.execution.accelerator,
                    )
            if is_start and config.model.prototype_init == "data":
                with tools.profiler.phase("start of the prototypes"):
                    self._start_prototypes()
            learning = self.state.learner.enter_together(plan)
            bar.describe(f"epoch {plan.epoch}/{len(self.plans)} {plan.stage}")
            epochs_left = sum(other.stage == plan.stage for other in self.plans[plan.epoch - 1 :])
            tools.profiler.stage(plan.stage, steps=epochs_left * len(batches))
            return learning

        def on_step(meter: EpochMeter) -> None:
            bar.step(meter)
            tools.profiler.step()

        return fit(
            self.plans[position.epoch :],
            begin,
            batches,
            num_classes=self.state.network.num_classes,
            seed=lambda plan: stable_seed(self.seed, plan.epoch, tools.execution.accelerator.process_index),
            execution=tools.execution,
            first_step=position.step,
            on_step=on_step,
            profiler=tools.profiler,
        )

    def _follow(self, trained: TrainedEpoch, batches: EpochLoader, start: float) -> None:
        """What follows the steps of an epoch: logs, average, projection, readout, validation."""
        plan, state, tools = trained.plan, self.state, self.tools
        state.position.step += trained.steps
        values = trained.meter.values("train")
        optimizer = state.learner.optimizer
        assert optimizer is not None
        rates = [group["lr"] for group in optimizer.param_groups]
        self._log({**dict(zip(RATE_COLUMNS, rates, strict=False)), **values})
        if self.config.tb_logging:
            images = next(iter(self._loader(self.splits.projection, shuffle=False))).image
            images = images.to(tools.execution.accelerator.device)
            tools.logs.histograms(state.learner.network, images, step=state.position.step)
        if plan.average:
            with tools.profiler.phase("averaging"):
                state.add_to_average()
                if plan.epoch == len(self.plans):
                    state.adopt_average(batches, accelerator=tools.execution.accelerator)
        if plan.project:
            with tools.profiler.phase("projection"):
                self._project()
            with tools.profiler.phase("readout"):
                self._read_out()
        if (plan.validate or plan.project) and self.splits.validation is not None:
            validated = self._score(self.splits.validation, "val")
            self._log(validated)
            values |= validated
        seconds = time.perf_counter() - start
        tools.display.line(epoch_line(plan, values, seconds=seconds, epochs=len(self.plans)))

    def _start_prototypes(self) -> None:
        """Put the prototypes at the centres of their classes' patches."""
        start_prototypes(
            self.state.learner.network,
            self._loader(self.splits.projection, shuffle=False),
            class_names=self.splits.class_names,
            generator=torch.Generator().manual_seed(stable_seed(self.seed, "prototypes")),
            accelerator=self.tools.execution.accelerator,
        )

    def _project(self) -> None:
        """Move the prototypes onto training patches."""
        self.state.position.sources = project_prototypes(
            self.state.learner.network,
            self._loader(self.splits.projection, shuffle=False),
            records=self.splits.projection.records,
            class_names=self.splits.class_names,
            root=self.splits.image_set.root,
            field=self.field,
            duplicate_filter=self.config.train.push_duplicate_filter,
            accelerator=self.tools.execution.accelerator,
        )

    def _read_out(self) -> None:
        """Train the head, if it has parameters, on the cached similarities."""
        network = self.state.learner.network
        parameters = list(network.head.parameters())
        if not parameters:
            return
        similarities, labels = similarity_table(
            network,
            self._loader(self.splits.projection, shuffle=False),
            num_images=len(self.splits.projection),
            accelerator=self.tools.execution.accelerator,
        )
        options, train, loss = self.config.optimizer, self.config.train, self.config.loss
        group = ParameterGroup(parameters, options.readout_lr, 0.0)
        seed = stable_seed(self.seed, self.state.position.epoch, "readout")
        train_readout(
            network.head,
            similarities,
            labels,
            optimizer=build_optimizer(resolve_optimizer(options.name), [group], options),
            epochs=train.readout_push_epochs,
            batch_size=train.batch_size,
            xent=loss.xent,
            l1=loss.l1,
            label_smoothing=loss.label_smoothing,
            generator=torch.Generator().manual_seed(seed),
        )

    def _score(self, images: ClassificationImages, split: str) -> dict[str, float]:
        """Losses and accuracies on images, in eval mode."""
        learner, accelerator = self.state.learner, self.tools.execution.accelerator
        meter = EpochMeter(learner.objective, self.state.network.num_classes, accelerator.device)
        with self.tools.profiler.phase({"val": "validation"}.get(split, split)):
            score(
                learner.module,
                learner.objective,
                self._loader(images, shuffle=False),
                accelerator=accelerator,
                meter=meter,
            )
        return meter.values(split)

    def _save(self, plan: EpochPlan) -> None:
        """Write the checkpoint of an epoch; under train.checkpoint, a projected one may be the best."""
        logs = self.tools.logs
        if self.tools.execution.accelerator.is_main_process:
            may_be_best = self.config.train.checkpoint and plan.project
            self.state.save(
                self.directory,
                self.config,
                self.splits,
                metrics_bytes=logs.metrics_bytes,
                accuracy=logs.last("val_accuracy") if may_be_best else None,
            )

    def _finish(self) -> None:
        """Test the last network (and the best one), write the results, show the closing table.

        ``scores.yaml`` comes last: a run that has it is complete.
        """
        state, tools, directory = self.state, self.tools, self.directory
        scores = self._score(self.splits.test, "test")
        self._log(scores)
        last = directory.last_checkpoint()
        best = directory.checkpoints / (state.position.best_checkpoint or last.name)
        if self.config.train.checkpoint:
            of_best = dict(scores) if best == last else self._score_checkpoint(best)
            scores |= {f"best_{name}": value for name, value in of_best.items()}
        if not tools.execution.accelerator.is_main_process:
            return
        # A run that ends in its warm-up still has it to train.
        state.network.backbone.requires_grad_(not self.config.train.freeze_backbone)
        with tools.profiler.phase("sizes and speed"):
            info = model_info(
                state.network,
                image_size=self.splits.image_size,
                batch_size=self._test_batch_size,
                train_seconds=state.position.train_seconds,
                epochs=len(self.plans),
            )
        write_yaml(directory.model_info_file, info)
        write_text(directory.best_model_file, f"{best}\n")
        tools.logs.close()
        write_yaml(directory.scores_file, scores)
        rows = closing_rows(state.network, self.field, scores=scores, info=info, run=directory.path)
        tools.display.closing_table("PixPNet", rows)

    def _score_checkpoint(self, path: Path) -> dict[str, float]:
        """Test scores of another checkpoint's network; the run's own network comes back."""
        network: PrototypeNetwork = self.state.network
        own = {name: tensor.clone() for name, tensor in network.state_dict().items()}
        network.load_state_dict(load_checkpoint(path).network)
        try:
            return self._score(self.splits.test, "test")
        finally:
            network.load_state_dict(own)

    @property
    def _test_batch_size(self) -> int:
        return self.config.test.batch_size or self.config.train.batch_size

    def _loader(self, images: ClassificationImages, *, shuffle: bool) -> EpochLoader:
        accelerator = self.tools.execution.accelerator
        return make_loader(
            images,
            batch_size=self.config.train.batch_size if shuffle else self._test_batch_size,
            shuffle=shuffle,
            seed=self.seed,
            epoch=0,
            rank=accelerator.process_index,
            world_size=accelerator.num_processes,
            workers=self.config.dataset.workers,
        )

    def _log(self, values: dict[str, float]) -> None:
        """One row of metrics.csv, at the run's position."""
        position = self.state.position
        self.tools.logs.log(values, epoch=position.epoch, step=position.step)
