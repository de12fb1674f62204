"""A run from its configuration to its run directory: stages, projection, readout, test."""

from __future__ import annotations

import secrets
import time
from dataclasses import replace
from pathlib import Path

import torch
from accelerate.utils import broadcast_object_list
from rich.console import Console
from torch import Tensor
from torch.optim.swa_utils import AveragedModel

from pixpnet.backbones import Backbone, build_backbone
from pixpnet.config import Config, config_from_yaml, config_to_yaml, validate
from pixpnet.data import ClassificationImages, EpochLoader, Splits, open_splits
from pixpnet.data import loader as make_loader
from pixpnet.errors import CheckpointError, ConfigError
from pixpnet.files import write_text
from pixpnet.prototypes import PrototypeNetwork, build_network, regular_own_class
from pixpnet.receptive_fields import ReceptiveField, receptive_field
from pixpnet.runs import Checkpoint, RunDirectory, load_checkpoint
from pixpnet.seeds import seeded, stable_seed
from pixpnet.training.averaging import add_to_average, adopt_average
from pixpnet.training.batch_size import find_batch_size, require_gpu
from pixpnet.training.display import Display, EpochBar, announcement, epoch_line
from pixpnet.training.finish import finish
from pixpnet.training.learner import Learner
from pixpnet.training.logs import RunLogs
from pixpnet.training.loop import evaluate, train_epoch
from pixpnet.training.measures import EpochMeter
from pixpnet.training.passes import project_prototypes, read_out, start_prototypes
from pixpnet.training.profiling import make_profiler
from pixpnet.training.setup import agree_on_buffers, make_accelerator
from pixpnet.training.stages import EpochPlan, plan_epochs
from pixpnet.training.state import Position, restore, save


