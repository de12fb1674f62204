"""Whole experiments on a few images: what they write, that they go on where they were, who does the work."""

import csv
import logging
import re
import signal
import subprocess
import sys
import time
from contextlib import contextmanager
from pathlib import Path

import pytest
import safetensors.torch
import torch
from goldilocks_rows import row as made_row
from matplotlib.figure import Figure

from pixpnet.backbones import build_backbone
from pixpnet.config import config_from_yaml, parse_config
from pixpnet.data import open_splits
from pixpnet.errors import ConfigError, DataError, FileError, PixPNetError
from pixpnet.goldilocks import explore, finetune_stage, read_rows, write_rows
from pixpnet.seeds import seeded

STAGES = ["stem", "layer1", "layer2", "layer3", "avgpool"]
BACKBONE = Path("goldilocks.work", "backbones", "small_resnet_trained_seed3.pt")


@pytest.fixture(scope="module")
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


@pytest.fixture(scope="module")
def config(options):
    def made(**more):
        return parse_config(
            ["--model.name", "protonet", "--model.feature-extractor", "resnet18", *options(**more)]
        )

    return made


@pytest.fixture
def undrawn(monkeypatch):
    """Empty figures: the points and their labels would take most of the time."""
    monkeypatch.setattr("pixpnet.goldilocks.experiment.goldilocks_figure", lambda points, **_: Figure())


@pytest.fixture
def read(config, tmp_path):
    """Stops experiments once they have read all images, and changes what the first of them has read."""

    def stop(done, total):
        raise KeyboardInterrupt

    def change(change_tables, *models, **more):
        for model in models:
            with pytest.raises(KeyboardInterrupt):
                explore(config(**more), models=[model], out=tmp_path, progress=stop)
        file = tmp_path / "goldilocks.work" / "features" / f"{models[0]}_random_seed3.safetensors"
        tables = safetensors.torch.load_file(file)
        change_tables(tables)
        safetensors.torch.save_file(tables, file)

    return change


def _results(rows):
    return {(row.key, row.test_accuracy, row.test_accuracy_top5) for row in rows}


@pytest.fixture(scope="module")
def trained(config, tmp_path_factory):
    """An experiment with a backbone trained here: settings, folder, outcome, and the progress told."""
    settings = config(train__backbone_epochs=2, optimizer__weight_decay=0)
    out, told = tmp_path_factory.mktemp("trained"), []
    outcome = explore(
        settings,
        models=["small_resnet"],
        out=out,
        max_rf=50,
        progress=lambda done, total: told.append((done, total)),
    )
    return settings, out, outcome, told


@pytest.fixture(scope="module")
def rows_untrained(config, tmp_path_factory):
    """Rows of an experiment with random weights, done in one go by this process."""
    return explore(config(), models=["small_resnet"], out=tmp_path_factory.mktemp("untrained")).rows


def test_the_whole_network_on_tiles_of_several_sizes(config, tmp_path, undrawn, monkeypatch):
    monkeypatch.setenv("PIXPNET_CACHE", str(tmp_path / "cache"))
    told = []
    outcome = explore(
        config(),
        models=["small_resnet"],
        tiles=(32, 24),
        tile_input=48,
        out=tmp_path / "out",
        max_rf=20,
        progress=lambda done, total: told.append((done, total)),
    )
    assert [(row.stage, row.stage_number) for row in outcome.rows] == [
        *[("tile24", 1)] * 2,
        *[("tile32", 2)] * 2,
    ]
    assert told[-1] == (6, 6)
    assert [row.mean_rf for row in outcome.rows] == [100 * (side / 64) ** 2 for side in (24, 24, 32, 32)]
    # 3×3 tiles of 32 and 4×4 of 24 are shown at one size, so the network costs the same on each.
    small, large = outcome.rows[0].macs, outcome.rows[2].macs
    assert small / large == pytest.approx(16 / 9)
    assert len(list((tmp_path / "cache" / "features").iterdir())) == 2
    found = config_from_yaml(outcome.advice.config_yaml)
    assert outcome.advice.best.stage == "tile24"
    model = found.model
    assert (model.tile, model.tile_input, model.feature_layer, model.pretrained) == (24, 48, None, False)
    assert found.train.freeze_backbone
    again = explore(config(), models=["small_resnet"], tiles=(24,), tile_input=48, out=tmp_path / "out")
    assert _results(again.rows) == _results(outcome.rows)
    with pytest.raises(ConfigError, match=r"model\.tile-input 48, not 64"):
        explore(config(), models=["small_resnet"], tiles=(24,), tile_input=64, out=tmp_path / "out")


