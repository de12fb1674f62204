"""Whole experiments on a few images: what they write, that they go on where they were, who does the work."""

import csv
import logging
import re
import signal
import subprocess
import sys
import time
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest
import torch

from pixpnet.config import config_from_yaml, parse_config
from pixpnet.errors import ConfigError, DataError, FileError, PixPNetError
from pixpnet.goldilocks import experiment, explore, networks, ranking, read_rows, work, write_rows
from pixpnet.goldilocks.experiment import check_settings
from pixpnet.goldilocks.features import Prototypes, Readings
from pixpnet.goldilocks.networks import Finetuned
from pixpnet.goldilocks.probe import Accuracies

STAGES = ["stem", "layer1", "layer2", "layer3", "avgpool"]


@pytest.fixture
def options(birds):
    """Arguments of an experiment with random weights."""

    def arguments(**more):
        given = {
            **{"seed": 3, "gpus": 0, "dataset.root": birds, "dataset.classes": 3, "dataset.size": 64},
            **{"dataset.train-images": 10, "dataset.test-images": 4, "dataset.workers": 0},
            **{"train.batch-size": 8, "optimizer.name": "adam", "optimizer.lr": 1e-3},
            **{name.replace("__", ".").replace("_", "-"): value for name, value in more.items()},
        }
        return [
            "--model.no-pretrained",
            *(part for name, value in given.items() for part in (f"--{name}", str(value))),
        ]

    return arguments


@pytest.fixture
def config(options):
    def made(**more):
        return parse_config(
            ["--model.name", "protonet", "--model.feature-extractor", "resnet18", *options(**more)]
        )

    return made


@pytest.fixture
def undrawn(monkeypatch):
    """No figures, which would take most of the time."""
    monkeypatch.setattr(experiment, "goldilocks_figure", lambda points, **_: None)
    monkeypatch.setattr(experiment, "save_figure", lambda figure, path: path)


def _results(rows):
    return {(row.key, row.test_accuracy, row.test_accuracy_top5) for row in rows}


def test_probe_of_a_backbone_trained_here(config, tmp_path, caplog):
    caplog.set_level(logging.INFO, "pixpnet")
    told = []
    outcome = explore(
        config(train__backbone_epochs=2),
        models=["small_resnet"],
        out=tmp_path / "out",
        max_rf=50,
        progress=lambda done, total: told.append((done, total)),
    )
    assert [(row.stage, row.readout) for row in outcome.rows] == [
        (stage, readout) for stage in STAGES for readout in ("average", "prototypes")
    ]
    assert {row.weights for row in outcome.rows} == {"trained"}
    assert {(row.dataset, row.height, row.width, row.seed) for row in outcome.rows} == {
        ("SYNTHBIRDS", 64, 64, 3)
    }
    assert told[-1] == (11, 11)
    assert caplog.text.count("small_resnet: epoch ") == 2
    table = tmp_path / "out" / "goldilocks.csv"
    with table.open() as file:
        ranks = [line["Pareto Rank"] for line in csv.DictReader(file)]
    assert [int(rank) for rank in ranks] == outcome.ranks
    assert 1 in outcome.ranks
    best = config_from_yaml((tmp_path / "out" / "goldilocks.best.yaml").read_text())
    assert best.model.feature_layer == outcome.advice.best.stage
    assert (best.dataset.root, best.dataset.classes) == (config().dataset.root, 3)
    for readout in ("average", "prototypes"):
        for suffix in ("png", "pdf"):
            assert (tmp_path / "out" / f"goldilocks.probe.{readout}.{suffix}").stat().st_size > 5000
    trained = tmp_path / "out" / "goldilocks.work" / "backbones" / "small_resnet_trained_seed3.pt"
    assert torch.load(trained, weights_only=True)["epoch"] == 2
    assert (best.model.weights, best.train.backbone_epochs) == (str(trained), 0)


