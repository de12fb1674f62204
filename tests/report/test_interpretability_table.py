"""The benchmark that makes the table of the results: which runs it takes, and what it prints of them."""

from __future__ import annotations

import importlib.util
import shutil
import sys
from pathlib import Path
from types import ModuleType

import pytest
import yaml
from made_runs import agreement, estimate, ordering

from pixpnet.errors import DataError
from pixpnet.evaluation import Evaluation, Measurement, Settings

SCRIPT = Path(__file__).parents[2] / "benchmarks" / "interpretability.py"


@pytest.fixture
def script(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """The script as a module; training is an error."""
    spec = importlib.util.spec_from_file_location("interpretability_table", SCRIPT)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, spec.name, module)
    spec.loader.exec_module(module)

    def no_training(*arguments: object, **_: object) -> None:
        raise AssertionError(f"training began: {arguments}")

    monkeypatch.setattr(module.subprocess, "run", no_training)
    return module


def place(run: Path, folder: Path, *, model: str, seed: int, accuracy: float) -> Path:
    """A copy of a run where the script looks for one."""
    path = shutil.copytree(run, folder / model / f"synthbirds__seed{seed}" / "protonet" / run.name)
    (path / "results" / "scores.yaml").write_text(f"test_accuracy: {accuracy}\n")
    return path


def evaluated(run: Path, **asked: object) -> Evaluation:
    """What the stand-in for the evaluation finds: it depends on the run's seed."""
    seed = int(run.parents[1].name[-1])
    settings = {"seed": 0, "samples": asked["settings"].samples}
    attacked = Measurement(
        "misalignment", "upsampling", None, settings, {"pac": estimate(10.0 * seed)}, {"pac": "%"}
    )
    deciding = Measurement(
        "sparsity",
        None,
        None,
        {"seed": 0},
        {"deciding": estimate(4.0 + seed), "prototypes": estimate(6.0)},
        {},
    )
    return Evaluation(
        "a.ckpt",
        "0",
        (
            agreement("consistency", 20.0 * seed, method="receptive_field"),
            agreement("stability", 90.0, method=None),
            ordering(0.25 * seed, method="prp", samples=50),
            ordering(0.5, method="random", samples=7),
            attacked,
            deciding,
        ),
    )


def tables(text: str) -> list[list[dict[str, str]]]:
    """The Markdown tables of a text, by heading."""
    found = []
    for block in text.split("\n\n"):
        lines = [line.strip("| ").split(" | ") for line in block.splitlines() if line.startswith("|")]
        if lines:
            found.append([dict(zip(lines[0], line, strict=True)) for line in lines[2:]])
    return found


def test_it_finds_runs_and_prints_means_and_deviations(script, tiny_run, tmp_path, monkeypatch, capsys):
    for seed in (1, 2):
        place(tiny_run, tmp_path, model="pixpnet-layer3", seed=seed, accuracy=0.8 + seed / 10)
    asked = []

    def evaluate(run: Path, **settings: object) -> Evaluation:
        asked.append((run, settings))
        return evaluated(run, **settings)

    monkeypatch.setattr(script, "evaluate", evaluate)
    script.main(["--out", str(tmp_path), "--no-train", "--models", "pixpnet-layer3", "protopnet"])
    text = capsys.readouterr().out
    assert [run.parents[1].name for run, _ in asked] == ["synthbirds__seed1", "synthbirds__seed2"]
    assert {one["settings"].protocol for _, one in asked} == {"pixpnet-2023"}
    facts, maps, attacks = tables(text)
    (row,) = facts
    assert (row["model"], row["seeds"]) == ("pixpnet-layer3", "2")
    assert row["test accuracy, %"] == "95.0 ± 7.1"
    assert row["prototypes that make 95 % of the winning logit"] == "5.5 ± 0.7"
    assert row["mean receptive field, %"].endswith("± 0.0")
    assert " " not in row["prototypes"] + row["seeds"], "whole numbers stay whole"
    by_method = {row["mapping"]: row for row in maps}
    assert list(by_method) == ["receptive_field", "upsampling", "random", "prp"]
    assert by_method["receptive_field"]["consistency, hard %"] == "30.0 ± 14.1"
    assert by_method["upsampling"]["consistency, hard %"] == "–"
    assert {row["stability, hard %"] for row in maps} == {"90.0 ± 0.0"}, "it does not depend on the mapping"
    assert by_method["prp"]["relevance ordering, area"] == "0.375 ± 0.177"
    assert by_method["random"]["relevance ordering, area"] == "–", "measured with other settings"
    assert "deletion, area" not in by_method["prp"], "what nobody has is left out"
    assert attacks[0]["PAC, %"] == "15.00 ± 7.07"
    assert [row["mapping"] for row in attacks] == ["upsampling"], "rows that hold nothing are left out"
    assert "- protopnet is not trained with seed 1, 2, 3." in text
    assert "train.epochs 4 instead of 72" in text, "the run is of another recipe"


