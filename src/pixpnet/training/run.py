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

from pixpnet.backbones import Backbone, build_backbone
from pixpnet.config import Config, config_from_yaml, config_to_yaml, resolve_optimizer, validate
from pixpnet.data import ClassificationImages, EpochLoader, Splits, loader, open_splits
from pixpnet.errors import CheckpointError, ConfigError
from pixpnet.prototypes import PrototypeNetwork, build_network, regular_own_class
from pixpnet.receptive_fields import ReceptiveField, receptive_field
from pixpnet.seeds import seeded, stable_seed
from pixpnet.training.checkpoint import Checkpoint, load_checkpoint
from pixpnet.training.display import Display, EpochBar
from pixpnet.training.finish import finish
from pixpnet.training.learner import Learner
from pixpnet.training.logs import RunLogs
from pixpnet.training.loop import evaluate, train_epoch
from pixpnet.training.measures import EpochMeter
from pixpnet.training.optim import GroupSpec, build_optimizer
from pixpnet.training.project import project, similarity_table, start_prototypes_from_data
from pixpnet.training.readout import train_readout
from pixpnet.training.rundir import RunDirectory, write_text
from pixpnet.training.setup import make_accelerator
from pixpnet.training.stages import EpochPlan, plan_epochs
from pixpnet.training.state import Position, restore, save