@pytest.mark.usefixtures("undrawn")
@pytest.mark.parametrize("tolerated", [-2, 2])
def test_accuracy_that_falls_with_depth_is_warned_of(config, tmp_path, caplog, monkeypatch, tolerated):
    caplog.set_level(logging.WARNING, "pixpnet")
    monkeypatch.setattr(ranking, "TOLERATED_FALL", tolerated)
    explore(config(train__backbone_epochs=1), models=["small_resnet"], out=tmp_path)
    assert ("accuracy of small_resnet falls with depth" in caplog.text) == (tolerated < 0)


@pytest.mark.usefixtures("undrawn")
def test_weights_that_were_trained_here_can_be_given(config, tmp_path):
    explore(config(train__backbone_epochs=1), models=["small_resnet"], out=tmp_path)
    file = tmp_path / "goldilocks.work" / "backbones" / "small_resnet_trained_seed3.pt"
    outcome = explore(config(model__weights=file), models=["small_resnet"], out=tmp_path / "other")
    assert {row.weights for row in outcome.rows} == {"pretrained"}
    trained = read_rows(tmp_path / "goldilocks.csv")
    assert [row.test_accuracy for row in outcome.rows] == [row.test_accuracy for row in trained]


@pytest.mark.usefixtures("undrawn")
def test_the_head_of_every_stage_learns(config, tmp_path):
    config = config(train__backbone_epochs=1, optimizer__weight_decay=0)
    explore(config, models=["small_resnet"], out=tmp_path)
    file = tmp_path / "goldilocks.work" / "backbones" / "small_resnet_trained_seed3.pt"
    kept = torch.load(file, weights_only=True)
    parameters = [number for group in kept["optimizer"]["param_groups"] for number in group["params"]]
    learned = kept["optimizer"]["state"]
    assert len(kept["heads"]) == 2 * len(STAGES)
    assert all(learned[number]["exp_avg"].any() for number in parameters)


@pytest.mark.usefixtures("undrawn")
def test_interrupted_runs_go_on_and_end_alike(config, tmp_path, monkeypatch, caplog):
    caplog.set_level(logging.INFO, "pixpnet")
    whole = explore(config(train__backbone_epochs=2), models=["small_resnet"], out=tmp_path / "whole")
    begun = {"epochs": 0, "rows": 0}
    fit, probe_row = networks.fit, experiment.probe_row

    def first_epoch_only(*arguments, **options):
        begun["epochs"] += 1
        if begun["epochs"] == 2:
            raise KeyboardInterrupt
        return fit(*arguments, **options)

    def three_rows_only(job, stage, readout):
        begun["rows"] += 1
        if begun["rows"] == 4:
            raise KeyboardInterrupt
        return probe_row(job, stage, readout)

    def go_on():
        return explore(config(train__backbone_epochs=2), models=["small_resnet"], out=tmp_path / "parts.csv")

    monkeypatch.setattr("pixpnet.goldilocks.networks.fit", first_epoch_only)
    monkeypatch.setattr("pixpnet.goldilocks.experiment.probe_row", three_rows_only)
    with pytest.raises(KeyboardInterrupt):
        go_on()
    assert read_rows(tmp_path / "parts.csv") == []
    with pytest.raises(KeyboardInterrupt):
        go_on()
    kept = read_rows(tmp_path / "parts.csv")
    assert len(kept) == 3
    outcome = go_on()
    assert outcome.rows[:3] == kept
    assert begun == {"epochs": 3, "rows": 11}  # the second epoch twice, the fourth row twice
    assert _results(outcome.rows) == _results(whole.rows)
    assert go_on().rows == outcome.rows
    assert begun == {"epochs": 3, "rows": 11}


