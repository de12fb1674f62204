"""Trials of grounding: replace everything outside a region, measure the features again.

Each batch is measured three times: as it is, with all but the displayed boxes replaced, and with all but the
regions of upsampling replaced. The three have the same shape and order: on some networks the rounding of a
convolution depends on the size of the batch; within one shape it is the same on a CPU, to the last bit.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple, Protocol, runtime_checkable

import torch
from jaxtyping import Float, Int
from torch import Tensor

from pixpnet.certificate.record import DISPLAYED, Certificate, FailedTrial, Finding
from pixpnet.data import ClassificationImages
from pixpnet.errors import CheckpointError, ConfigError, DataError, FileError
from pixpnet.files import read_mapping, sha256_of, write_json
from pixpnet.modes import evaluating
from pixpnet.pixel_space import region_mappings
from pixpnet.prototypes import PrototypeNetwork
from pixpnet.receptive_fields import ReceptiveField
from pixpnet.runs import Run, RunDirectory, load
from pixpnet.seeds import stable_seed
from pixpnet.types import Box, Progress

BATCH_SIZE = 32

TOLERANCE = 1e-5
"""A feature patch z may move by `this · max(1, max |z|)`: rounding."""


SOURCE_TOLERANCE = 0.01
"""A prototype may differ from its patch by so much of the larger one's largest value: training may have been
on a GPU, whose products are coarser, or on features that were kept in half precision."""


@runtime_checkable
class Images(Protocol):
    """Normalised images [3 H W] by their number."""

    def __len__(self) -> int: ...

    def __getitem__(self, index: int, /) -> Tensor: ...


class Trial(NamedTuple):
    """One draw."""

    number: int
    image: int
    prototype: int
    other: int
    """The image that takes part if the replacement is another image."""


def _noise(trial: Trial, images: Images, *, shape: torch.Size, seed: int) -> Float[Tensor, "3 H W"]:
    generator = torch.Generator().manual_seed(stable_seed(seed, "noise", trial.number))
    return torch.randn(shape, generator=generator)


def _zeros(trial: Trial, images: Images, *, shape: torch.Size, seed: int) -> Float[Tensor, "3 H W"]:
    return torch.zeros(shape)


def _another_image(trial: Trial, images: Images, *, shape: torch.Size, seed: int) -> Float[Tensor, "3 H W"]:
    return images[trial.other]


REPLACEMENTS: dict[str, Callable[..., Float[Tensor, "3 H W"]]] = {
    "noise": _noise,
    "zeros": _zeros,
    "another image": _another_image,
}
"""What takes the place of everything else, in normalised values; trials take them in turn."""


class TrialOutcome(NamedTuple):
    """What one trial found in one region."""

    trial: Trial
    region: str
    replacement: str
    cell: tuple[int, int]
    box: Box
    unchanged: bool
    feature_change: float
    allowed: float
    similarity_change: float

    @property
    def failed(self) -> bool:
        return self.feature_change > self.allowed


def certify(
    network: PrototypeNetwork,
    images: Images,
    *,
    receptive_field: ReceptiveField,
    trials: int,
    seed: int,
    batch_size: int,
    progress: Progress | None = None,
) -> Certificate:
    """Try whether the pixels outside the displayed boxes touch the features behind them.

    Args:
        network: Measured in float32 and eval mode, on the device where it is; it comes back as it was.
        images: Two or more, of the size that the receptive field is for.
        receptive_field: Of the network's patches (``ReceptiveField.for_kernel``): it says what is displayed.
        trials: Image and prototype are drawn anew for each; the box is that of the prototype's best cell.
        seed: Draws the trials and the noise; none depends on the size of a batch.
        batch_size: Trials per batch.
        progress: Told (trials done, trials in all).

    Raises:
        ConfigError: No trials, or a receptive field of another network.
        DataError: Fewer than two images, or features that are not finite.
    """
    if trials < 1 or batch_size < 1:
        raise ConfigError(f"trials={trials}, batch_size={batch_size}: at least one of each is needed.")
    if len(images) < 2:
        raise DataError(
            f"A certificate needs two test images or more, one to replace the other; here: {len(images)}."
        )
    outcomes: list[TrialOutcome] = []
    draws = _draw(trials, num_images=len(images), num_prototypes=network.num_prototypes, seed=seed)
    with torch.no_grad(), evaluating(network), _full_precision(network.prototypes.device):
        for start in range(0, trials, batch_size):
            batch = draws[start : start + batch_size]
            outcomes += _measure(network, batch, images, receptive_field, seed=seed)
            if progress:
                progress(start + len(batch), trials)
    failed = [one for one in outcomes if one.failed and one.region == DISPLAYED]
    return Certificate(
        findings=tuple(_findings(outcomes)),
        seed=seed,
        tolerance=TOLERANCE,
        mean_percent=receptive_field.mean_percent,
        worst_failure=_failed_trial(max(failed, key=lambda one: one.feature_change)) if failed else None,
    )


def _draw(trials: int, *, num_images: int, num_prototypes: int, seed: int) -> list[Trial]:
    generator = torch.Generator().manual_seed(stable_seed(seed, "trials"))

    def numbers(low: int, high: int) -> Int[Tensor, "n"]:
        return torch.randint(low, high, (trials,), generator=generator)

    shown, prototypes = numbers(0, num_images), numbers(0, num_prototypes)
    others = (shown + numbers(1, num_images)) % num_images
    columns = zip(shown.tolist(), prototypes.tolist(), others.tolist(), strict=True)
    return [Trial(number, *row) for number, row in enumerate(columns)]


def _measure(
    network: PrototypeNetwork,
    trials: Sequence[Trial],
    images: Images,
    receptive_field: ReceptiveField,
    *,
    seed: int,
) -> Iterator[TrialOutcome]:
    """The outcomes of a batch, region by region."""
    originals = torch.stack([images[trial.image] for trial in trials])
    device = network.prototypes.device
    prototypes = torch.tensor([trial.prototype for trial in trials], device=device)
    z = _features(network, originals, receptive_field)
    cells = network.from_features(z).cells.gather(1, prototypes[:, None]).squeeze(1)
    before = network.patches_at(z, cells)
    similarities = network.pair_similarities(before, prototypes)
    allowed = (TOLERANCE * before.abs().amax(dim=1).clamp(min=1)).tolist()
    kinds = [list(REPLACEMENTS)[trial.number % len(REPLACEMENTS)] for trial in trials]
    others = [
        REPLACEMENTS[kind](trial, images, shape=original.shape, seed=seed)
        for kind, trial, original in zip(kinds, trials, originals, strict=True)
    ]
    places = [divmod(cell, receptive_field.grid_size[1]) for cell in cells.tolist()]
    for region, mapping in region_mappings().items():
        boxes = [mapping.region(receptive_field, *place) for place in places]
        changed = torch.stack(
            [_keep_box(*each) for each in zip(originals, others, boxes, strict=True)],
        )
        after = network.patches_at(_features(network, changed, receptive_field), cells)
        moved = (after - before).abs().amax(dim=1).tolist()
        differing = (network.pair_similarities(after, prototypes) - similarities).abs().tolist()
        unchanged = (changed == originals).flatten(1).all(dim=1).tolist()
        for index, trial in enumerate(trials):
            yield TrialOutcome(
                trial=trial,
                region=region,
                replacement=kinds[index],
                cell=places[index],
                box=boxes[index],
                unchanged=unchanged[index],
                feature_change=moved[index],
                allowed=allowed[index],
                similarity_change=differing[index],
            )


def _keep_box(
    original: Float[Tensor, "3 H W"], other: Float[Tensor, "3 H W"], box: Box
) -> Float[Tensor, "3 H W"]:
    """The other image, but the original's pixels where their centre lies in the box."""
    rows, columns = (
        slice(math.ceil(start - 0.5), math.ceil(end - 0.5))
        for start, end in ((box.top, box.bottom), (box.left, box.right))
    )
    kept = other.clone()
    kept[:, rows, columns] = original[:, rows, columns]
    return kept