class Run:
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
        self.train_batches = self._loader(self.splits.train, shuffle=True)
        self.learner = Learner(self.network, self.backbone, config=config, accelerator=self.accelerator)
        if checkpoint is not None:
            restore(self, checkpoint)
        if config.train.compile:
            self.network.backbone.compile()
        self.directory = directory or self._create_directory()
        resumed_at = None if checkpoint is None else checkpoint.step
        self.logs = RunLogs(self.directory, self.config, active=self.main, resumed_at=resumed_at)

    def _check_before_data(self) -> None:
        """What can be told to be wrong before images are made, so that nothing is written for it."""
        dataset, model, train = self.config.dataset, self.config.model, self.config.train
        if train.checkpoint and not train.push_prototypes:
            raise ConfigError("train.checkpoint keeps a projected network: it needs train.push-prototypes.")
        if train.checkpoint and dataset.val_size == 0:
            raise ConfigError("train.checkpoint needs validation images: dataset.val-size is 0.")
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
        """Run every epoch that is not done, then test; returns the run directory."""
        with seeded(self.seed, gpus=True):
            self._announce()
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
                    save(self, plan)
            finish(self)
        return self.directory.path

    def _run_epoch(self, plan: EpochPlan, bar: EpochBar) -> None:
        start = time.perf_counter()
        if plan.epoch == self.config.train.backbone_epochs + 1 and self.config.model.prototype_init == "data":
            self._start_prototypes()
        optimizer = self.learner.enter(plan)
        model = self.learner.training_module
        self.position.epoch = plan.epoch
        bar.describe(f"epoch {plan.epoch}/{len(self.plans)} {plan.stage}")
        self.train_batches.set_epoch(plan.epoch)
        meter = self._meter()
        self.position.sources = ()
        self.position.step += train_epoch(
            self.learner.step_function(model),
            self.train_batches,
            num_batches=len(self.train_batches),
            model=model,
            parameters=self.learner.parameters,
            optimizer=optimizer,
            accelerator=self.accelerator,
            meter=meter,
            accumulate=self.config.train.accumulate_grad_batches or 1,
            autocast_to=self.autocast_to,
            clip_norm=self.config.train.gradient_clip_norm,
            first_step=self.position.step,
            on_step=bar.step,
        )
        meter.gather(self.accelerator)
        values = meter.values("train", self.config.loss)
        rates = {f"hp/lr_group_{i}": group["lr"] for i, group in enumerate(optimizer.param_groups)}
        self.log({**rates, **values})
        if self.config.tb_logging:
            self.logs.histograms(self.network, self._first_images(), step=self.position.step)
        if plan.project:
            self.project()
        validated = plan.validate or plan.project
        if validated and self.splits.validation is not None:
            values |= self.evaluate(self.splits.validation, "val")
            self.log({name: value for name, value in values.items() if name.startswith("val_")})
        self.display.line(self._epoch_line(plan, values, time.perf_counter() - start))

    def _start_prototypes(self) -> None:
        start_prototypes_from_data(
            self.network,
            self._loader(self.splits.projection, shuffle=False),
            generator=torch.Generator().manual_seed(stable_seed(self.seed, "prototypes")),
            accelerator=self.accelerator,
        )

    def project(self) -> None:
        """Move the prototypes onto training patches, then train the head on the cached similarities."""
        self.position.sources = project(
            self.network,
            self._loader(self.splits.projection, shuffle=False),
            records=self.splits.projection.records,
            class_names=self.splits.class_names,
            root=self.splits.image_set.root,
            receptive_field=self.receptive_field,
            duplicate_filter=self.config.train.push_duplicate_filter,
            accelerator=self.accelerator,
        )
        if not list(self.network.head.parameters()):
            return
        similarities, labels = similarity_table(
            self.network,
            self._loader(self.splits.projection, shuffle=False),
            num_images=len(self.splits.projection),
            accelerator=self.accelerator,
        )
        group = GroupSpec(list(self.network.head.parameters()), self.config.optimizer.readout_lr, 0.0)
        train_readout(
            self.network.head,
            similarities,
            labels,
            optimizer=build_optimizer(
                resolve_optimizer(self.config.optimizer.name), [group], self.config.optimizer
            ),
            epochs=self.config.train.readout_push_epochs,
            batch_size=self.config.train.batch_size,
            xent=self.config.loss.xent,
            l1=self.config.loss.l1,
            generator=torch.Generator().manual_seed(stable_seed(self.seed, self.position.epoch, "readout")),
        )

    # -- helpers ------------------------------------------------------------------------------------------

    @property
    def test_batch_size(self) -> int:
        return self.config.test.batch_size or self.config.train.batch_size

    def _loader(self, images: ClassificationImages, *, shuffle: bool) -> EpochLoader:
        return loader(
            images,
            batch_size=self.config.train.batch_size if shuffle else self.test_batch_size,
            shuffle=shuffle,
            seed=self.seed,
            epoch=0,
            rank=self.accelerator.process_index,
            world_size=self.accelerator.num_processes,
            workers=self.config.dataset.workers,
            device=self.accelerator.device,
        )

    def _meter(self) -> EpochMeter:
        return EpochMeter(self.network.num_classes, self.accelerator.device)

    def _first_images(self) -> Tensor:
        batch = next(iter(self._loader(self.splits.projection, shuffle=False)))
        return batch.image.to(self.accelerator.device)

    def evaluate(self, images: ClassificationImages, split: str) -> dict[str, float]:
        """Losses and accuracies on images, in eval mode."""
        module = self.learner.module
        meter = evaluate(
            self.learner.step_function(module),
            self._loader(images, shuffle=False),
            modules=[module],
            accelerator=self.accelerator,
            meter=self._meter(),
        )
        return meter.values(split, self.config.loss)

    def log(self, values: dict[str, float]) -> None:
        """One row of metrics.csv, at the run's position."""
        self.logs.log(values, epoch=self.position.epoch, step=self.position.step)

    def _announce(self) -> None:
        field = self.receptive_field.for_kernel(self.network.kernel_size)
        self.display.line(
            f"{len(self.splits.train.records)} training images, {len(self.splits.class_names)} classes; "
            f"{self.backbone.name}/{self.backbone.layer}: {field.grid_size[0]}×"
            f"{field.grid_size[1]} patches with a mean receptive field of {field.mean_percent:.1f} % of the "
            f"{self.splits.image_size[0]}×{self.splits.image_size[1]} image; run {self.directory.path}"
        )
        if field.mean_percent >= 50:
            self.display.line("A patch sees half of the image or more: what a prototype shows is not a part.")

    def _epoch_line(self, plan: EpochPlan, values: dict[str, float], seconds: float) -> str:
        parts = [f"epoch {plan.epoch:>3}/{len(self.plans)}  {plan.stage:<8}"]
        parts += [f"loss {values['train_total_loss']:.3f}  train {values['train_accuracy']:.3f}"]
        if "val_accuracy" in values:
            parts.append(f"val {values['val_accuracy']:.3f}")
        parts += ["projected"] if plan.project else []
        return "  ".join([*parts, f"{seconds:.1f} s"])


def train(config: Config, *, progress: bool = True) -> Path:
    """Train, project and test a network; returns the run directory."""
    return Run(config, progress=progress).train()


def resume(run_dir: str | Path, *, progress: bool = True) -> Path:
    """Go on from the end of a run's last whole epoch; on the same machine the result is bit for bit the same.

    Raises:
        CheckpointError: if there is no such run, no usable checkpoint, or nothing left to do.
    """
    directory = RunDirectory.open(run_dir)
    if (directory.results / "scores.yaml").exists():
        raise CheckpointError(f"{run_dir} is complete: there is nothing to resume.")
    checkpoint = load_checkpoint(directory.last_checkpoint())
    config = config_from_yaml(checkpoint.config_yaml)
    if not directory.metrics_file.is_file():
        raise CheckpointError(f"{directory.metrics_file} is missing: the run can't be resumed.")
    run = Run(config, checkpoint=checkpoint, directory=directory, progress=progress)
    run.logs.cut_back(checkpoint.metrics_bytes)
    return run.train()