@pytest.mark.usefixtures("undrawn")
def test_rigged_stages_are_ranked_and_advised(config, tmp_path, monkeypatch):
    """Averages tell everything from layer2 on, prototypes in the stem alone."""

    def rigged(backbone, stages, images, *, prototypes, batch_size, workers):
        labels = torch.tensor(images.labels)
        truth = torch.nn.functional.one_hot(labels, 3).float()
        noise = torch.rand(len(labels), 3, generator=torch.Generator().manual_seed(0))
        return [
            Readings(
                *((truth if tells else noise).clone() for tells in (stage.number >= 3, stage.number == 1))
            )
            for stage in stages
        ]

    def nothing(*_, **__):
        return [Prototypes(torch.eye(3), torch.zeros(3), torch.ones(3))] * 5

    monkeypatch.setattr(work, "read_images", rigged)
    monkeypatch.setattr(work, "find_prototypes", nothing)
    outcome = explore(config(), models=["small_resnet"], out=tmp_path)
    found = {
        (row.stage, row.readout): (row.test_accuracy, rank)
        for row, rank in zip(outcome.rows, outcome.ranks, strict=True)
    }
    assert {stage for stage in STAGES if found[stage, "average"][0] == 1} == {"layer2", "layer3", "avgpool"}
    assert found["layer2", "average"] == (1, 1)
    assert found["layer3", "average"] == (1, 2)
    assert found["avgpool", "average"] == (1, 3)
    assert found["stem", "prototypes"] == (1, 1)
    assert all(found[stage, "prototypes"][1] > 1 for stage in STAGES[1:])
    assert outcome.advice.best.stage == "stem"
    assert "random" in outcome.advice.line


@pytest.mark.usefixtures("undrawn")
def test_finetune_measures_every_stage(config, tmp_path, monkeypatch):
    seen = []

    def finetune_stage(backbone, splits, **options):
        seen.append((backbone.layer, options["epochs"], options["batch_size"], options["seed"]))
        return Finetuned(Accuracies(0.5, 0.75), 8)

    monkeypatch.setattr(work, "finetune_stage", finetune_stage)
    outcome = explore(config(), models=["small_resnet"], out=tmp_path, mode="finetune", epochs=4)
    assert seen == [(stage, 4, 8, 3) for stage in [*STAGES, "fc"]]
    assert {(row.readout, row.test_accuracy, row.test_accuracy_top5) for row in outcome.rows} == {
        ("average", 0.5, 0.75)
    }


@pytest.mark.usefixtures("undrawn")
def test_a_backbone_that_fails_costs_itself_only(config, tmp_path, monkeypatch):
    prepare = experiment.prepare_probe

    def choosy(job, stages):
        if stages[0].model == "resnet18":
            raise DataError("its weights are damaged.")
        return prepare(job, stages)

    monkeypatch.setattr("pixpnet.goldilocks.experiment.prepare_probe", choosy)
    with pytest.raises(PixPNetError, match="resnet18 could not be measured in full"):
        explore(config(), models=["resnet18", "small_resnet"], out=tmp_path)
    assert [row.model for row in read_rows(tmp_path / "goldilocks.csv")] == ["small_resnet"] * 10
    with pytest.raises(DataError, match="its weights are damaged"):
        explore(config(), models=["resnet18"], out=tmp_path / "alone")


@pytest.mark.usefixtures("undrawn")
def test_other_settings_need_another_table(config, tmp_path):
    explore(config(), models=["small_resnet"], out=tmp_path)
    before = (tmp_path / "goldilocks.csv").read_bytes()
    with pytest.raises(ConfigError, match=r"dataset\.val-size 0\.2, not 0\.4; give another --out"):
        explore(config(dataset__val_size=0.4), models=["small_resnet"], out=tmp_path)
    assert (tmp_path / "goldilocks.csv").read_bytes() == before
    outcome = explore(config(seed=4), models=["small_resnet"], out=tmp_path)
    assert {row.seed for row in outcome.rows} == {3, 4}
    (tmp_path / "goldilocks.settings.yaml").write_text("dataset: [")
    with pytest.raises(FileError, match=r"settings\.yaml can't be read"):
        explore(config(), models=["small_resnet"], out=tmp_path)
    (tmp_path / "goldilocks.settings.yaml").write_text("dataset: 3")
    with pytest.raises(FileError, match="is damaged"):
        explore(config(), models=["small_resnet"], out=tmp_path)