@pytest.mark.parametrize(
    ("more", "arguments", "said"),
    [
        ({"train__backbone_epochs": 1}, {"tiles": (32,)}, "tiles are for --mode probe"),
        ({}, {"tiles": (32,), "mode": "finetune"}, "tiles are for --mode probe"),
        ({}, {"tile_input": 64}, "tile-input is for tiles"),
        ({}, {"tiles": (65,)}, "a tile of 65 pixels does not fit"),
    ],
)
def test_what_does_not_go_with_tiles_is_refused(config, tmp_path, more, arguments, said):
    with pytest.raises(ConfigError, match=said):
        explore(config(**more), models=["small_resnet"], out=tmp_path, **arguments)


def test_probe_of_a_backbone_trained_here(config, trained):
    _, out, outcome, told = trained
    assert [(row.stage, row.readout) for row in outcome.rows] == [
        (stage, readout) for stage in STAGES for readout in ("average", "prototypes")
    ]
    assert {row.weights for row in outcome.rows} == {"trained"}
    assert {(row.dataset, row.height, row.width, row.seed) for row in outcome.rows} == {
        ("SYNTHBIRDS", 64, 64, 3)
    }
    assert told[-1] == (11, 11)
    with (out / "goldilocks.csv").open() as file:
        ranks = [line["Pareto Rank"] for line in csv.DictReader(file)]
    assert [int(rank) for rank in ranks] == outcome.ranks
    assert 1 in outcome.ranks
    best = config_from_yaml((out / "goldilocks.best.yaml").read_text())
    assert best.model.feature_layer == outcome.advice.best.stage
    assert (best.dataset.root, best.dataset.classes) == (config().dataset.root, 3)
    for readout in ("average", "prototypes"):
        for suffix in ("png", "pdf"):
            assert (out / f"goldilocks.probe.{readout}.{suffix}").stat().st_size > 5000
    assert torch.load(out / BACKBONE, weights_only=True)["epoch"] == 2
    assert (best.model.weights, best.train.backbone_epochs) == (str(out / BACKBONE), 0)


@pytest.mark.usefixtures("undrawn")
@pytest.mark.parametrize(("deepest", "is_told"), [(0.69, True), (0.71, False)])
def test_accuracy_that_falls_with_depth_is_warned_of(config, tmp_path, caplog, deepest, is_told):
    caplog.set_level(logging.WARNING, "pixpnet")
    _write_measured(tmp_path / "goldilocks.csv", [0.5, 0.6, 0.7, 0.8, deepest])
    explore(config(train__backbone_epochs=1), models=["small_resnet"], out=tmp_path)
    assert ("accuracy of small_resnet falls with depth" in caplog.text) == is_told


def _write_measured(table, accuracies, *, mode="probe", weights="trained"):
    """A table that leaves nothing to measure of small_resnet."""
    stages = [*STAGES, "fc"][: len(accuracies)]
    readouts = ("average",) if mode == "finetune" else ("average", "prototypes")
    rows = [
        made_row(
            *("small_resnet", stage, accuracy, 10.0 * number),
            **{"stage_number": number, "mode": mode, "readout": readout, "weights": weights, "seed": 3},
        )
        for number, (stage, accuracy) in enumerate(zip(stages, accuracies, strict=True), start=1)
        for readout in readouts
    ]
    write_rows(table, rows, [1] * len(rows))


@pytest.mark.usefixtures("undrawn")
def test_weights_that_were_trained_here_can_be_given(config, trained, tmp_path):
    _, out, expected, _ = trained
    outcome = explore(config(model__weights=out / BACKBONE), models=["small_resnet"], out=tmp_path)
    assert {row.weights for row in outcome.rows} == {"pretrained"}
    assert [row.test_accuracy for row in outcome.rows] == [row.test_accuracy for row in expected.rows]


