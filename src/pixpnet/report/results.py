"""What is known of a run without looking at an image or a weight."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from pixpnet.config import Config, config_from_yaml
from pixpnet.data import find_dataset
from pixpnet.errors import CheckpointError, ConfigError, DataError, FileError, PixPNetError
from pixpnet.evaluation import Evaluation, Key, Measurement
from pixpnet.files import MOST_YAML, read_if_there, read_numbers, read_text, real_path
from pixpnet.receptive_fields import ReceptiveField, receptive_field
from pixpnet.runs import RunDirectory, read_history
from pixpnet.words import counted


@dataclass(frozen=True, eq=False)
class RunResults:
    """The files of results of one run."""

    path: Path
    label: str
    """What tells it from the others."""
    config: Config
    scores: Mapping[str, float]
    info: Mapping[str, float]
    measurements: Mapping[Key, Measurement]
    field: ReceptiveField | None
    """The receptive field of its prototypes' patches."""
    remarks: tuple[str, ...]
    """What is odd about the files."""

    @property
    def data(self) -> str:
        """What accuracies and metrics were measured on; runs in which it differs are not to be compared."""
        data = self.config.dataset
        spec = find_dataset(data.name)
        height, width = spec.image_size(data.size)
        said = [spec.name, f"{width}×{height}"]
        if data.crop_to_bbox:
            said.append("cropped to the box")
        if spec.name == "SYNTHBIRDS":
            said += [f"{data.classes} classes", f"{data.test_images} test images each", f"seed {data.seed}"]
        if spec.name in ("FOLDER", "CUB-LAYOUT"):
            said.append(data.root)
        if self.config.debug:
            said.append("three batches (debug)")
        return ", ".join(said)


def read_runs(paths: Sequence[Path]) -> tuple[RunResults, ...]:
    """The runs in these directories.

    Raises:
        CheckpointError: One is no run directory, or its files can't be read.
        ConfigError: There are less than two, or one is there twice.
    """
    if len(paths) < 2:
        raise ConfigError(f"{len(paths)} run to compare; name two run directories or more.")
    seen: dict[Path, Path] = {}
    for path in paths:
        other = seen.setdefault(real_path(path), path)
        if other is not path:
            raise ConfigError(f"{path} is there twice; name different runs.")
    return tuple(_read(path, label) for path, label in zip(paths, labels(paths), strict=True))


def labels(paths: Sequence[Path]) -> tuple[str, ...]:
    """As little of the paths as tells them apart, from the left.

    >>> labels([Path("/logs/a/birds__1/protonet/2026-01-01"), Path("/logs/b/birds__1/protonet/2026-01-02")])
    ('a', 'b')
    """
    parts = [real_path(path).parts for path in paths]
    longest = max(map(len, parts))
    filled = [(*one, *("",) * (longest - len(one))) for one in parts]
    differing = [place for place in range(longest) if len({one[place] for one in filled}) > 1]
    for count in range(1, len(differing) + 1):
        found = ["/".join(filter(None, (one[place] for place in differing[:count]))) for one in filled]
        if all(found) and len(set(found)) == len(found):
            return tuple(found)
    return tuple(map(str, paths))


def _read(path: Path, label: str) -> RunResults:
    directory = RunDirectory.open(path)
    config = _config(directory)
    remarks: list[str] = []
    evaluation = _evaluation(directory)
    scores, info = read_numbers(directory.scores_file), read_numbers(directory.model_info_file)
    chosen, edits = directory.chosen_checkpoint(), read_history(directory)
    if edits.lines and (sha256 := edits.lines[-1].network) is not None:
        chosen = directory.edited_file(sha256)
        remarks.append(
            f"its prototypes were edited by hand ({counted(len(edits.done), 'edit')}); their number and the "
            "accuracy are those of the trained network"
        )
    if evaluation is not None and chosen is not None and chosen.name != evaluation.checkpoint:
        remarks.append(
            f"its metrics were measured with {evaluation.checkpoint}, but the run's network is now "
            f"{chosen.name}; `pixpnet evaluate {path}` measures them again"
        )
    try:
        field = _receptive_field(config)
    except PixPNetError as error:
        field = None
        remarks.append(f"its receptive field is not known: {error}")
    return RunResults(
        path=path,
        label=label,
        config=config,
        scores=scores,
        info=info,
        measurements={one.key: one for one in (evaluation.measurements if evaluation else ())},
        field=field,
        remarks=tuple(remarks),
    )


def _config(directory: RunDirectory) -> Config:
    try:
        return config_from_yaml(
            read_text(directory.config_file, most=MOST_YAML), source=str(directory.config_file)
        )
    except (ConfigError, FileError) as error:
        raise CheckpointError(f"{directory.config_file} can't be read: {error}") from error


def _evaluation(directory: RunDirectory) -> Evaluation | None:
    path = directory.results / "interpretability.yaml"
    values = read_if_there(path)
    if not values:
        return None
    if isinstance(measured := values.get("measurements"), list):
        # The curves lie in a file that is not read here; without them nothing else is left out.
        values["measurements"] = [
            {**one, "curve": None} if isinstance(one, dict) else one for one in measured
        ]
    try:
        return Evaluation.from_dict(values)
    except DataError as error:
        raise CheckpointError(f"{path}: {error}") from error


def _receptive_field(config: Config) -> ReceptiveField:
    """From the structure alone: no weights are read or made."""
    from accelerate import init_empty_weights

    from pixpnet.backbones import backbone_of

    model = config.model
    with init_empty_weights():
        backbone = backbone_of(model, with_weights=False)
    size = find_dataset(config.dataset.name).image_size(config.dataset.size)
    return receptive_field(backbone, size).for_kernel(model.prototype_kernel_size)