def test_what_cannot_be_measured_leaves_its_cell_empty(script, tiny_run, tmp_path, monkeypatch, capsys):
    for seed in (1, 2, 3):
        place(tiny_run, tmp_path, model="protopnet", seed=seed, accuracy=0.5)
    names = ("consistency", "telling_parts", "misalignment")
    measured: dict[Path, set[str]] = {}

    def evaluate(run: Path, *, metrics: tuple[str, ...], **asked: object) -> Evaluation:
        seed = int(run.parents[1].name[-1])
        for name in metrics:
            if name == "telling_parts" or (name, seed) == ("misalignment", 3):
                raise DataError(f"{name} can't be measured: so it is.")
            measured.setdefault(run, set()).add(name)
        known = [one for one in evaluated(run, **asked).measurements if one.metric in measured.get(run, ())]
        return Evaluation("a.ckpt", "0", tuple(known))

    monkeypatch.setattr(script, "evaluate", evaluate)
    arguments = ["--out", str(tmp_path), "--no-train", "--models", "protopnet", "--metrics", *names]
    script.main(arguments)
    out, told = capsys.readouterr()
    _, maps, attacks = tables(out)
    assert maps[0]["consistency, hard %"] == "40.0 ± 20.0"
    assert attacks[0]["PAC, %"] == "15.00 ± 7.07 (2)"
    assert "telling parts, lift" not in attacks[0]
    assert told.count("telling_parts can't be measured") == 3
    assert told.count("misalignment can't be measured") == 1

    def gone(run: Path, **asked: object) -> Evaluation:
        raise DataError("The data set is gone.")

    monkeypatch.setattr(script, "evaluate", gone)
    with pytest.raises(DataError, match="is gone"):
        script.main(arguments)


def test_a_mean_over_some_seeds_tells_their_number(script):
    assert script.spread([1.0, 3.0, None]) == "2.0 ± 1.4 (2)"
    assert script.spread([None, 7]) == "7 (1)"
    assert script.spread([None, 0.25], decimals=2) == "0.25 (1)"
    assert script.spread([1.0, 3.0]) == "2.0 ± 1.4"


def test_runs_are_trained_finished_or_taken_as_they_are(script, tiny_run, tmp_path, monkeypatch):
    called: list[list[str]] = []
    folder = tmp_path / "pixpnet-layer3"

    def train(command: list[str], **_: object) -> None:
        called.append(command)
        if "--resume" in command:
            (Path(command[-1]) / "results" / "scores.yaml").write_text("test_accuracy: 1\n")
        else:
            path = place(tiny_run, tmp_path, model="pixpnet-layer3", seed=3, accuracy=0.5)
            (path / "results" / "scores.yaml").unlink()

    monkeypatch.setattr(script.subprocess, "run", train)
    arguments = ["-c", "x.yaml"]
    assert script.find_or_train(folder, arguments, seed=3, may_train=False) is None
    assert script.find_or_train(folder, arguments, seed=3, may_train=True) is None
    assert called[0][1:] == ["-m", "pixpnet", "train", "-c", "x.yaml"]
    run = script.find_or_train(folder, arguments, seed=3, may_train=True)
    assert run == folder / "synthbirds__seed3" / "protonet" / tiny_run.name
    assert called[1][3:] == ["train", "--resume", str(run)]
    assert script.find_or_train(folder, arguments, seed=3, may_train=True) == run
    assert script.find_or_train(folder, arguments, seed=1, may_train=False) is None
    assert len(called) == 2


@pytest.mark.parametrize("study", ["SYNTHBIRDS", "CUB50"])
def test_every_model_is_a_command_that_train_takes(script, study, tmp_path):
    from pixpnet.config import parse_config

    for name, model in getattr(script, study).models.items():
        arguments = model.arguments(folder=tmp_path / name, data=tmp_path, seed=5)
        config = parse_config(arguments)
        assert (config.seed, config.run_id, config.log_dir) == (5, "seed5", str(tmp_path / name))
        run = tmp_path / name / "run"
        (run / "results").mkdir(parents=True)
        values = script.yaml.safe_load(script.config_to_yaml(config))
        values |= {"log-dir": "elsewhere", "gpus": 0}
        (run / "results" / "config.yaml").write_text(yaml.safe_dump(values))
        assert script.differing_options(run, arguments) == ""
    assert {column.metric for table in script.TABLES for column in table} <= set(script.METRICS)


def test_columns_name_quantities_that_there_are(script):
    for column in (column for table in script.TABLES for column in table):
        assert column.quantity in script.METRICS[column.metric].quantities, column
    assert Settings().samples == script._options(["--out", "x"]).samples