def _features(
    network: PrototypeNetwork, images: Float[Tensor, "b 3 H W"], receptive_field: ReceptiveField
) -> Float[Tensor, "b d h w"]:
    z = network.features(images.to(network.prototypes.device))
    if not z.isfinite().all():
        raise DataError("The network's features are not finite; nothing can be said about their grounding.")
    patches = tuple(side - network.kernel_size + 1 for side in z.shape[-2:])
    if patches != receptive_field.grid_size or images.shape[-2:] != receptive_field.image_size:
        raise ConfigError(
            f"The receptive field is for images of {receptive_field.image_size} and a grid of "
            f"{receptive_field.grid_size} patches; here are {tuple(images.shape[-2:])} and {patches}."
        )
    return z


def _findings(outcomes: Sequence[TrialOutcome]) -> Iterator[Finding]:
    for region in region_mappings():
        for replacement in REPLACEMENTS:
            found = [one for one in outcomes if (one.region, one.replacement) == (region, replacement)]
            if found:
                yield Finding(
                    region=region,
                    replacement=replacement,
                    trials=len(found),
                    failures=sum(one.failed for one in found),
                    unchanged=sum(one.unchanged for one in found),
                    largest_feature_change=max(one.feature_change for one in found),
                    largest_similarity_change=max(one.similarity_change for one in found),
                )


def _failed_trial(outcome: TrialOutcome) -> FailedTrial:
    return FailedTrial(
        image=outcome.trial.image,
        image_id="",
        prototype=outcome.trial.prototype,
        cell=outcome.cell,
        box=outcome.box,
        replacement=outcome.replacement,
        feature_change=outcome.feature_change,
        allowed=outcome.allowed,
    )