@pytest.mark.parametrize(
    ("given", "mode", "changed"),
    [
        ({"train__backbone_epochs": 1}, "probe", {"train__precision": "bf16"}),
        ({"train__backbone_epochs": 1}, "probe", {"train__backbone_epochs": 2}),
        ({"train__backbone_epochs": 1}, "probe", {"optimizer__lr": 0.5}),
        ({}, "finetune", {"train__precision": "bf16"}),
        ({}, "finetune", {"train__batch_size": 4}),
    ],
    ids=str,
)
def test_what_training_depends_on_is_noted(config, tmp_path, given, mode, changed):
    file = tmp_path / "settings.yaml"
    note = partial(check_settings, file=file)
    job = work.Job(config(**given), mode, 3, tmp_path, 1)
    note(job)
    note(job)
    ((name, value),) = changed.items()
    words = re.escape(name.replace("__", ".").replace("_", "-"))
    with pytest.raises(ConfigError, match=rf"{words} \S+, not {value};"):
        note(replace(job, config=config(**{**given, **changed})))
    if mode == "finetune":
        with pytest.raises(ConfigError, match="epochs 3, not 4;"):
            note(replace(job, epochs=4))


@pytest.mark.usefixtures("undrawn")
def test_the_advice_names_the_weights_of_its_own_row(config, tmp_path):
    """Though the last call was with others."""
    explore(config(train__backbone_epochs=1), models=["small_resnet"], out=tmp_path / "first")
    file = tmp_path / "first" / "goldilocks.work" / "backbones" / "small_resnet_trained_seed3.pt"
    out = tmp_path / "out"
    explore(config(model__weights=file), models=["small_resnet"], out=out)
    table = out / "goldilocks.csv"
    best = [replace(row, test_accuracy=1.0) for row in read_rows(table)]
    write_rows(table, best, [1] * len(best))
    explore(config(), models=["small_resnet"], out=out)  # random weights
    assert config_from_yaml((out / "goldilocks.best.yaml").read_text()).model.weights == str(file)


@pytest.mark.usefixtures("undrawn")
def test_features_that_are_not_finite_cost_their_backbone_only(config, tmp_path, monkeypatch):
    read = work.read_images

    def spoilt(backbone, stages, *arguments, **options):
        readings = read(backbone, stages, *arguments, **options)
        if backbone.name == "resnet18":
            readings[0].averages[0, 0] = torch.inf
        return readings

    monkeypatch.setattr(work, "read_images", spoilt)
    with pytest.raises(
        PixPNetError, match=r"resnet18 could not be measured in full \(what resnet18/conv1 gives"
    ):
        explore(config(), models=["resnet18", "small_resnet"], out=tmp_path)
    rows = read_rows(tmp_path / "goldilocks.csv")
    assert {row.model for row in rows} == {"resnet18", "small_resnet"}
    assert (tmp_path / "goldilocks.best.yaml").is_file()


def test_a_readout_without_rows_has_no_figure(config, tmp_path, monkeypatch):
    read = work.read_images

    def spoilt(*arguments, **options):
        readings = read(*arguments, **options)
        for reading in readings:
            reading.averages[0, 0] = torch.inf
        return readings

    monkeypatch.setattr(work, "read_images", spoilt)
    with pytest.raises(PixPNetError, match="could not be measured in full"):
        explore(config(), models=["small_resnet"], out=tmp_path)
    assert [path.name for path in sorted(tmp_path.glob("*.png"))] == ["goldilocks.probe.prototypes.png"]


@pytest.mark.usefixtures("undrawn")
def test_the_first_fault_is_told_where_nothing_could_be_measured(config, tmp_path, monkeypatch):
    monkeypatch.setattr(work, "finetune_stage", lambda *_, **__: Finetuned(Accuracies(0.5, 0.9), 8))
    explore(config(), models=["small_resnet"], out=tmp_path, mode="finetune")

    def fail(*_, **__):
        raise DataError("no such weights")

    monkeypatch.setattr(work, "frozen_backbone", fail)
    with pytest.raises(DataError, match="no such weights"):
        explore(config(), models=["small_resnet"], out=tmp_path)


