"""Predictions of many pictures, one after another: class, how sure, how unlike the training, and evidence."""

from __future__ import annotations

import logging
import os
from collections import deque
from collections.abc import Generator, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass
from functools import cached_property, partial
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from jaxtyping import Float
from PIL import Image
from torch import Tensor

from pixpnet.data import PictureSource, box_in_picture, free_cores, name_of
from pixpnet.errors import ConfigError, DataError
from pixpnet.explanation.evidence import Evidence, Witnesses
from pixpnet.explanation.photograph import read_input
from pixpnet.prototypes import PrototypeOutput
from pixpnet.runs import Calibration, Run, familiarity, find_calibration, load

_MOST_THREADS = 16
_ONE = (str, os.PathLike, bytes, bytearray, memoryview, Image.Image)
"""One picture, though some of these can be iterated over, as opened files can."""
_logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Prediction:
    """What a run says about one picture; of one that can't be read, the error and nothing else."""

    path: str
    """Of its file as it was given; else "picture" and its number, from 0."""
    predicted: int | None = None
    class_name: str | None = None
    probability: float | None = None
    """Of the predicted class: calibrated where the run has a calibration, else what `explain` shows."""
    margin: float | None = None
    """That probability less the second class's."""
    second_class: str | None = None
    unfamiliar: float | None = None
    """The share of validation images that are more familiar, from 0 to 1: one less it is the false-alarm rate
    of turning away what is as unfamiliar (`Calibration.unfamiliar`). None without a calibration."""
    evidence: tuple[Evidence, ...] = ()
    """The prototypes that speak most for the class, as of `explain`."""
    error: str | None = None
    """Why the picture can't be read."""

    def to_dict(self) -> dict[str, Any]:
        """Plain values, ready for JSON."""
        values = {name: getattr(self, name) for name in self.__dataclass_fields__}
        return {**values, "evidence": [one.to_dict() for one in self.evidence]}


def predict(
    run: Run | str | Path,
    pictures: PictureSource | Tensor | Iterable[PictureSource | Tensor],
    *,
    top_k: int = 3,
    batch_size: int | None = None,
    threads: int | None = None,
    calibration: Calibration | None = None,
) -> Iterator[Prediction]:
    """Predict pictures in their order, with memory for a few batches of them.

    A picture that can't be read gives a prediction with its error. Class and evidence are those of `explain`,
    but for rounding.

    Args:
        run: A run loaded once serves many calls.
        pictures: One or many of what `explain` takes: files, arrays, Pillow images, tensors, or a batch of
            arrays or tensors. For folders and patterns there is `pixpnet.data.find_pictures`.
        top_k: Prototypes of each picture's evidence.
        batch_size: Pictures at a time; None: 8, on a GPU 64.
        threads: Decode pictures; None: one a core, at most 16.
        calibration: None: the run's, which is made of its validation images where there is none yet. Where
            it can't be, a warning says why.

    >>> for one in pixpnet.predict(RUN_DIR, [PHOTO, "missing.png"]):
    ...     print(one.error or one.class_name in pixpnet.load(RUN_DIR).class_names)
    True
    missing.png is missing; wanted an image.

    Raises:
        CheckpointError: There is no such run, or its calibration is damaged.
        ConfigError: A number is below 1 (top_k: below 0).
    """
    run = run if isinstance(run, Run) else load(run)
    predictor = Predictor(run, batch_size=batch_size, threads=threads, given=calibration)
    return predictor.predict(pictures, top_k=top_k)


@dataclass(frozen=True, eq=False)
class Predictor:
    """A run for many calls of `predict`: what these need is found once."""

    run: Run
    batch_size: int | None = None
    threads: int | None = None
    given: Calibration | None = None
    """In place of the run's calibration."""

    @cached_property
    def calibration(self) -> Calibration | None:
        """None: there is none, and none can be made; a warning says why."""
        if self.given is not None:
            return self.given
        try:
            return find_calibration(self.run, batch_size=self.most_at_once)
        except DataError as error:
            _logger.warning("probabilities are not calibrated, and `unfamiliar` is left out: %s", error)
            return None

    def predict(
        self, pictures: PictureSource | Tensor | Iterable[PictureSource | Tensor], *, top_k: int
    ) -> Iterator[Prediction]:
        """As the function `predict`, which says what is raised."""
        threads = self.threads or _usual_threads()
        if top_k < 0 or self.most_at_once < 1 or threads < 1:
            raise ConfigError("predict: batch_size and threads are to be 1 or more, top_k 0 or more.")
        _ = self.calibration  # what is wrong with it is better known before the work
        return self._predictions(_each(pictures), top_k, threads)

    def _predictions(
        self, pictures: Iterable[PictureSource | Tensor], top_k: int, threads: int
    ) -> Iterator[Prediction]:
        witnesses = self._witnesses  # before threads decode: torch.fx, which may trace now, sees all modules
        with closing(_batches(self.run, pictures, self.most_at_once, threads)) as batches:
            for batch in batches:
                yield from _of_batch(self.run, witnesses, self.calibration, batch, top_k=top_k)

    @property
    def most_at_once(self) -> int:
        """Pictures in one forward pass."""
        return self.batch_size or _usual_batch(self.run)

    @cached_property
    def _witnesses(self) -> Witnesses:
        run = self.run
        return Witnesses.of(
            run.network,
            class_names=run.class_names,
            receptive_field=run.receptive_field(),
            sources=run.sources,
        )


