"""What a run's validation images say of its predictions: how sure these may be, and what is unlike them."""

from __future__ import annotations

import logging
from bisect import bisect_right
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int
from scipy.optimize import minimize_scalar
from torch import Tensor

from pixpnet.data import ClassificationImages, loader
from pixpnet.errors import CheckpointError, DataError, FileError
from pixpnet.files import is_there, read_mapping, sha256_of, write_json
from pixpnet.modes import evaluating
from pixpnet.prototypes import PrototypeNetwork, PrototypeOutput
from pixpnet.records import checked
from pixpnet.runs.directory import RunDirectory
from pixpnet.runs.manifest import read_manifest
from pixpnet.runs.run import Run
from pixpnet.types import ImageRecord

_MOST_KEPT = 1001
_logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Calibration:
    """Of one checkpoint, from images that it has not learned from; never from test images."""

    temperature: float
    """What logits are divided by before the softmax."""
    familiarity: tuple[float, ...]
    """`familiarity` of every image, ascending; of more than 1,001 images, so many quantiles."""
    images: int
    checkpoint_sha256: str

    @classmethod
    def measured(
        cls,
        logits: Float[Tensor, "b c"],
        labels: Int[Tensor, " b"],
        familiarity: Float[Tensor, " b"],
        *,
        checkpoint_sha256: str,
    ) -> Calibration:
        """Of what a network says about validation images.

        The temperature is that of the least cross-entropy (Guo et al., On Calibration of Modern Neural
        Networks, 2017). Labels are smoothed by 1/(images + 2), as Platt's are (1999), so that it is above 0
        where every image is classified rightly.
        """
        values = familiarity.double().numpy()
        if len(values) > _MOST_KEPT:
            values = np.quantile(values, np.linspace(0, 1, _MOST_KEPT))
        kept = tuple(np.sort(values).tolist())
        return cls(_temperature(logits, labels), kept, len(logits), checkpoint_sha256)

    def unfamiliar(self, familiarity: float) -> float:
        """The share of validation images that are more familiar, in [0, 1].

        Whoever turns away all pictures of so much or more turns away one less this share of those pictures
        that are like the training's: the false-alarm rate.

        >>> Calibration(1.0, (0.2, 0.4, 0.6, 0.8), 4, "").unfamiliar(0.5)
        0.5
        """
        return 1 - bisect_right(self.familiarity, familiarity) / len(self.familiarity)


def familiarity(network: PrototypeNetwork, output: PrototypeOutput) -> Float[Tensor, " b"]:
    """How like the training patches of its predicted class each picture is.

    It is the mean of the similarities, weighted by what prototypes give to the class (not by what they take):
    with heads without weights the mean over the class's own prototypes. Tiled networks trained on 8 of 50
    species of birds told the test images of these from those of the 42 others at an AUROC of 0.82 and 0.92
    (two choices of the 8); the largest similarity of all at 0.66 and 0.65, the largest of the class's own at
    0.74 and 0.75. The probability did at 0.84 and 0.93, but was up to 0.98 for noise and plain colours, of
    which this was below that of every validation image.
    """
    weights = network.class_weights().clamp(min=0).T[output.logits.argmax(dim=1)]
    return (output.similarities * weights).sum(dim=1) / weights.sum(dim=1).clamp(min=1e-12)


def find_calibration(run: Run, *, batch_size: int = 32) -> Calibration:
    """The calibration in the run directory; where there is none of this checkpoint, `calibrate` makes it.

    Raises:
        DataError: There is none, and it can't be made; says why.
        CheckpointError: The file is damaged.
    """
    directory = RunDirectory.of_checkpoint(run.checkpoint)
    if directory is not None and is_there(directory.calibration_file):
        found = _read(directory.calibration_file)
        if found.checkpoint_sha256 == sha256_of(run.checkpoint):
            return found
    return calibrate(run, batch_size=batch_size)


