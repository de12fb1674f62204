"""Reading options: what users of the original know, precedence, and the values of the shipped files."""

from __future__ import annotations

import dataclasses
import math
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import optim

from pixpnet.config import (
    OPTIONS,
    SECTIONS,
    Config,
    Option,
    Range,
    Text,
    TrainConfig,
    config_from_yaml,
    config_to_yaml,
    parse_config,
    resolve_optimizer,
    shipped_configurations,
    validate,
)
from pixpnet.errors import ConfigError
from pixpnet.prototypes import DISTANCES

CONFIGS = Path(__file__).parents[1] / "configs" / "protonets"
REQUIRED = ["--model.feature-extractor", "vgg16_bn"]

DEFAULTS = {
    "seed": None,
    "gpus": None,
    "log-dir": "logs/protonet",
    "run-id": None,
    "profile": False,
    "profiler": "simple",
    "debug": False,
    "tb-logging": False,
    "dataset.name": "SYNTHBIRDS",
    "dataset.root": "data",
    "dataset.val-size": 0.2,
    "dataset.augment-factor": 1,
    "dataset.crop-to-bbox": False,
    "dataset.orientation": "apply",
    "dataset.max-pixels": 180_000_000,
    "dataset.bits": None,
    "dataset.mask-label": None,
    "dataset.size": None,
    "dataset.classes": 10,
    "dataset.train-images": 60,
    "dataset.test-images": 30,
    "dataset.seed": 0,
    "dataset.test-size": 0.2,
    "dataset.min-images": 1,
    "dataset.normalization": "own",
    "dataset.imagenette-size": None,
    "dataset.table": None,
    "dataset.columns": None,
    "dataset.group-by": None,
    "dataset.on-unreadable": "error",
    "dataset.workers": None,
    "dataset.cache": "ram",
    "model.name": "protonet",
    "model.feature-extractor": None,
    "model.feature-layer": None,
    "model.add-on-init": "random",
    "model.tile": None,
    "model.tile-stride": None,
    "model.tile-input": None,
    "model.pretrained": True,
    "model.weights": None,
    "model.num-prototypes": None,
    "model.prototype-dim": 512,
    "model.prototype-kernel-size": 1,
    "model.prototype-init": "random",
    "model.init-weights": True,
    "model.prototype-activation": "log",
    "model.add-on-layers-type": "regular",
    "model.add-on-activation": "sigmoid",
    "model.epsilon": 1e-6,
    "model.learn-prototypes": True,
    "model.incorrect-strength": -0.5,
    "model.correct-strength": 1.0,
    "model.class-specific": True,
    "model.readout-type": "linear",
    "model.distance": "l2",
    "train.epochs": 50,
    "train.backbone-epochs": 0,
    "train.start-from": None,
    "train.freeze-backbone": False,
    "train.kept-views": 0,
    "train.balance": "off",
    "train.prune": False,
    "train.tie-prototypes": False,
    "train.batch-size": 128,
    "train.accumulate-grad-batches": None,
    "train.checkpoint": False,
    "train.gradient-clip-norm": None,
    "train.hparam-tune": False,
    "train.stochastic-weight-averaging": False,
    "train.val-every-n-epoch": None,
    "train.push-prototypes": True,
    "train.push-every": 10,
    "train.readout-push-epochs": 20,
    "train.push-duplicate-filter": "sample",
    "train.thumbnails": True,
    "train.precision": "auto",
    "train.compile": False,
    "test.batch-size": None,
    "optimizer.name": "sgd",
    "optimizer.lr": 0.1,
    "optimizer.fine-tune-lr": 1e-4,
    "optimizer.readout-lr": 1e-4,
    "optimizer.lr-scheduler": "cosine",
    "optimizer.lr-factor": 0.1,
    "optimizer.lr-schedule": (100, 150),
    "optimizer.weight-decay": 2e-4,
    "optimizer.momentum": 0.9,
    "optimizer.warmup-period": 5,
    "loss.xent": 1.0,
    "loss.label-smoothing": 0.0,
    "loss.cluster": 0.8,
    "loss.separation": 0.08,
    "loss.l1": 1e-4,
    "loss.forbidden": 1.0,
}

