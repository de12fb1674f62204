"""A run: its stages, projection, readout and test, and the files that they leave."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import torch

from pixpnet.backbones import Backbone, TiledBackbone
from pixpnet.config import Config, config_to_yaml
from pixpnet.data import ClassificationImages, EpochLoader, Splits
from pixpnet.data import loader as make_loader
from pixpnet.files import write_text, write_yaml
from pixpnet.prototypes import Head, PrototypeNetwork
from pixpnet.receptive_fields import ReceptiveField
from pixpnet.runs import RunDirectory, keep_calibration, keep_thumbnails, load_checkpoint, object_shares
from pixpnet.seeds import seeded, stable_seed
from pixpnet.training.learner import RATE_COLUMNS
from pixpnet.training.loop import Learning, TrainedEpoch, score, train_epochs
from pixpnet.training.objective import EpochMeter, Forbidden
from pixpnet.training.plan import EpochPlan
from pixpnet.training.projection import (
    SimilarityTable,
    project_prototypes,
    read_out,
    similarity_table,
    source_patches,
    start_add_on,
    start_prototypes,
)
from pixpnet.training.pruning import prune_prototypes
from pixpnet.training.state import TrainState
from pixpnet.training.summary import announcement, closing_rows, epoch_line, model_info
from pixpnet.training.tools import EpochBar, Tools

UNEVEN = 3
"""How many times as many training images the largest class has as the smallest, where balance auto is on."""


def is_uneven(labels: Sequence[int]) -> bool:
    """Whether the largest class has UNEVEN times as many images as the smallest, or more.

    >>> is_uneven([0, 0, 0, 1]), is_uneven([0, 0, 1])
    (True, False)
    """
    counts = Counter(labels).values()
    return max(counts) >= UNEVEN * min(counts)


BALANCES: dict[str, Callable[[Sequence[int]], bool]] = {
    "off": lambda labels: False,
    "on": lambda labels: True,
    "auto": is_uneven,
}
"""What train.balance says -> whether classes of these images are drawn equally often."""

SPLITS = ("train", "val", "test")
"""In the names of what is logged."""


@dataclass(frozen=True)
class Trainer:
    """One run, ready to train (`training.setup`)."""

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
    forbidden: Forbidden | None = None

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
            if not config.train.tie_prototypes:
                position.sources = ()
            is_first = plan.epoch == config.train.backbone_epochs + 1
            is_start = is_first and config.train.start_from is None
            if is_start and config.model.add_on_init == "data":
                with tools.profiler.phase("start of the add-on"):
                    start_add_on(
                        self.state.learner.network,
                        self._loader(self.splits.projection, shuffle=False),
                        accelerator=tools.execution.accelerator,
                    )
            starts_anew = is_first and self.forbidden is not None and bool(self.forbidden.prototypes)
            if starts_anew or (is_start and config.model.prototype_init != "random"):
                with tools.profiler.phase("start of the prototypes"):
                    self._start_prototypes()
            if config.train.tie_prototypes:
                self._tie()
            learning = self.state.learner.enter_together(plan)
            bar.describe(f"epoch {plan.epoch}/{len(self.plans)} {plan.stage}")
            epochs_left = sum(other.stage == plan.stage for other in self.plans[plan.epoch - 1 :])
            tools.profiler.stage(plan.stage, steps=epochs_left * len(batches))
            return learning

        def on_step(meter: EpochMeter) -> None:
            bar.step(meter)
            tools.profiler.step()

        return train_epochs(
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
        """What follows the steps of an epoch: logs, average, projection, readout, pruning, validation."""
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
        if self.config.train.tie_prototypes:
            state.learner.network.settle()
        if plan.project:
            with tools.profiler.phase("projection"):
                self._project()
            with tools.profiler.phase("readout"):
                self._read_out()
        if self.config.train.prune and plan.epoch == len(self.plans):
            with tools.profiler.phase("pruning"):
                self._prune()
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
            pure=self.config.model.prototype_init == "pure",
            forbidden=self.forbidden,
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
        self.state.learner.network.patches = None

    def _tie(self) -> None:
        """Tie the prototypes to the patches that they come from, at first to the nearest ones."""
        network = self.state.learner.network
        network.prototypes.requires_grad_(False)
        if network.patches is not None:
            return
        if not self.state.position.sources:
            with self.tools.profiler.phase("projection"):
                self._project()
        patches = source_patches(
            self.splits.projection, self.state.position.sources, kernel_size=network.kernel_size
        )
        network.patches = patches.to(self.tools.execution.accelerator.device)

    def _read_out(self) -> None:
        """Train the head, if it has parameters, on the similarities of the training images."""
        head = self.state.learner.network.head
        if [*head.parameters()]:  # else the pass would be for nothing
            self._train_head(head, self._table(self.splits.projection))

    def _train_head(self, head: Head, table: SimilarityTable) -> None:
        """Train a head on a table of its prototypes."""
        read_out(head, table, config=self.config, seed=self.seed, epoch=self.state.position.epoch)

    def _table(self, images: ClassificationImages) -> SimilarityTable:
        return similarity_table(
            self.state.learner.network,
            self._loader(images, shuffle=False),
            num_images=len(images),
            accelerator=self.tools.execution.accelerator,
        )

    def _prune(self) -> None:
        """Take away prototypes that add nothing, and write which."""
        position, accelerator = self.state.position, self.tools.execution.accelerator
        assert self.splits.validation is not None
        pruning, position.sources = prune_prototypes(
            self.state.learner.network,
            sources=position.sources,
            on_object=object_shares(self.splits.projection, position.sources),
            training=self._table(self.splits.projection),
            validation=self._table(self.splits.validation),
            read_out=self._train_head,
        )
        self.state.learner.forget()
        if accelerator.is_main_process:
            pruning.write(self.directory.pruned_file)
        self.tools.display.line(f"{pruning}")

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

    @cached_property
    def _config_yaml(self) -> str:
        """Made once: it would take as long as the rest of a small network's checkpoint."""
        return config_to_yaml(self.config)

    def _save(self, plan: EpochPlan) -> None:
        """Write the checkpoint of an epoch; under train.checkpoint, a projected one may be the best."""
        logs = self.tools.logs
        if self.tools.execution.accelerator.is_main_process:
            may_be_best = self.config.train.checkpoint and plan.project
            self.state.save(
                self.directory,
                self._config_yaml,
                self.splits,
                seed=self.seed,
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
        with nullcontext() if best == last else self._holding(best):
            if self.config.train.checkpoint:
                of_best = dict(scores) if best == last else self._score(self.splits.test, "test")
                scores |= {f"best_{name}": value for name, value in of_best.items()}
            self._calibrate(best)
        if not tools.execution.accelerator.is_main_process:
            return
        if self.config.train.thumbnails:
            with tools.profiler.phase("thumbnails"):
                of_best = () if best == last else load_checkpoint(best).sources
                keep_thumbnails(directory, (*state.position.sources, *of_best), self.splits.projection)
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

    @contextmanager
    def _holding(self, path: Path) -> Iterator[None]:
        """The network has the values of another checkpoint for a while."""
        network: PrototypeNetwork = self.state.network
        own = {name: tensor.clone() for name, tensor in network.state_dict().items()}
        network.load_state_dict(load_checkpoint(path).network)
        try:
            yield
        finally:
            network.load_state_dict(own)

    def _calibrate(self, checkpoint: Path) -> None:
        """Keep what the validation images say of the predictions of a checkpoint, whose values are held."""
        images = self.splits.validation
        if images is None or not self.tools.execution.accelerator.is_main_process:
            return
        with self.tools.profiler.phase("calibration"):
            keep_calibration(
                self.directory,
                self.state.learner.network,
                images,
                checkpoint=checkpoint,
                batch_size=self._test_batch_size,
                workers=self.config.dataset.workers,
            )

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
            balanced=shuffle and BALANCES[self.config.train.balance](images.labels),
        )

    def _log(self, values: dict[str, float]) -> None:
        """One row of metrics.csv, at the run's position."""
        position = self.state.position
        self.tools.logs.log(values, epoch=position.epoch, step=position.step)