def calibrate(run: Run, *, batch_size: int = 32) -> Calibration:
    """Measure a trained network on its run's validation images, as training does at its end.

    Args:
        run: As it was loaded; the checkpoint's file tells which network it is.
        batch_size: Images at a time.

    Raises:
        DataError: The run has no validation images, or they are gone.
    """
    records, directory = _validation_images(run)
    _logger.info("%s: %d validation images calibrate its predictions, once", directory.path, len(records))
    return keep_calibration(
        directory,
        run.network,
        run.images(records),
        checkpoint=run.checkpoint,
        batch_size=batch_size,
        workers=run.config.dataset.workers,
    )


def keep_calibration(
    directory: RunDirectory,
    network: PrototypeNetwork,
    images: ClassificationImages,
    *,
    checkpoint: Path,
    batch_size: int,
    workers: int | None,
) -> Calibration:
    """Measure a network on validation images, and write ``results/calibration.json``.

    Where the file can't be written, a warning says so.

    Args:
        directory: The run.
        network: Of the checkpoint.
        images: As the network takes them, at least one.
        checkpoint: Its file.
        batch_size: Images at a time.
        workers: Loader processes, as of ``dataset.workers``.
    """
    logits, labels, familiar = [], [], []
    device = network.prototypes.device
    with torch.inference_mode(), evaluating(network):
        for batch in loader(images, batch_size=batch_size, shuffle=False, seed=0, epoch=0, workers=workers):
            output = network(batch.image.to(device))
            logits.append(output.logits.cpu())
            familiar.append(familiarity(network, output).cpu())
            labels.append(torch.as_tensor(batch.label))
    found = Calibration.measured(
        torch.cat(logits),
        torch.cat(labels),
        torch.cat(familiar),
        checkpoint_sha256=sha256_of(checkpoint),
    )
    try:
        write_json(directory.calibration_file, asdict(found))
    except FileError as error:
        _logger.warning("the calibration is not kept: %s", error)
    return found


def _validation_images(run: Run) -> tuple[tuple[ImageRecord, ...], RunDirectory]:
    directory = RunDirectory.of_checkpoint(run.checkpoint)
    if directory is None or not is_there(directory.images_file):
        raise DataError(
            f"{run.checkpoint} lies in no run directory with its results/images.json, which tells the "
            "validation images; give a run directory as training left it."
        )
    listed = {name for name, image in read_manifest(directory.images_file).items() if image.split == "val"}
    if not listed:
        raise DataError(f"{directory.path} has no validation images; train with dataset.val-size above 0.")
    records = tuple(record for record in run.image_set.train if record.image_id in listed)
    if not records:
        raise DataError(f"the validation images of {directory.path} are gone from {run.image_set.root}.")
    return records, directory


def _temperature(logits: Float[Tensor, "b c"], labels: Int[Tensor, " b"]) -> float:
    count, classes = logits.shape
    targets = torch.full((count, classes), 1 / (count + 2) / max(1, classes - 1), dtype=torch.float64)
    targets[torch.arange(count), labels] = 1 - 1 / (count + 2)

    def cross_entropy(logarithm: float) -> float:
        cooled = logits.double() / np.exp(logarithm)
        return -float((targets * cooled.log_softmax(dim=1)).sum())

    found: Any = minimize_scalar(cross_entropy, bounds=(-7, 7), method="bounded")
    return float(np.exp(found.x))


def _read(path: Path) -> Calibration:
    values = read_mapping(path)
    try:
        found: Calibration = checked(Calibration, values)
        if not (found.familiarity and found.images > 0 and found.temperature > 0):
            raise ValueError("it holds no image, or no temperature above 0")
        if list(found.familiarity) != sorted(found.familiarity):
            raise ValueError("its familiarity does not ascend")
    except ValueError as error:
        raise CheckpointError(f"{path} is damaged ({error}); remove it to have it made anew.") from error
    return found
