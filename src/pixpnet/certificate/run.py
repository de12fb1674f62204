"""The certificate of a trained run, from its own test images."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from jaxtyping import Float
from torch import Tensor

from pixpnet.certificate.record import Certificate
from pixpnet.certificate.trials import certify
from pixpnet.data import ClassificationImages
from pixpnet.errors import DataError
from pixpnet.files import sha256_of
from pixpnet.receptive_fields import ReceptiveField
from pixpnet.runs import Run, RunDirectory, load
from pixpnet.types import Progress

BATCH_SIZE = 32


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

    Args:
        run: A trained network, or its run directory.
        trials: How many pairs of image and prototype.
        seed: Draws them.
        batch_size: Trials per batch; measured are three images each.
        receptive_field: What the boxes are, in place of the run's own (to try a wrong one).
        progress: Told (trials done, trials in all).

    Raises:
        CheckpointError: There is no such run.
        ConfigError: No trials, or a receptive field of another network.
        DataError: The test images are missing, or there are fewer than two.
    """
    run = run if isinstance(run, Run) else load(run)
    image_set = run.read_dataset()
    if not image_set.test:
        raise DataError(f"{image_set.root} has no test image, which a certificate is made with.")
    certificate = certify(
        run.network,
        _Pixels(run.images(image_set.test)),
        receptive_field=run.receptive_field() if receptive_field is None else receptive_field,
        trials=trials,
        seed=seed,
        batch_size=batch_size,
        progress=progress,
    )
    worst = certificate.worst_failure
    return replace(
        certificate,
        worst_failure=worst and replace(worst, image_id=image_set.test[worst.image].image_id),
        checkpoint=run.checkpoint.name,
        checkpoint_sha256=sha256_of(run.checkpoint),
    )


def certificate_file(checkpoint: Path) -> Path:
    """Where the certificate of a checkpoint lies: in its run's results, or beside one that lies alone."""
    run = RunDirectory.of_checkpoint(checkpoint)
    if run is not None:
        return run.results / "certificate.json"
    return checkpoint.with_name(f"{checkpoint.stem}.certificate.json")


class _Pixels:
    """The images alone, without their labels."""

    def __init__(self, images: ClassificationImages) -> None:
        self._images = images

    def __len__(self) -> int:
        return len(self._images)

    def __getitem__(self, index: int) -> Float[Tensor, "3 H W"]:
        return self._images[index].image
