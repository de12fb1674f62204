"""The set-up of a run: all that its training needs, made of its configuration or of its last checkpoint."""

from __future__ import annotations

import logging
import math
import os
import secrets
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import asdict, replace
from pathlib import Path

import torch
from accelerate import Accelerator
from accelerate.utils import broadcast_object_list
from jaxtyping import Bool, Float
from rich.console import Console
from torch import Tensor

from pixpnet.backbones import Backbone, TiledBackbone, backbone_of
from pixpnet.choices import choose
from pixpnet.config import Config, config_from_yaml, config_to_yaml, validate
from pixpnet.data import FeatureExtractor, Splits, fingerprint, keep_features, open_splits
from pixpnet.errors import CheckpointError, ConfigError, DataError
from pixpnet.files import is_there, real_path, write_json, write_text
from pixpnet.modes import evaluating
from pixpnet.prototypes import PROTOTYPES_PER_CLASS, PrototypeNetwork, build_network, regular_own_class
from pixpnet.receptive_fields import ReceptiveField, receptive_field
from pixpnet.runs import (
    Checkpoint,
    Run,
    RunDirectory,
    changes_since,
    forbidden_patches,
    load,
    load_checkpoint,
    write_manifest,
)
from pixpnet.seeds import seeded
from pixpnet.training.learner import RATE_COLUMNS, Learner
from pixpnet.training.loop import make_execution
from pixpnet.training.memory import find_batch_size, require_gpu, require_step
from pixpnet.training.objective import Forbidden
from pixpnet.training.plan import plan_epochs
from pixpnet.training.profiling import make_profiler
from pixpnet.training.state import TrainState
from pixpnet.training.tools import Display, RunLogs, Tools
from pixpnet.training.trainer import SPLITS, Trainer
from pixpnet.types import Progress, PrototypeSource

ON_CHANGED_DATA = {"stop": True, "continue": False}
"""What happens to a run whose images have changed -> whether it stops."""

_logger = logging.getLogger(__name__)