def test_the_head_of_every_stage_learns(trained):
    kept = torch.load(trained[1] / BACKBONE, weights_only=True)
    parameters = [number for group in kept["optimizer"]["param_groups"] for number in group["params"]]
    learned = kept["optimizer"]["state"]
    assert len(kept["heads"]) == 2 * len(STAGES)
    assert all(learned[number]["exp_avg"].any() for number in parameters)


@pytest.mark.usefixtures("undrawn")
def test_interrupted_runs_go_on_and_end_alike(trained, tmp_path, caplog):
    caplog.set_level(logging.INFO, "pixpnet")
    settings, _, whole, _ = trained

    def told(words):
        return sum(words in message for message in caplog.messages)

    def third_row(done, total):
        if done == 1 + 3:  # what all rows need, and the rows
            raise KeyboardInterrupt

    def go_on(**options):
        return explore(settings, models=["small_resnet"], out=tmp_path / "parts.csv", **options)

    with pytest.raises(KeyboardInterrupt), _interrupt_at("epoch 2/2"):  # before it is kept
        go_on()
    assert read_rows(tmp_path / "parts.csv") == []
    assert (told("epoch 1/2"), told("epoch 2/2")) == (1, 0)
    with pytest.raises(KeyboardInterrupt):
        go_on(progress=third_row)
    kept = read_rows(tmp_path / "parts.csv")
    assert len(kept) == 3
    outcome = go_on()
    assert outcome.rows[:3] == kept
    assert (told("epoch 1/2"), told("epoch 2/2"), told("mean RF")) == (1, 1, 10)
    assert _results(outcome.rows) == _results(whole.rows)
    assert go_on().rows == outcome.rows
    assert told("mean RF") == 10


@contextmanager
def _interrupt_at(words):
    """A KeyboardInterrupt where the library tells of this."""

    def interrupt(record):
        if words in record.getMessage():
            raise KeyboardInterrupt
        return True

    logger = logging.getLogger("pixpnet.goldilocks.networks")
    logger.addFilter(interrupt)
    try:
        yield
    finally:
        logger.removeFilter(interrupt)


@pytest.mark.usefixtures("undrawn")
def test_rigged_stages_are_ranked_and_advised(config, read, tmp_path):
    """Averages tell everything from layer2 on, prototypes in the stem alone."""

    def rig(tables):
        truth = torch.nn.functional.one_hot(tables["labels"], 3).float()
        noise = torch.rand(truth.shape, generator=torch.Generator().manual_seed(0))
        for number in range(1, 6):
            tables[f"{number}.average"] = (truth if number >= 3 else noise).clone()
            tables[f"{number}.prototypes"] = (truth if number == 1 else noise).clone()

    read(rig, "small_resnet")
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
def test_finetune_measures_every_stage(config, tmp_path, caplog):
    caplog.set_level(logging.INFO, "pixpnet")
    settings = config()
    outcome = explore(settings, models=["small_resnet"], out=tmp_path, mode="finetune", epochs=1)
    logged = caplog.messages
    assert [(row.stage, row.readout) for row in outcome.rows] == [
        (stage, "average") for stage in [*STAGES, "fc"]
    ]
    for row in outcome.rows[1::2]:
        with seeded(3):
            backbone = build_backbone("small_resnet", layer=row.stage, pretrained=False)
        caplog.clear()
        found = finetune_stage(
            backbone.to(memory_format=torch.channels_last),
            open_splits(settings.dataset, seed=3),
            **{"seed": 3, "epochs": 1, "batch_size": 8, "workers": 0},
        )
        assert (row.test_accuracy, row.test_accuracy_top5) == found.accuracies
        assert caplog.messages == [words for words in logged if f"small_resnet/{row.stage}: epoch" in words]


