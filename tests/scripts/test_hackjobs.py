"""The script of the Goldilocks experiments: the original's options, models and file; resuming."""

from __future__ import annotations

import csv
import importlib.util
from pathlib import Path
from types import ModuleType

import pytest
from torch.optim.optimizer import register_optimizer_step_pre_hook

import pixpnet
from pixpnet.goldilocks import read_rows

SCRIPT = Path(__file__).parents[2] / "scripts" / "hackjobs.py"
ORIGINAL_COLUMNS = [
    *("Test Accuracy", "Test Accuracy Top5", "Dataset", "Height", "Width", "Stage #", "Stage Name", "Model")
]


@pytest.fixture
def hackjobs(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> ModuleType:
    """The script as a module, in a working directory of its own."""
    spec = importlib.util.spec_from_file_location("hackjobs", SCRIPT)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("PIXPNET_LOG_LEVEL", raising=False)
    return module


@pytest.fixture
def arguments(birds: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Of a run of a few seconds on one small model."""
    monkeypatch.setattr("pixpnet.goldilocks.zoo", lambda: ["small_resnet", "resnet18"])
    data = {"name": "SYNTHBIRDS", "root": birds, "classes": 3, "size": 64, "train-images": 10}
    data |= {"test-images": 4, "workers": 0}
    pairs = ([f"--dataset.{name}", str(value)] for name, value in data.items())
    options = [part for pair in pairs for part in pair]
    return ["--filter", "small", "--epochs", "1", "--model.no-pretrained", *options]


def _read(table: Path) -> list[dict[str, str]]:
    with table.open(newline="") as file:
        return list(csv.DictReader(file))


def test_a_run_and_its_resumption(
    hackjobs: ModuleType, arguments: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert hackjobs.main(arguments) == 0
    (table,) = (tmp_path / "results" / "hackjob").glob("*.csv")
    assert table.name.startswith("hackjob_results_2")
    rows = _read(table)
    assert list(rows[0])[:8] == ORIGINAL_COLUMNS
    assert [row["Stage Name"] for row in rows] == ["stem", "layer1", "layer2", "layer3", "avgpool", "fc"]
    assert {(row["Model"], row["Mode"], row["Weights"], row["Dataset"]) for row in rows} == {
        ("small_resnet", "finetune", "random", "SYNTHBIRDS")
    }
    assert all(0 <= float(row["Test Accuracy"]) <= float(row["Test Accuracy Top5"]) <= 1 for row in rows)
    assert str(table.relative_to(tmp_path)) in capsys.readouterr().out

    lines = table.read_text().splitlines(keepends=True)
    kept = [
        line.replace(pixpnet.__version__, "0.0.1") for line in (*lines[1:3], lines[4])
    ]  # what was not redone
    table.write_text("".join([lines[0], *kept]))
    assert hackjobs.main([*arguments, "--resume", str(table)]) == 0
    again = {row["Stage Name"]: row for row in _read(table)}
    assert len(again) == 6
    for row in rows:
        version = "0.0.1" if row["Stage Name"] in ("stem", "layer1", "layer3") else pixpnet.__version__
        assert again[row["Stage Name"]]["Version"] == version
        assert again[row["Stage Name"]]["Test Accuracy"] == row["Test Accuracy"]


def test_debug_takes_three_batches(
    hackjobs: ModuleType, arguments: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    steps: list[int] = []

    def interrupt(*_: object) -> None:
        steps.append(1)
        if len(steps) == 3 + 1:  # in the second stage
            raise KeyboardInterrupt

    handle = register_optimizer_step_pre_hook(interrupt)
    try:
        assert hackjobs.main([*arguments, "--debug", "--train.batch-size", "4"]) == 130
    finally:
        handle.remove()
    last = capsys.readouterr().err.splitlines()[-1]
    assert last.startswith("hackjobs: interrupted: go on with --resume results/hackjob/hackjob_results_")
    assert last.endswith("_DEBUG.csv")
    table = Path(last.rpartition(" ")[2])
    assert [row.stage for row in read_rows(table)] == ["stem"], "one epoch of three steps"
    assert hackjobs.main([*arguments, "--resume", str(table)]) == 2


def test_the_defaults_are_the_originals(hackjobs: ModuleType) -> None:
    config = hackjobs._config([], debug=False)
    assert (config.dataset.name, config.dataset.val_size) == ("IMAGENETTE", 0)
    assert (config.train.batch_size, config.model.pretrained, config.debug) == (32, True, False)
    assert hackjobs._parser().parse_args([]).epochs == 10
    models = hackjobs.models_with("")
    assert len(models) == 25
    assert {"resnet18", "resnext101_64x4d", "wide_resnet50_2", "densenet161", "vgg11", "vgg19_bn"} < set(
        models
    )
    assert {"inception_v3", "squeezenet1_0", "squeezenet1_1"} < set(models)
    assert hackjobs.models_with("wide") == ["wide_resnet101_2", "wide_resnet50_2"]


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ("--filter nothing", "--filter: no model's name holds 'nothing'; there are densenet121, "),
        (
            "--epoch 3",
            "hackjobs: unknown option --epoch; did you mean --epochs? (options: --help, --filter, ",
        ),
        ("--epochs 0", "hackjobs: argument --epochs: '0' is not a whole number ≥ 1"),
        ("--resume gone.csv", "--resume: there is no file gone.csv"),
        ("--dataset.nam X", "hackjobs: unknown option --dataset.nam; did you mean --dataset.name?"),
        ("--model.num-prototypes 3", "hackjobs: --model.num-prototypes has no effect here"),
    ],
)
def test_errors_are_one_line(
    hackjobs: ModuleType, wrong: str, message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert hackjobs.main(wrong.split()) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.startswith(f"hackjobs: error: {message}")
    assert captured.err.count("\n") == 1
    assert list(tmp_path.iterdir()) == []