def train(config: Config, *, progress: bool = True) -> Path:
    """Train, project and test a network; returns the run directory.

    >>> from pixpnet.config import parse_config
    >>> places = f"--dataset.name folder --dataset.root {PHOTOS} --log-dir {OUT}/runs"
    >>> network = "--model.feature-extractor small_resnet --model.no-pretrained"
    >>> epochs = "--train.epochs 2 --train.backbone-epochs 0"
    >>> config = parse_config(f"{places} {network} {epochs}".split())
    >>> pixpnet.load(pixpnet.train(config, progress=False)).epoch
    2

    Raises:
        PixPNetError: Options, weights or data that can't work, or values that are no longer finite.
    """
    run = _begin(config, progress=progress)
    with run.directory.writing() if run.tools.execution.accelerator.is_main_process else nullcontext():
        return run.train()


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
        on_changed_data: What happens where the images have changed since the run began; where it continues,
            they are named in a warning.
        progress: Whether to show bars and lines.

    Raises:
        CheckpointError: if there is no such run, no usable checkpoint, or nothing left to do.
        ConfigError: on_changed_data is neither; the name of the folder is not UTF-8.
        DataError: The images have changed.
        FileError: Another process writes to the run.
    """
    directory = RunDirectory.open(run_dir)
    directory.check_name()
    stops = choose(ON_CHANGED_DATA, on_changed_data, what="on-changed-data")
    is_main = os.environ.get("RANK", "0") == "0"  # of the processes that torchrun has started
    with directory.writing() if is_main else nullcontext():
        return _go_on(directory, dataset_root, stops_on_change=stops, progress=progress)


def _go_on(
    directory: RunDirectory, dataset_root: str | Path | None, *, stops_on_change: bool, progress: bool
) -> Path:
    if directory.scores_file.exists():
        raise CheckpointError(f"{directory.path} is complete: there is nothing to resume.")
    checkpoint = load_checkpoint(directory.last_checkpoint())
    config = config_from_yaml(checkpoint.config_yaml)
    if dataset_root is not None:
        config = replace(config, dataset=replace(config.dataset, root=str(dataset_root)))
    if not directory.metrics_file.is_file():
        raise CheckpointError(f"{directory.metrics_file} is missing: the run can't be resumed.")
    run = _begin(
        config,
        checkpoint=checkpoint,
        directory=directory,
        stops_on_change=stops_on_change,
        progress=progress,
    )
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
    if not is_there(file):  # runs of older versions
        _logger.warning("%s is missing: whether the images are those of the beginning is unknown", file)
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
) -> Trainer:
    """All that a run needs: from its configuration alone, or where its checkpoint was taken."""
    validate(config)
    seed = config.seed if config.seed is not None else secrets.randbelow(2**31)
    plans = plan_epochs(config.train, config.optimizer)
    execution = make_execution(config)
    accelerator = execution.accelerator
    seed = int(broadcast_object_list([seed])[0])
    dataset = replace(config.dataset, root=str(real_path(config.dataset.root)))
    config = replace(config, seed=seed, dataset=dataset)
    if config.train.start_from is not None:
        start_from = str(real_path(config.train.start_from))
        config = replace(config, train=replace(config.train, start_from=start_from))
    display = Display(Console(stderr=True), progress and accelerator.is_main_process)
    with seeded(seed, gpus=True):
        with_weights = checkpoint is None and config.train.start_from is None
        backbone = backbone_of(config.model, with_weights=with_weights)
        _check_before_data(config, accelerator.device)
        splits = _open_splits(config, accelerator, display)
        if directory is not None and checkpoint is not None:
            _check_images(directory, splits, checkpoint, stops_on_change=stops_on_change)
        if config.model.num_prototypes is None:
            number = PROTOTYPES_PER_CLASS * len(splits.class_names)
            config = replace(config, model=replace(config.model, num_prototypes=number))
        starts_from = checkpoint is None and config.train.start_from is not None
        parent = _parent(config, splits) if starts_from else None
        network = build_network(
            config.model,
            num_classes=len(splits.class_names),
            backbone=backbone,
            own_class=_own_class_before(config, checkpoint, parent),
            generator=torch.Generator().manual_seed(seed),
        )
    if parent is not None:
        _start_from(parent, network)
    config = replace(config, dataset=replace(config.dataset, bits=splits.image_set.reading.bits))
    field = _patch_field(backbone, splits.image_size, network.kernel_size)
    if accelerator.device.type == "cpu":
        require_step(network, config, splits, cells=math.prod(field.grid_size))
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
        with display.rendering() as bar:
            splits = features_in_place(config, splits, backbone, accelerator=accelerator, progress=bar)
    if config.train.compile:
        network.backbone.compile()
    forbidden = None
    if patches := _patches_forbidden_before(directory, parent):
        forbidden = _forbidden(patches, parent, splits, cells=field.grid_size, device=accelerator.device)
        state.learner.forbid(forbidden)
        _logger.info("forbidden patches that prototypes are kept away from: %d", len(patches))
    if directory is None:
        directory = _create_directory(config, splits, patches, is_main=accelerator.is_main_process)
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
    return Trainer(config, seed, plans, splits, backbone, field, directory, state, tools, forbidden)


def _check_before_data(config: Config, device: torch.device) -> None:
    """What can be told to be wrong before images are made, so that nothing is written for it."""
    dataset, model, train = config.dataset, config.model, config.train
    if train.checkpoint and not train.push_prototypes:
        raise ConfigError("train.checkpoint keeps a projected network: it needs train.push-prototypes.")
    if train.checkpoint and dataset.val_size == 0:
        raise ConfigError("train.checkpoint needs validation images: dataset.val-size is 0.")
    if train.prune and not train.push_prototypes:
        raise ConfigError("train.prune takes projected prototypes away: it needs train.push-prototypes.")
    if train.prune and dataset.val_size == 0:
        raise ConfigError("train.prune needs validation images, which have the say: dataset.val-size is 0.")
    if train.prune and train.checkpoint:
        raise ConfigError(
            "train.prune does not go with train.checkpoint: what is pruned is the last network, and the best "
            "may be an earlier one."
        )
    if train.hparam_tune:
        require_gpu(device)
    if dataset.name == "SYNTHBIRDS" and model.num_prototypes is not None:
        regular_own_class(model.num_prototypes, dataset.classes, class_specific=model.class_specific)


def _parent(config: Config, splits: Splits) -> Run:
    """The run whose network is trained on.

    Raises:
        CheckpointError: There is no such run.
        DataError: It was trained on other classes.
    """
    path = config.train.start_from
    assert path is not None
    parent = load(path)
    if parent.class_names != splits.class_names:
        raise DataError(f"{path} (train.start-from) has other classes than {splits.image_set.root}.")
    return parent


def _own_class_before(
    config: Config, checkpoint: Checkpoint | None, parent: Run | None
) -> Bool[Tensor, "p c"] | None:
    """Whose the prototypes are of a network that is gone on with, which may be pruned; None: it is new."""
    if checkpoint is not None:
        return checkpoint.network.get("head.own_class")
    if parent is not None and parent.config.model.num_prototypes == config.model.num_prototypes:
        return parent.network.own_class
    return None


def _start_from(parent: Run, network: PrototypeNetwork) -> None:
    """Give a network the values of a trained one.

    Raises:
        CheckpointError: That network is built otherwise.
    """
    try:
        network.load_state_dict(parent.network.state_dict())
    except RuntimeError as error:
        raise CheckpointError(
            f"{parent.checkpoint} (train.start-from) holds a network that is built otherwise than "
            f"the options of model say: {str(error).splitlines()[1].strip()[:200]}"
        ) from error


def _patches_forbidden_before(
    directory: RunDirectory | None, parent: Run | None
) -> tuple[PrototypeSource, ...]:
    """Those that were forbidden in the run that is trained on, or that this run began with."""
    directory = RunDirectory.of_checkpoint(parent.checkpoint) if parent is not None else directory
    return () if directory is None else forbidden_patches(directory)


def _forbidden(
    patches: Sequence[PrototypeSource],
    parent: Run | None,
    splits: Splits,
    *,
    cells: tuple[int, int],
    device: torch.device,
) -> Forbidden:
    """The patches as training looks at them.

    Raises:
        DataError: The image of one is not among the training images.
    """
    images = splits.projection
    index_of = {record.image_id: index for index, record in enumerate(images.records)}
    if gone := [one.path for one in patches if one.image_id not in index_of]:
        raise DataError(f"{gone[0]}, of which a patch was forbidden, is not among the training images.")
    places = {(one.image_id, one.cell) for one in patches}
    sources = parent.sources if parent is not None else ()
    return Forbidden(
        torch.stack([images[index_of[one.image_id]].image for one in patches]).to(device),
        torch.tensor([one.cell[0] * cells[1] + one.cell[1] for one in patches], device=device),
        tuple(one.prototype for one in sources if (one.image_id, one.cell) in places),
    )


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


def features_in_place(
    config: Config,
    splits: Splits,
    backbone: Backbone | TiledBackbone,
    *,
    accelerator: Accelerator,
    progress: Progress,
) -> Splits:
    """The splits with the frozen backbone's features in place of images, computed where they are not kept.

    Raises:
        DataError: They cannot be kept.
    """
    device, together = accelerator.device, torch.channels_last
    backbone.to(memory_format=together)  # pyright: ignore[reportCallIssue]

    def extractor(one: Backbone | TiledBackbone) -> FeatureExtractor:
        def compute(images: Float[Tensor, "b 3 H W"]) -> Float[Tensor, "b d h w"]:
            return one(images.to(device, memory_format=together))

        shape = (one.out_channels, *receptive_field(one, splits.image_size).grid_size)
        return FeatureExtractor(compute, shape, fingerprint(one))

    networks = backbone.each_alone() if isinstance(backbone, TiledBackbone) else [backbone]
    with torch.no_grad(), evaluating(*networks):
        return keep_features(
            splits,
            [extractor(one) for one in networks],
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


def _create_directory(
    config: Config, splits: Splits, forbidden: Sequence[PrototypeSource], *, is_main: bool
) -> RunDirectory:
    path = str(RunDirectory.create(config).path) if is_main else ""
    directory = RunDirectory(Path(str(broadcast_object_list([path])[0])))
    if is_main:
        write_text(directory.config_file, config_to_yaml(config))
        write_manifest(directory.images_file, splits)
        if forbidden:
            write_json(directory.forbidden_file, [asdict(source) for source in forbidden])
    return directory
