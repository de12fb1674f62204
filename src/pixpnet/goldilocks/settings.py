"""Where the files of an experiment lie, and what its results depend on beyond what stands in their rows."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import yaml

from pixpnet.config import to_kebab
from pixpnet.errors import ConfigError, DataError
from pixpnet.files import write_text
from pixpnet.goldilocks.backbone import weights_of
from pixpnet.goldilocks.table import Mode, Readout, Weights
from pixpnet.goldilocks.work import Job

_INDIFFERENT = ("root", "workers", "cache")
"""Options of the data set that do not change results."""


@dataclass(frozen=True)
class Files:
    """The files of an experiment: a table, and others beside it that are named after it."""

    table: Path

    @classmethod
    def under(cls, out: Path) -> Files:
        """Of `--out`, a CSV file or a folder."""
        return cls(out if out.suffix.lower() == ".csv" else out / "goldilocks.csv")

    @property
    def settings(self) -> Path:
        return self._beside(".settings.yaml")

    @property
    def advice(self) -> Path:
        """The configuration for `pixpnet train -c`."""
        return self._beside(".best.yaml")

    @property
    def work(self) -> Path:
        """Folder of what lets a stopped run go on: trained backbones, and until the end what was read."""
        return self._beside(".work")

    def figure(self, mode: Mode, readout: Readout, suffix: str) -> Path:
        """A scatter plot."""
        return self._beside(f".{mode}.{readout}.{suffix}")

    def _beside(self, ending: str) -> Path:
        return self.table.with_name(self.table.stem + ending)


def check_settings(job: Job, file: Path) -> None:
    """Note what the rows to come depend on, or compare it with what those that are there depended on.

    Raises:
        ConfigError: Rows of this mode and weights are there that were made in another way.
    """
    kept = _read(file)
    group = _group(job.mode, weights_of(job.config))
    for section, values in {"dataset": _dataset(job), group: _training(job)}.items():
        others = kept.setdefault(section, values)
        for name, value in values.items():
            if others.get(name) != value:
                raise ConfigError(
                    f"{file} says that the results there have {name} {others.get(name)}, not {value}; "
                    "give another --out for these."
                )
    write_text(file, yaml.safe_dump(kept, sort_keys=False, allow_unicode=True))


def pretrained_file(file: Path, mode: Mode) -> str | None:
    """File of the weights of a mode's rows that are called pretrained; none: the published ones."""
    return _read(file).get(_group(mode, "pretrained"), {}).get("model.weights")


def _group(mode: Mode, weights: Weights) -> str:
    return f"{mode}, {weights} weights"


def _read(file: Path) -> dict[str, dict[str, Any]]:
    if not file.exists():
        return {}
    try:
        content = yaml.safe_load(file.read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError):
        content = None
    if not isinstance(content, dict) or not all(isinstance(value, dict) for value in content.values()):
        raise DataError(f"{file} is damaged: it should hold the settings of the results beside it.")
    return content


def _dataset(job: Job) -> dict[str, Any]:
    values = asdict(job.config.dataset)
    return {f"dataset.{to_kebab(name)}": values[name] for name in values if name not in _INDIFFERENT}


def _training(job: Job) -> dict[str, Any]:
    """What rows of the job's mode and weights depend on; a row itself tells its seed."""
    train = job.config.train
    values: dict[str, Any] = {"model.weights": job.config.model.weights}
    if job.mode == "finetune":
        return values | {"epochs": job.epochs, **_steps(job)}
    if train.backbone_epochs == 0:
        return values
    optimizer = {
        key: list(v) if isinstance(v, tuple) else v for key, v in asdict(job.config.optimizer).items()
    }
    return {
        **values,
        "model.pretrained": job.config.model.pretrained,
        "train.backbone-epochs": train.backbone_epochs,
        **_steps(job),
        "train.gradient-clip-norm": train.gradient_clip_norm,
        **{f"optimizer.{to_kebab(name)}": value for name, value in optimizer.items()},
    }


def _steps(job: Job) -> dict[str, Any]:
    train = job.config.train
    return {"train.batch-size": train.batch_size, "train.precision": train.precision}