@contextmanager
def _full_precision(device: torch.device) -> Iterator[None]:
    """float32 products are float32 products inside: no autocast, no TF32, no search for fast algorithms."""
    precision = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("highest")
    try:
        with (
            torch.autocast(device.type, enabled=False),
            torch.backends.cudnn.flags(
                enabled=torch.backends.cudnn.enabled, benchmark=False, deterministic=True, allow_tf32=False
            ),
        ):
            yield
    finally:
        torch.set_float32_matmul_precision(precision)


def verify(
    run: Run | str | Path,
    *,
    trials: int = 1000,
    seed: int = 0,
    batch_size: int = BATCH_SIZE,
    receptive_field: ReceptiveField | None = None,
    progress: Progress | None = None,
) -> Certificate:
    """Try, on sampled test images and prototypes, whether what lies outside a displayed box has an influence.

    Before that, every prototype is held against what the network sees at its source.

    Args:
        run: A trained network, or its run directory.
        trials: How many pairs of image and prototype.
        seed: Draws them.
        batch_size: Trials per batch; measured are three images each.
        receptive_field: What the boxes are, in place of the run's own (to try a wrong one).
        progress: Told (trials done, trials in all).

    >>> pixpnet.verify(RUN_DIR, trials=5).passed
    True

    Raises:
        CheckpointError: There is no such run, or a prototype is not the training patch that it should be.
        ConfigError: No trials, or a receptive field of another network.
        DataError: The test images are missing, or there are fewer than two.
    """
    run = run if isinstance(run, Run) else load(run)
    if not run.image_set.test:
        raise DataError(f"{run.image_set.root} has no test image, which a certificate is made with.")
    check_prototypes(run, batch_size=batch_size)
    certificate = certify(
        run.network,
        _Pixels(run.test_images),
        receptive_field=run.receptive_field() if receptive_field is None else receptive_field,
        trials=trials,
        seed=seed,
        batch_size=batch_size,
        progress=progress,
    )
    worst = certificate.worst_failure
    if worst is not None:
        worst = replace(worst, image_id=run.image_set.test[worst.image].image_id)
        if run.sources:
            worst = replace(worst, prototype=run.sources[worst.prototype].number)
    return replace(
        certificate,
        worst_failure=worst,
        checkpoint=run.checkpoint.name,
        checkpoint_sha256=sha256_of(run.checkpoint),
    )


@torch.no_grad()
def check_prototypes(run: Run, *, batch_size: int = BATCH_SIZE) -> None:
    """Check that each prototype is what the network sees at its source, if it has one.

    Raises:
        CheckpointError: It is not, beyond `SOURCE_TOLERANCE`.
        DataError: A training image can't be had, as of `Run.source_image`.
    """
    network, field = run.network, run.receptive_field()
    device, width = network.prototypes.device, field.grid_size[1]
    with evaluating(network), _full_precision(device):
        for start in range(0, len(run.sources), batch_size):
            some = run.sources[start : start + batch_size]
            z = _features(network, torch.stack([run.source_input(one) for one in some]), field)
            cells = torch.tensor([one.cell[0] * width + one.cell[1] for one in some], device=device)
            patches = network.patches_at(z, cells)
            prototypes = network.prototypes[start : start + batch_size].flatten(1)
            differing = (patches - prototypes).abs().amax(dim=1)
            allowed = SOURCE_TOLERANCE * patches.abs().amax(dim=1).maximum(prototypes.abs().amax(dim=1))
            for index in (differing > allowed).nonzero().flatten().tolist()[:1]:
                raise CheckpointError(
                    f"{run.checkpoint}: prototype {some[index].number} is not the patch that it should be "
                    f"at cell {some[index].cell} of {some[index].path}: the features there differ by "
                    f"{float(differing[index]):.2g}, and may by {float(allowed[index]):.2g}."
                )


def write_certificate(certificate: Certificate, checkpoint: Path) -> Path:
    """Write it to where the certificate of the checkpoint lies.

    Raises:
        FileError: It can't be written.
    """
    path = certificate_file(checkpoint)
    write_json(path, certificate.to_dict())
    return path


def certificate_file(checkpoint: Path) -> Path:
    """Where the certificate of a checkpoint lies: in its run's results, or beside one that lies alone."""
    run = RunDirectory.of_checkpoint(checkpoint)
    if run is not None:
        return run.results / "certificate.json"
    return checkpoint.with_name(f"{checkpoint.stem}.certificate.json")


def find_certificate(run: Run) -> Certificate | None:
    """The certificate in the run's file; None if it is missing, can't be read, or is another network's."""
    try:
        found = Certificate.from_dict(read_mapping(certificate_file(run.checkpoint)))
    except (FileError, DataError):
        return None
    return found if found.checkpoint_sha256 == sha256_of(run.checkpoint) else None


class _Pixels:
    """The images alone, without their labels."""

    def __init__(self, images: ClassificationImages) -> None:
        self._images = images

    def __len__(self) -> int:
        return len(self._images)

    def __getitem__(self, index: int) -> Float[Tensor, "3 H W"]:
        return self._images[index].image