def outputs_of(
    run: Run, pictures: PictureSource | Tensor | Iterable[PictureSource | Tensor]
) -> PrototypeOutput:
    """What a run's network says of pictures, given as to `predict`; on the CPU.

    Raises:
        DataError: One of them can't be read.
    """
    none = torch.zeros(0, run.network.num_prototypes)
    found = [PrototypeOutput(torch.zeros(0, run.network.num_classes), none, none, none.long())]
    for batch in _batches(run, _each(pictures), _usual_batch(run), _usual_threads()):
        if errors := [one.error for one in batch if one.error is not None]:
            raise DataError(errors[0])
        output = _output(run, [one.seen for one in batch if one.seen is not None])
        found.append(PrototypeOutput(*(part.cpu() for part in output)))
    return PrototypeOutput(*map(torch.cat, zip(*found, strict=True)))


def _usual_batch(run: Run) -> int:
    return 64 if run.device.type == "cuda" else 8


def _usual_threads() -> int:
    return min(_MOST_THREADS, free_cores())


class _Read(NamedTuple):
    """A picture, decoded."""

    path: str
    seen: Float[Tensor, "3 H W"] | None
    window: tuple[int, int, int, int] | None
    error: str | None


def _batches(
    run: Run, pictures: Iterable[PictureSource | Tensor], batch_size: int, threads: int
) -> Generator[list[_Read], None, None]:
    """The pictures, decoded by threads, some of them ahead."""
    pool = ThreadPoolExecutor(threads)
    try:
        read = _in_order(pool, run, pictures, ahead=batch_size + threads)
        while batch := list(islice(read, batch_size)):
            yield batch
    finally:
        pool.shutdown(cancel_futures=True)


@torch.inference_mode()
def _output(run: Run, seen: Sequence[Float[Tensor, "3 H W"]]) -> PrototypeOutput:
    return run.network(torch.stack([one.to(run.device) for one in seen]))


def _of_batch(
    run: Run,
    witnesses: Witnesses,
    calibration: Calibration | None,
    batch: Sequence[_Read],
    *,
    top_k: int,
) -> Iterator[Prediction]:
    seen = [one.seen for one in batch if one.seen is not None]
    temperature = 1 if calibration is None else calibration.temperature
    rows = iter(())
    if seen:
        output = _output(run, seen)
        familiar = familiarity(run.network, output).tolist()
        logits, similarities, cells = (
            one.cpu() for one in (output.logits, output.similarities, output.cells)
        )
        rows = zip(logits.double(), similarities, cells, familiar, strict=True)
    for one in batch:
        if one.seen is None:
            yield Prediction(one.path, error=one.error)
            continue
        own_logits, own_similarities, own_cells, own_familiarity = next(rows)
        predicted, *second = own_logits.topk(min(2, len(own_logits))).indices.tolist()
        probabilities = (own_logits / temperature).softmax(dim=0)
        probability = float(probabilities[predicted])
        placed = partial(box_in_picture, window=one.window, geometry=run.geometry) if one.window else None
        yield Prediction(
            path=one.path,
            predicted=predicted,
            class_name=run.class_names[predicted],
            probability=probability,
            margin=probability - float(probabilities[second].sum()),
            second_class=run.class_names[second[0]] if second else None,
            unfamiliar=None if calibration is None else calibration.unfamiliar(own_familiarity),
            evidence=witnesses.evidence(own_similarities, own_cells, predicted, most=top_k, placed=placed),
        )


def _in_order(
    pool: ThreadPoolExecutor, run: Run, pictures: Iterable[PictureSource | Tensor], *, ahead: int
) -> Iterator[_Read]:
    """The pictures, decoded by threads, so many at a time."""
    waiting: deque[Future[_Read]] = deque()
    for number, picture in enumerate(pictures):
        waiting.append(pool.submit(_read, run, picture, number))
        if len(waiting) > ahead:
            yield waiting.popleft().result()
    while waiting:
        yield waiting.popleft().result()


def _read(run: Run, picture: PictureSource | Tensor, number: int) -> _Read:
    nameless = f"picture {number}"
    path = nameless if isinstance(picture, Tensor) else name_of(picture, otherwise=nameless)
    try:
        seen, photograph = read_input(run, picture)
    except DataError as error:
        return _Read(path, None, None, str(error))
    return _Read(path, seen, None if photograph is None else photograph.window, None)


def _each(pictures: PictureSource | Tensor | Iterable[PictureSource | Tensor]) -> Iterable[Any]:
    """One picture, or those of a list, an iterator, a batch or an array of paths."""
    if isinstance(pictures, np.ndarray) and pictures.dtype.kind in "OU":
        return pictures
    if isinstance(pictures, (np.ndarray, Tensor)):
        return pictures if pictures.ndim == 4 else [pictures]
    if isinstance(pictures, Iterable) and not isinstance(pictures, _ONE) and not hasattr(pictures, "read"):
        return pictures
    return [pictures]