@pytest.mark.usefixtures("undrawn")
def test_options_that_cannot_work(config, tmp_path):
    with pytest.raises(ConfigError, match="one file does not fit 2 backbones"):
        explore(config(model__weights="w.pth"), models=["resnet18", "small_resnet"], out=tmp_path / "a")
    with pytest.raises(ConfigError, match="is for --mode probe"):
        explore(
            config(train__backbone_epochs=1), models=["small_resnet"], out=tmp_path / "b", mode="finetune"
        )
    with pytest.raises(ConfigError, match="unknown backbone 'resnet81'"):
        explore(config(), models=["small_resnet", "resnet81"], out=tmp_path / "c")
    assert list(tmp_path.iterdir()) == []


COMMAND = """
import signal, sys
signal.signal(signal.SIGINT, signal.default_int_handler)  # the background of a shell ignores it
from pixpnet.cli import main
sys.exit(main(sys.argv[1:]))
"""


@pytest.fixture
def started(options, tmp_path):
    """Starts a command with two processes; once it has written rows: it, its table, the processes' numbers."""
    begun = []

    def start(models):
        command = [sys.executable, "-c", COMMAND, "goldilocks", "--models", models, "--jobs", "2"]
        process = subprocess.Popen(
            [*command, "--out", str(tmp_path / "killed"), *options()],
            stderr=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            text=True,
        )
        begun.append(process)
        table = tmp_path / "killed" / "goldilocks.csv"
        while process.poll() is None and not (table.exists() and read_rows(table)):
            time.sleep(0.02)
        return process, table, _children(process.pid)

    yield start
    for process in begun:
        process.kill()
        process.communicate()


@pytest.mark.usefixtures("undrawn")
def test_killed_processes_go_on(started, config, tmp_path):
    """Two processes are killed hard with their parent; nothing that was written is lost or done twice."""
    process, table, children = started("small_resnet")
    process.send_signal(signal.SIGKILL)
    process.wait()
    kept = read_rows(table)
    assert kept
    while any(map(_lives, children)):  # they notice by themselves
        time.sleep(0.05)
    outcome = explore(config(), models=["small_resnet"], out=tmp_path / "killed")
    assert outcome.rows[: len(kept)] == kept
    whole = explore(config(), models=["small_resnet"], out=tmp_path / "whole")
    assert len(outcome.rows) == 10
    assert _results(outcome.rows) == _results(whole.rows)


def test_an_interrupt_ends_all_processes_at_once(started):
    process, _, children = started("small_resnet,resnet18")  # of which the second is still being read
    process.send_signal(signal.SIGINT)
    _, told = process.communicate(timeout=30)
    assert process.returncode == 130, told
    assert "Traceback" not in told, told
    deadline = time.monotonic() + 10
    while any(map(_lives, children)) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not any(map(_lives, children))


def _children(pid):
    children = Path(f"/proc/{pid}/task/{pid}/children")
    return children.read_text().split() if children.exists() else []


def _lives(pid):
    stat = Path(f"/proc/{pid}/stat")
    try:
        return stat.read_text().rpartition(")")[2].split()[0] not in "ZX"
    except OSError:
        return False


@pytest.mark.usefixtures("undrawn")
def test_a_cluster_gives_the_same(config, tmp_path):
    alone = explore(config(), models=["small_resnet"], out=tmp_path / "alone")
    spread = explore(config(), models=["small_resnet"], out=tmp_path / "spread", cluster=True)
    assert _results(spread.rows) == _results(alone.rows)


@pytest.mark.usefixtures("undrawn")
def test_cluster_without_ray(config, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(ConfigError, match=r"pip install 'pixpnet\[ray\]'"):
        explore(config(), models=["small_resnet"], out=tmp_path, cluster=True)