PAPER = {
    "seed": 42,
    "dataset.val-size": 0.1,
    "model.name": "protonet",
    "model.init-weights": True,
    "model.pretrained": True,
    "model.prototype-kernel-size": 1,
    "model.prototype-activation": "log",
    "model.add-on-layers-type": "regular",
    "model.epsilon": 1e-6,
    "model.learn-prototypes": True,
    "model.class-specific": True,
    "model.readout-type": "proto",
    "model.distance": "cosine",
    "optimizer.name": "adam",
    "optimizer.lr": 3e-3,
    "optimizer.fine-tune-lr": 1e-4,
    "optimizer.readout-lr": 1e-4,
    "optimizer.lr-scheduler": "cosine",
    "optimizer.weight-decay": 1e-3,
    "train.push-prototypes": True,
    "train.checkpoint": False,
    "loss.xent": 1.0,
    "loss.cluster": 0.0,
    "loss.separation": 0.0,
}

PAPER_COLUMNS = (
    "dataset.name",
    "dataset.augment-factor",
    "model.feature-extractor",
    "model.feature-layer",
    "model.num-prototypes",
    "model.prototype-dim",
    "optimizer.warmup-period",
    "train.epochs",
    "train.push-every",
    "train.batch-size",
)
PAPER_ROWS = {
    "proto-cub200224": ("CUB200224", 16, "vgg16_bn", "maxpool5", 2000, 192, 5, 20, 4, 64),
    "proto-cars224": ("CARS224", 16, "vgg16_bn", "maxpool5", 1960, 192, 5, 20, 4, 64),
    "proto-cub200224-dummy": ("CUB200224", 1, "vgg11_bn", "maxpool4", 400, 32, 0, 1, 1, 32),
    "proto-cifar10-dummy": ("CIFAR10", 1, "vgg11_bn", "maxpool4", 20, 16, 0, 1, 1, 32),
}


def flat(config: Config) -> dict[str, object]:
    """Values by dotted name."""
    values: dict[str, object] = {}
    for key, value in dataclasses.asdict(config).items():
        if isinstance(value, dict):
            values |= {f"{key}.{name}".replace("_", "-"): inner for name, inner in value.items()}
        else:
            values[key.replace("_", "-")] = value
    return values


def parse(line: str) -> dict[str, object]:
    """The values of a command line that has all that is required."""
    return flat(parse_config([*REQUIRED, *line.split()]))


def test_defaults_are_the_originals() -> None:
    assert flat(Config()) == DEFAULTS


@pytest.mark.parametrize("name", PAPER_ROWS)
def test_configurations_of_the_original(name: str) -> None:
    expected = DEFAULTS | PAPER | dict(zip(PAPER_COLUMNS, PAPER_ROWS[name], strict=True))
    assert flat(parse_config(["-c", str(CONFIGS / f"{name}.yaml")])) == expected


@pytest.mark.parametrize(
    "place", [*CONFIGS.glob("*.yaml"), *shipped_configurations()], ids=lambda place: Path(place).name
)
def test_every_shipped_configuration_parses_by_its_path_and_by_its_name(place: Path | str) -> None:
    assert parse_config(["-c", str(place)]).model.name == "protonet"


def test_the_shipped_configurations_are_those_of_the_folder_that_users_see() -> None:
    assert shipped_configurations() == {file.stem: file.read_text() for file in CONFIGS.glob("*.yaml")}


