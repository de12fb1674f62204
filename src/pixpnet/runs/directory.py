"""The run directory: its paths, and its table of metrics."""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from pixpnet.config import Config
from pixpnet.errors import CheckpointError, ConfigError, FileError
from pixpnet.files import MOST_YAML, csv_text, is_there, read_text, real_path, sole_writer
from pixpnet.types import PrototypeSource

MODEL_FILE = "model.safetensors"
"""Tensors of a network that stands alone (`write_model`), in a folder of its own."""

CHECKPOINT_NAME = re.compile(r"epoch=(\d+)-step=(\d+)\.ckpt")


@dataclass(frozen=True)
class RunDirectory:
    """Where the parts of a run lie under its folder."""

    path: Path

    @classmethod
    def create(cls, config: Config, *, now: datetime | None = None) -> RunDirectory:
        """Make a new, empty folder ``<log-dir>/<dataset>[__run-id][_DEBUG]/protonet/<timestamp>[_n]``.

        Raises:
            ConfigError: if the log directory can't be written to, or its name is not UTF-8.
        """
        name = config.dataset.name.lower()
        name += f"__{config.run_id}" if config.run_id else ""
        name += "_DEBUG" if config.debug else ""
        stamp = (now or datetime.now()).strftime("%Y-%m-%dT%H_%M_%S")
        parent = Path(config.log_dir) / name / config.model.name
        cls(parent).check_name()
        try:
            parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise ConfigError(f"log-dir: no run directory can be made in {parent}: {error}") from error
        for number in range(1_000_000):
            path = parent / (f"{stamp}_{number}" if number else stamp)
            try:
                path.mkdir()
            except FileExistsError:
                continue
            return cls(path)
        raise CheckpointError(f"{parent} holds a million runs of {stamp}.")

    @classmethod
    def open(cls, path: str | Path) -> RunDirectory:
        """An existing run directory.

        Raises:
            CheckpointError: if the folder isn't there or isn't a run directory.
        """
        run = cls(Path(path))
        if run.path.is_file():
            raise CheckpointError(f"{path} is a file; give the folder of a run.")
        if not run.path.is_dir():
            name, hint = Path(path).as_posix(), ""
            if re.fullmatch(r"[^./][^/]*/[^/]+", name) and not Path(path).parent.exists():
                hint = f" If it is a model on the hub: `hf download {name} --local-dir DIR`, and give DIR."
            raise CheckpointError(f"{path}: no such run directory.{hint}")
        if (run.path / MODEL_FILE).is_file():
            raise CheckpointError(
                f"{path} is a model that stands alone (`pixpnet export`); wanted the run that it is of, "
                "which holds how it came about."
            )
        if not run.config_file.is_file():
            raise CheckpointError(f"{path} is not a run directory: it has no results/config.yaml.")
        return run

    @classmethod
    def newest(cls, folder: str | Path) -> RunDirectory:
        """The run in a folder, however deep, that was started last; the folder itself may be one.

        Raises:
            CheckpointError: There is no run.
        """
        runs = [path.parents[1] for path in Path(folder).rglob("results/config.yaml")]
        if not runs:
            raise CheckpointError(f"there is no run in {real_path(folder)}.")
        return cls(max(runs, key=lambda run: run.name))

    @classmethod
    def of_checkpoint(cls, checkpoint: Path) -> RunDirectory | None:
        """The run that a checkpoint lies in, or the folder of a model; None for one that lies elsewhere."""
        if checkpoint.name == MODEL_FILE:
            return cls(checkpoint.parent)
        if len(checkpoint.parents) > 3:
            run = cls(checkpoint.parents[3])
            if run.checkpoints == checkpoint.parent and run.config_file.is_file():
                return run
        return None

    @classmethod
    def around(cls, place: Path) -> RunDirectory | None:
        """The run that a folder is, or that a file or folder lies in, however deep; None: there is none."""
        place = place.absolute()
        runs = (cls(folder) for folder in (place, *place.parents))
        return next((run for run in runs if run.config_file.is_file()), None)

    def check_name(self) -> None:
        """Check that a training run may lie here.

        Raises:
            ConfigError: TensorBoard can't write to a folder of this name.
        """
        try:
            str(self.path).encode()
        except UnicodeEncodeError as error:
            raise ConfigError(
                f"log-dir, run-id: {self.path} is no name in UTF-8, as TensorBoard needs it; give another one"
            ) from error

    def writing(self) -> AbstractContextManager[None]:
        """Be the run's only writer; raises FileError where another process is."""
        return sole_writer(self.path, deep=True)

    @property
    def csv(self) -> Path:
        return self.path / "csv" / "version_0"

    @property
    def checkpoints(self) -> Path:
        return self.csv / "checkpoints"

    @property
    def metrics_file(self) -> Path:
        return self.csv / "metrics.csv"

    @property
    def results(self) -> Path:
        return self.path / "results"

    @property
    def config_file(self) -> Path:
        return self.results / "config.yaml"

    @property
    def images_file(self) -> Path:
        """The images that the run began with."""
        return self.results / "images.json"

    @property
    def calibration_file(self) -> Path:
        """What the validation images say of predictions, once they were asked."""
        return self.results / "calibration.json"

    @property
    def pruned_file(self) -> Path:
        """What was pruned (`Pruning`), under train.prune."""
        return self.results / "pruned.json"

    @property
    def forbidden_file(self) -> Path:
        """The patches that were forbidden by hand in the runs that it goes on from."""
        return self.results / "forbidden.json"

    @property
    def edits_file(self) -> Path:
        """What was done by hand to its prototypes, one edit a line; nothing of it is ever changed."""
        return self.results / "edits.jsonl"

    def edited_file(self, sha256: str) -> Path:
        """The edited network whose file has this checksum."""
        return self.checkpoints / f"edited-{sha256[:16]}.ckpt"

    @property
    def similarities_file(self) -> Path:
        """How similar its images are to the trained network's prototypes, once somebody edited these."""
        return self.results / "similarities.safetensors"

    def thumbnail_file(self, source: PrototypeSource) -> Path:
        """A prototype's training image as the network sees it, where the run keeps it.

        The name follows from the image's id and content, as ids may be no names of files.
        """
        identity = f"{source.sha256} {source.image_id}".encode(errors="surrogatepass")
        return self.path / "thumbnails" / f"{hashlib.sha256(identity).hexdigest()[:32]}.png"

    @property
    def tensorboard(self) -> Path:
        return self.path / "tensorboard" / "version_0"

    @property
    def scores_file(self) -> Path:
        """Written last: a run that has it is complete."""
        return self.results / "scores.yaml"

    @property
    def model_info_file(self) -> Path:
        return self.results / "model_info.yaml"

    @property
    def best_model_file(self) -> Path:
        return self.results / "best_model_path.txt"

    def chosen_checkpoint(self) -> Path | None:
        """The checkpoint that the finished run chose, here even if the run was moved; None: it chose none.

        Raises:
            CheckpointError: if the file that names it is damaged.
        """
        if not is_there(self.best_model_file):
            return None
        try:
            name = Path(read_text(self.best_model_file, most=MOST_YAML).strip()).name
        except FileError as error:
            raise CheckpointError(f"{self.best_model_file} is damaged: {error}") from error
        if not CHECKPOINT_NAME.fullmatch(name):
            raise CheckpointError(f"{self.best_model_file} is damaged: it names no checkpoint.")
        return self.checkpoints / name

    def checkpoint_file(self, *, epoch: int, step: int) -> Path:
        return self.checkpoints / f"epoch={epoch}-step={step}.ckpt"

    def checkpoint_files(self) -> list[Path]:
        """The checkpoints, oldest epoch first."""
        found = [(CHECKPOINT_NAME.fullmatch(path.name), path) for path in self.checkpoints.glob("*.ckpt")]
        return [path for match, path in sorted((int(m[1]), path) for m, path in found if m)]

    def last_checkpoint(self) -> Path:
        """The checkpoint of the last whole epoch.

        Raises:
            CheckpointError: if no epoch was completed, or the checkpoints are gone.
        """
        files = self.checkpoint_files()
        if not files and self.scores_file.is_file():
            raise CheckpointError(f"{self.path} is a finished run, but its checkpoints are gone.")
        if not files:
            raise CheckpointError(f"{self.path} holds no checkpoint: not one of its epochs was completed.")
        return files[-1]