class Training:
    """One run: its network, data, files and position."""

    def __init__(
        self,
        config: Config,
        *,
        checkpoint: Checkpoint | None = None,
        directory: RunDirectory | None = None,
        progress: bool = True,
    ) -> None:
        validate(config)
        self.seed = config.seed if config.seed is not None else secrets.randbelow(2**31)
        self.plans = plan_epochs(config.train, config.optimizer)
        self.accelerator, self.autocast_to = make_accelerator(config)
        self.main = self.accelerator.is_main_process
        shared = broadcast_object_list([self.seed])
        self.seed = int(shared[0])
        dataset = replace(config.dataset, root=str(Path(config.dataset.root).resolve()))
        self.config = config = replace(config, seed=self.seed, dataset=dataset)
        self.display = Display(Console(stderr=True), progress and self.main)
        self.position = Position()
        with seeded(self.seed, gpus=True):
            self.backbone = self._build_backbone(pretrained=checkpoint is None)
            self._check_before_data()
            self.splits = self._open_splits()
            self.network = self._build_network()
        self.receptive_field = self._receptive_field()
        self.network = self.network.to(self.accelerator.device)
        if config.train.hparam_tune:
            train = replace(config.train, batch_size=find_batch_size(self), hparam_tune=False)
            self.config = config = replace(config, train=train)
        self.train_batches = self.loader(self.splits.train, shuffle=True)
        self.learner = Learner(self.network, self.backbone, config=config, accelerator=self.accelerator)
        self.average: AveragedModel | None = None
        if checkpoint is not None:
            restore(self, checkpoint)
        if config.train.compile:
            self.network.backbone.compile()
        self.directory = directory or self._create_directory()
        resumed_at = None if checkpoint is None else checkpoint.step
        self.logs = RunLogs(self.directory, self.config, active=self.main, resumed_at=resumed_at)
        self.profiler = make_profiler(
            self.config,
            self.directory.path / "profile",
            device=self.accelerator.device,
            epochs_done=self.position.epoch,
            active=self.main,
        )

    def _check_before_data(self) -> None:
        """What can be told to be wrong before images are made, so that nothing is written for it."""
        dataset, model, train = self.config.dataset, self.config.model, self.config.train
        if train.checkpoint and not train.push_prototypes:
            raise ConfigError("train.checkpoint keeps a projected network: it needs train.push-prototypes.")
        if train.checkpoint and dataset.val_size == 0:
            raise ConfigError("train.checkpoint needs validation images: dataset.val-size is 0.")
        if train.hparam_tune:
            require_gpu(self.accelerator.device)
        if dataset.name == "SYNTHBIRDS":
            regular_own_class(model.num_prototypes, dataset.classes, class_specific=model.class_specific)

    def _open_splits(self) -> Splits:
        # One process renders, the others find it done.
        with self.accelerator.main_process_first(), self.display.rendering() as progress:
            return open_splits(
                self.config.dataset,
                seed=self.seed,
                debug=self.config.debug,
                batch_size=self.config.train.batch_size,
                progress=progress,
            )

    def _build_backbone(self, *, pretrained: bool) -> Backbone:
        model = self.config.model
        backbone = build_backbone(
            model.feature_extractor or "",
            layer=model.feature_layer,
            pretrained=model.pretrained and pretrained,
            weights=model.weights if pretrained else None,
        )
        # Channels last makes convolutions faster on CPUs, too.
        return backbone.to(memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue]

    def _build_network(self) -> PrototypeNetwork:
        return build_network(
            self.config.model,
            num_classes=len(self.splits.class_names),
            backbone=self.backbone,
            generator=torch.Generator().manual_seed(self.seed),
        )

    def _receptive_field(self) -> ReceptiveField:
        field = receptive_field(self.backbone, self.splits.image_size)
        k = self.network.kernel_size
        if k > min(field.grid_size):
            raise ConfigError(
                f"model.prototype-kernel-size={k} exceeds the {field.grid_size[0]}×{field.grid_size[1]} "
                f"cells of layer {self.backbone.layer}."
            )
        return field

    def _create_directory(self) -> RunDirectory:
        path = str(RunDirectory.create(self.config).path) if self.main else ""
        directory = RunDirectory(Path(str(broadcast_object_list([path])[0])))
        if self.main:
            write_text(directory.config_file, config_to_yaml(self.config))
        return directory

    # -- the epochs ---------------------------------------------------------------------------------------

    def train(self) -> Path:
        """Training every epoch that is not done, then test; returns the run directory."""
        with seeded(self.seed, gpus=True), self.profiler.running():
            for line in announcement(self):
                self.display.line(line)
            steps = len(self.train_batches)
            remaining = self.plans[self.position.epoch :]
            with self.display.training(
                total=steps * len(self.plans), done=steps * self.position.epoch
            ) as bar:
                for plan in remaining:
                    start = time.perf_counter()
                    torch.manual_seed(stable_seed(self.seed, plan.epoch, self.accelerator.process_index))
                    self._run_epoch(plan, bar)
                    self.position.train_seconds += time.perf_counter() - start
                    with self.profiler.phase("checkpoint"):
                        save(self, plan)
            finish(self)
        return self.directory.path

    def _run_epoch(self, plan: EpochPlan, bar: EpochBar) -> None:
        start = time.perf_counter()
        self.position.epoch = plan.epoch
        if plan.epoch == self.config.train.backbone_epochs + 1 and self.config.model.prototype_init == "data":
            with self.profiler.phase("start of the prototypes"):
                start_prototypes(self)
        values = self._learn(plan, bar)
        if self.config.tb_logging:
            self.logs.histograms(self.network, self._first_images(), step=self.position.step)
        if plan.average:
            with self.profiler.phase("averaging"):
                self._average(plan)
        if plan.project:
            self.project()
        validated = plan.validate or plan.project
        if validated and self.splits.validation is not None:
            values |= self.evaluate(self.splits.validation, "val")
            self.log({name: value for name, value in values.items() if name.startswith("val_")})
        seconds = time.perf_counter() - start
        self.display.line(epoch_line(plan, values, seconds=seconds, epochs=len(self.plans)))

    def _learn(self, plan: EpochPlan, bar: EpochBar) -> dict[str, float]:
        """Train on every image once; returns the epoch's averages."""
        optimizer = self.learner.enter(plan)
        model = self.learner.training_module(plan)
        bar.describe(f"epoch {plan.epoch}/{len(self.plans)} {plan.stage}")
        self.train_batches.set_epoch(plan.epoch)
        epochs_left = sum(other.stage == plan.stage for other in self.plans[plan.epoch - 1 :])
        self.profiler.stage(plan.stage, steps=epochs_left * len(self.train_batches))
        meter = self.meter()
        self.position.sources = ()

        def on_step(meter: EpochMeter) -> None:
            bar.step(meter)
            self.profiler.step()

        with self.profiler.phase("training: forward, backward, step"):
            self.position.step += train_epoch(
                self.learner.step_function(model),
                self.profiler.batches(self.train_batches),
                num_batches=len(self.train_batches),
                model=model,
                optimizer=optimizer,
                accelerator=self.accelerator,
                meter=meter,
                accumulate=self.config.train.accumulate_grad_batches or 1,
                autocast_to=self.autocast_to,
                clip_norm=self.config.train.gradient_clip_norm,
                first_step=self.position.step,
                on_step=on_step,
            )
        agree_on_buffers(self.network, self.accelerator)
        meter.gather(self.accelerator)
        values = meter.values("train", self.config.loss)
        rates = {f"hp/lr_group_{i}": group["lr"] for i, group in enumerate(optimizer.param_groups)}
        self.log({**rates, **values})
        return values

    def _average(self, plan: EpochPlan) -> None:
        """Take this epoch's weights into the average; after the last epoch the network is that average."""
        self.average = add_to_average(self.average, self.network)
        if plan.epoch == len(self.plans):
            adopt_average(self.network, self.average, self.train_batches, accelerator=self.accelerator)
            self.average = None

    def project(self) -> None:
        """Move the prototypes onto training patches, then train the head."""
        with self.profiler.phase("projection"):
            project_prototypes(self)
        with self.profiler.phase("readout"):
            read_out(self)

    # -- helpers ------------------------------------------------------------------------------------------

    @property
    def test_batch_size(self) -> int:
        return self.config.test.batch_size or self.config.train.batch_size

    def loader(self, images: ClassificationImages, *, shuffle: bool) -> EpochLoader:
        return make_loader(
            images,
            batch_size=self.config.train.batch_size if shuffle else self.test_batch_size,
            shuffle=shuffle,
            seed=self.seed,
            epoch=0,
            rank=self.accelerator.process_index,
            world_size=self.accelerator.num_processes,
            workers=self.config.dataset.workers,
        )

    def meter(self) -> EpochMeter:
        return EpochMeter(self.network.num_classes, self.accelerator.device)

    def _first_images(self) -> Tensor:
        batch = next(iter(self.loader(self.splits.projection, shuffle=False)))
        return batch.image.to(self.accelerator.device)

    def evaluate(self, images: ClassificationImages, split: str) -> dict[str, float]:
        """Losses and accuracies on images, in eval mode."""
        module = self.learner.module
        with self.profiler.phase({"val": "validation"}.get(split, split)):
            meter = evaluate(
                self.learner.step_function(module),
                self.loader(images, shuffle=False),
                modules=[module],
                accelerator=self.accelerator,
                meter=self.meter(),
            )
        return meter.values(split, self.config.loss)

    def log(self, values: dict[str, float]) -> None:
        """One row of metrics.csv, at the run's position."""
        self.logs.log(values, epoch=self.position.epoch, step=self.position.step)


def train(config: Config, *, progress: bool = True) -> Path:
    """Train, project and test a network; returns the run directory."""
    return Training(config, progress=progress).train()


def resume(run_dir: str | Path, *, progress: bool = True) -> Path:
    """Go on from the end of a run's last whole epoch; on the same machine the result is bit for bit the same.

    Raises:
        CheckpointError: if there is no such run, no usable checkpoint, or nothing left to do.
    """
    directory = RunDirectory.open(run_dir)
    if directory.scores_file.exists():
        raise CheckpointError(f"{run_dir} is complete: there is nothing to resume.")
    checkpoint = load_checkpoint(directory.last_checkpoint())
    config = config_from_yaml(checkpoint.config_yaml)
    if not directory.metrics_file.is_file():
        raise CheckpointError(f"{directory.metrics_file} is missing: the run can't be resumed.")
    run = Training(config, checkpoint=checkpoint, directory=directory, progress=progress)
    run.logs.cut_back(checkpoint.metrics_bytes)
    return run.train()