@pytest.mark.parametrize(
    ("line", "name", "value"),
    [
        ("--optimizer.lr 3e-3", "optimizer.lr", 0.003),
        ("--optimizer.lr=3e-3", "optimizer.lr", 0.003),
        ("--optimizer.lr 1", "optimizer.lr", 1.0),
        ("--model.incorrect-strength -0.25", "model.incorrect-strength", -0.25),
        ("--model.incorrect-strength -1e-3", "model.incorrect-strength", -1e-3),
        ("--train.checkpoint", "train.checkpoint", True),
        ("--train.checkpoint false", "train.checkpoint", False),
        ("--train.checkpoint=true", "train.checkpoint", True),
        ("--model.no-pretrained", "model.pretrained", False),
        ("--model.no-pretrained --debug", "model.pretrained", False),
        ("--model.no_pretrained", "model.pretrained", False),
        ("--model.no-pretrained false", "model.pretrained", True),
        ("--train.batch_size 3", "train.batch-size", 3),
        ("--optimizer.lr-schedule 10 20", "optimizer.lr-schedule", (10, 20)),
        ("--optimizer.lr-schedule [10,20]", "optimizer.lr-schedule", (10, 20)),
        ("--optimizer.lr-schedule [10, 20]", "optimizer.lr-schedule", (10, 20)),
        ("--optimizer.lr-schedule=10,20", "optimizer.lr-schedule", (10, 20)),
        ("--optimizer.lr-schedule 10", "optimizer.lr-schedule", (10,)),
        ("--dataset.name cub-200224", "dataset.name", "CUB200224"),
        ("--dataset.name Cub_200-224", "dataset.name", "CUB200224"),
        ("--run-id 007", "run-id", "007"),
        ("--run-id null", "run-id", None),
        ("--run-id 2026-11-22", "run-id", "2026-11-22"),
        ("--test.batch-size null", "test.batch-size", None),
        ("--train.epochs 3 --train.epochs 4", "train.epochs", 4),
    ],
)
def test_command_line(line: str, name: str, value: object) -> None:
    assert parse(line) == DEFAULTS | {
        "model.name": "protonet",
        "model.feature-extractor": "vgg16_bn",
        name: value,
    } | ({"debug": True} if "--debug" in line else {})


@pytest.mark.parametrize(
    ("text", "name", "value"),
    [
        ("optimizer: {lr: 3e-3}", "optimizer.lr", 0.003),
        ("optimizer: {lr-schedule: [10, 20]}", "optimizer.lr-schedule", (10, 20)),
        ("optimizer: {lr-schedule: 10 20}", "optimizer.lr-schedule", (10, 20)),
        ("optimizer:\n  lr_schedule:\n  - 10\n  - 20", "optimizer.lr-schedule", (10, 20)),
        ("train:\n  checkpoint:", "train.checkpoint", True),
        ("train:\n  no-checkpoint:", "train.checkpoint", False),
        ("train: {no-push-prototypes: true}", "train.push-prototypes", False),
        ("train: {push_prototypes: no}", "train.push-prototypes", False),
        ("train.batch-size: 7", "train.batch-size", 7),
        ("run-id: 007", "run-id", "007"),
        ("run-id: null", "run-id", None),
        ("run-id: 'null'", "run-id", "null"),
        ("run-id: 2026-11-22", "run-id", "2026-11-22"),
        ("train:", "train.epochs", 50),
        ("", "train.epochs", 50),
    ],
)
def test_files(tmp_path: Path, text: str, name: str, value: object) -> None:
    file = tmp_path / "options.yaml"
    file.write_text(text)
    assert flat(parse_config(["-c", str(file), *REQUIRED]))[name] == value


def test_later_files_and_the_command_line_win(tmp_path: Path) -> None:
    first, second = tmp_path / "first.yaml", tmp_path / "second.yaml"
    first.write_text("seed: 1\ntrain: {epochs: 2, batch-size: 3, checkpoint: true}")
    second.write_text("seed: 4\ntrain: {epochs: 5}")
    line = ["--train.no-checkpoint", "--seed", "6", "-c", str(first), f"--config={second}", *REQUIRED]
    config = parse_config(line)
    assert (config.seed, config.train.epochs, config.train.batch_size) == (6, 5, 3)
    assert not config.train.checkpoint


def numbers(option: Option) -> st.SearchStrategy[int] | st.SearchStrategy[float]:
    """Numbers in an option's range."""
    assert isinstance(option.rule, Range)
    low, high = max(option.rule.minimum, option.rule.above), min(option.rule.maximum, option.rule.below)
    if option.type is float:
        bounds = (low if math.isfinite(low) else -1e300, high if math.isfinite(high) else 1e300)
        return st.floats(*bounds).filter(option.rule.holds)
    return st.integers(int(low), int(high) if math.isfinite(high) else 10**10)


def values(option: Option) -> st.SearchStrategy[object]:
    """Values that an option accepts."""
    some: st.SearchStrategy[object]
    if option.name == "dataset.name":
        return st.text("ABCXYZ0189", min_size=1)
    if option.name == "optimizer.name":
        return st.sampled_from(["adam", "SGD", "adam_w", "RMSprop"])
    if option.is_flag:
        return st.booleans()
    if option.choices:
        some = st.sampled_from(option.choices)
    elif option.is_list:
        some = st.lists(st.integers(1, 10**6), min_size=1).map(tuple)
    elif option.type is str:
        any_text = st.text(st.characters(exclude_categories=["Cs"]), min_size=1)
        assert isinstance(option.rule, Text)
        some = (any_text | st.sampled_from(["null", "~", "1e-3", "yes"])).filter(option.rule.holds)
    else:
        some = numbers(option)
    return some | st.none() if option.optional else some