def writing_to(folder: Path) -> AbstractContextManager[None]:
    """Be the only writer of the run that a folder lies in or, elsewhere, of the folder; raises FileError."""
    run = RunDirectory.around(folder)
    return sole_writer(folder) if run is None else run.writing()


class MetricsFile:
    """``metrics.csv``: one row an entry, fixed columns, empty where not logged."""

    def __init__(self, path: Path, columns: Sequence[str]) -> None:
        self.path = path
        self.columns = ("epoch", "step", *columns)
        if not path.exists():
            self._append([self.columns])

    def _append(self, rows: Sequence[Sequence[object]]) -> None:
        with self.path.open("a") as file:
            file.write(csv_text(rows))
            file.flush()
            os.fsync(file.fileno())

    def append(self, *, epoch: int, step: int, values: Mapping[str, float]) -> None:
        """Add one row."""
        row = {"epoch": epoch, "step": step, **values}
        self._append([[row.get(column, "") for column in self.columns]])

    @property
    def size(self) -> int:
        """Length of the file in bytes, to cut it back to."""
        return self.path.stat().st_size

    def cut_back(self, size: int) -> None:
        """Forget the rows after the first ``size`` bytes.

        Raises:
            CheckpointError: if the file is shorter than that.
        """
        if self.size < size:
            raise CheckpointError(f"{self.path} has {self.size} bytes, its checkpoint speaks of {size}.")
        os.truncate(self.path, size)