@pytest.mark.usefixtures("undrawn")
def test_a_backbone_that_fails_costs_itself_only(config, tmp_path):
    for out in (tmp_path, tmp_path / "alone"):  # a folder where a file would be written
        (out / "goldilocks.work" / "features" / "resnet18_random_seed3.safetensors").mkdir(parents=True)
    with pytest.raises(PixPNetError, match="resnet18 could not be measured in full"):
        explore(config(), models=["resnet18", "small_resnet"], out=tmp_path)
    assert [row.model for row in read_rows(tmp_path / "goldilocks.csv")] == ["small_resnet"] * 10
    with pytest.raises(FileError, match=r"resnet18_random_seed3\.safetensors could not be written"):
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
@pytest.mark.usefixtures("undrawn")
def test_what_training_depends_on_is_noted(config, tmp_path, given, mode, changed):
    _write_measured(
        *(tmp_path / "goldilocks.csv", [0.5] * (6 if mode == "finetune" else 5)),
        **{"mode": mode, "weights": "trained" if given else "random"},
    )
    where = {"models": ["small_resnet"], "out": tmp_path, "mode": mode}
    for _ in range(2):
        explore(config(**given), epochs=3, **where)
    ((name, value),) = changed.items()
    words = re.escape(name.replace("__", ".").replace("_", "-"))
    with pytest.raises(ConfigError, match=rf"{words} \S+, not {value};"):
        explore(config(**{**given, **changed}), epochs=3, **where)
    if mode == "finetune":
        with pytest.raises(ConfigError, match="epochs 3, not 4;"):
            explore(config(**given), epochs=4, **where)


@pytest.mark.usefixtures("undrawn")
def test_the_advice_names_the_weights_of_its_own_row(config, rows_untrained, tmp_path):
    """Though the last call was with others."""
    table = tmp_path / "goldilocks.csv"
    _write_measured(table, [1.0] * 6, weights="pretrained")
    explore(config(model__weights="own.pth"), models=["small_resnet"], out=tmp_path)
    best = read_rows(table)
    write_rows(table, [*best, *rows_untrained], [1] * (len(best) + len(rows_untrained)))
    explore(config(), models=["small_resnet"], out=tmp_path)  # random weights
    assert config_from_yaml((tmp_path / "goldilocks.best.yaml").read_text()).model.weights == "own.pth"


@pytest.mark.usefixtures("undrawn")
def test_features_that_are_not_finite_cost_their_backbone_only(config, read, tmp_path):
    read(lambda tables: tables["1.average"][0].fill_(torch.inf), "resnet18", "small_resnet")
    with pytest.raises(
        PixPNetError, match=r"resnet18 could not be measured in full \(what resnet18/conv1 gives"
    ):
        explore(config(), models=["resnet18", "small_resnet"], out=tmp_path)
    rows = read_rows(tmp_path / "goldilocks.csv")
    assert {row.model for row in rows} == {"resnet18", "small_resnet"}
    assert (tmp_path / "goldilocks.best.yaml").is_file()


def test_a_readout_without_rows_has_no_figure(config, read, tmp_path):
    def spoil(tables):
        for number in range(1, 6):
            tables[f"{number}.average"][0, 0] = torch.inf

    read(spoil, "small_resnet")
    with pytest.raises(PixPNetError, match="could not be measured in full"):
        explore(config(), models=["small_resnet"], out=tmp_path)
    assert [path.name for path in sorted(tmp_path.glob("*.png"))] == ["goldilocks.probe.prototypes.png"]


@pytest.mark.usefixtures("undrawn")
def test_the_first_fault_is_told_where_nothing_could_be_measured(config, tmp_path):
    _write_measured(tmp_path / "goldilocks.csv", [0.5] * 6, mode="finetune", weights="random")
    with pytest.raises(DataError, match=r"no file of weights at gone\.pth"):
        explore(config(model__weights="gone.pth"), models=["small_resnet"], out=tmp_path)


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
    """Starts a command with two processes; once it has rows: it, its table, the processes' numbers."""
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
def test_killed_processes_go_on(started, config, rows_untrained, tmp_path):
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
    assert len(outcome.rows) == 10
    assert _results(outcome.rows) == _results(rows_untrained)


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_an_interrupt_ends_all_processes_at_once(started, number, code):
    process, _, children = started("small_resnet,densenet121")  # of which the second is still being read
    process.send_signal(number)
    _, told = process.communicate(timeout=30)
    assert process.returncode == code, told
    assert "interrupted: what was measured is written; the same command goes on from there" in told
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
def test_a_cluster_gives_the_same(config, rows_untrained, tmp_path):
    spread = explore(config(), models=["small_resnet"], out=tmp_path, cluster=True)
    assert _results(spread.rows) == _results(rows_untrained)


@pytest.mark.usefixtures("undrawn")
def test_cluster_without_ray(config, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(ConfigError, match=r"pip install 'pixpnet\[ray\]'"):
        explore(config(), models=["small_resnet"], out=tmp_path, cluster=True)