FIXED = ("model.name", "model.feature-extractor", "train.hparam-tune")
FIXED += (
    "model.tile-stride",
    "model.tile-input",
    "train.freeze-backbone",
    "train.kept-views",
    "train.tie-prototypes",
)

DRAWN = st.fixed_dictionaries(
    {}, optional={name: values(option) for name, option in OPTIONS.items() if name not in FIXED}
)


@settings(deadline=None)
@given(DRAWN, st.integers(0, 6))
def test_written_configurations_read_back(drawn: dict[str, object], backbone_epochs: int) -> None:
    drawn |= {"model.name": "protonet", "model.feature-extractor": "resnet18"}
    drawn |= {"train.epochs": 7, "train.backbone-epochs": backbone_epochs}
    default = Config()
    changed = {
        name: dataclasses.replace(
            getattr(default, name),
            **{OPTIONS[key].field: value for key, value in drawn.items() if OPTIONS[key].section == name},
        )
        for name in SECTIONS
    }
    changed |= {OPTIONS[key].field: value for key, value in drawn.items() if not OPTIONS[key].section}
    config = dataclasses.replace(default, **changed)
    assert config_from_yaml(config_to_yaml(config)) == config


def test_files_of_earlier_runs_are_read(caplog: pytest.LogCaptureFixture) -> None:
    """They hold an option that is none any more."""
    caplog.set_level("INFO", logger="pixpnet")
    text = "dataset: {name: CUB200, augment-on: cpu}\nmodel: {name: protonet, feature-extractor: resnet18}"
    config = config_from_yaml(text, source="config.yaml")
    assert config == config_from_yaml(text.replace(", augment-on: cpu", ""))
    assert "config.yaml:1: dataset.augment-on is not read: training images are augmented by" in caplog.text


def test_written_configuration_is_complete_and_kebab_case() -> None:
    text = config_to_yaml(Config())
    assert text.startswith("seed: null\ngpus: null\nlog-dir: logs/protonet\n")
    assert "\ndataset:\n  name: SYNTHBIRDS\n" in text
    assert "\n  lr-schedule: [100, 150]\n" in text
    assert len([line for line in text.splitlines() if not line.endswith(":")]) == len(DEFAULTS)
    assert "_" not in text


def test_choices_are_those_of_the_tables(monkeypatch: pytest.MonkeyPatch) -> None:
    model = dataclasses.replace(
        Config().model, name="protonet", feature_extractor="resnet18", distance="mine"
    )
    with pytest.raises(ConfigError, match=r"^model.distance: mine is not one of l2, cosine"):
        validate(Config(model=model))
    monkeypatch.setitem(DISTANCES, "mine", DISTANCES["l2"])
    validate(Config(model=model))
    assert parse_config([*REQUIRED, "--model.distance", "mine"]).model.distance == "mine"


@pytest.mark.parametrize(
    ("name", "expected"),
    [("adam", optim.Adam), ("adam_w", optim.AdamW), ("SGD", optim.SGD), ("rms-prop", optim.RMSprop)],
)
def test_optimizers_are_loosely_spelled(name: str, expected: type[optim.Optimizer]) -> None:
    assert resolve_optimizer(name) is expected


@pytest.mark.parametrize("name", ["lbfgs", "sparse_adam", "optimizer", "lr_scheduler"])
def test_what_cannot_train_is_no_optimizer(name: str) -> None:
    with pytest.raises(ConfigError, match=r"optimizer.name: \w+ is not one of ASGD, .*SGD"):
        resolve_optimizer(name)


def test_validation_holds_for_configurations_made_in_python() -> None:
    model = dataclasses.replace(Config().model, name="protonet", feature_extractor="resnet18")
    validate(Config(model=model))
    with pytest.raises(ConfigError, match=r"^train.epochs: 0 is not a whole number ≥ 1 and ≤ 100000$"):
        validate(Config(model=model, train=TrainConfig(epochs=0)))
    with pytest.raises(ConfigError, match=r"^model.feature-extractor: is required"):
        validate(Config())
